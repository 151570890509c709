"""Figures of a cross-validation over all judged images: :func:`pool_folds`.

Every image is judged by the network of the fold that held it out, and by nothing that was fitted to it: thresholds and
the calibrations of ``confidence`` and ``mask_quality`` of each fold are found on what the other folds said of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from labsem.evaluation.measure import ImageResult, measure_image
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.summary import summarize
from labsem.networks.manifest import Calibration, Platt
from labsem.networks.segmenter import TrustAtBoxes, apply_platt, logit, to_segmentation
from labsem.training.atoms import ScoredFrame, score_frame
from labsem.training.calibrate import UNCALIBRATED, calibrate_frames, fit_platt, judged_matches
from labsem.training.folds import HeldOut, read_held_out
from labsem.training.material import to_training_image
from labsem.training.splits import SPLIT_NAMES, load_split
from labsem.training.thresholds import TRIALS, segment
from schemas.base import Schema
from schemas.morphology import Regime

Progress = Callable[[float, str], None]
"""Called with the share that is done, and what is being done."""


class CrossValidationReport(Schema):
    """What the folds that are finished say of the images held out from them.

    ``pooled.certainty`` is confidence beside ``geometry`` and ``objectness`` on particles matched at IoU 0.5,
    ``pooled.true_boxes`` the same on the labels' own boxes.
    """

    folds: int = Field(description="finished")
    pooled: EvaluationReport
    datasets: dict[str, EvaluationReport] = Field(description="by data set; ampis: one frame in a fold")
    calibrations: dict[int, Calibration] = Field(
        description="of each fold, by what the other folds said of theirs"
    )
    confidence: Platt = Field(
        description="calibration from all folds, without images of test parts: for a network trained on all the others"
    )


def pool_folds(
    output: Path, data: Sequence[Path], *, trials: int = TRIALS, progress: Progress | None = None
) -> CrossValidationReport:
    """Measure what :func:`labsem.training.folds.train_folds` left in a folder.

    Parameters
    ----------
    output
        Its folder; folds that are not finished are left out.
    data
        The same data folders.
    trials
        Of the search for each fold's thresholds.

    Raises
    ------
    FileNotFoundError
        Where no fold is finished.
    ValueError
        Where one fold alone is finished: its thresholds and calibrations need another.
    """
    held_out = list(read_held_out(output, data))
    folds = sorted({one.fold for one in held_out})
    if len(folds) < 2:
        raise ValueError(f"{output} holds one finished fold; calibration across folds needs two at least")
    frames = [score_frame(to_training_image(one.image), one.detections) for one in held_out]
    found: dict[int, Calibration] = {}
    for done, fold in enumerate(folds):
        if progress is not None:
            progress(done / len(folds), f"thresholds of fold {fold + 1} by the others")
        others = [frame for one, frame in zip(held_out, frames, strict=True) if one.fold != fold]
        found[fold] = calibrate_frames(others, held_out[0].input, trials=trials)
    results = [_measure(one, found[one.fold]) for one in held_out]
    by_dataset: dict[str, list[ImageResult]] = {}
    for one, result in zip(held_out, results, strict=True):
        by_dataset.setdefault(one.dataset, []).append(result)
    return CrossValidationReport(
        folds=len(folds),
        pooled=summarize(results, Regime.JOINT.value),
        datasets={name: summarize(of, Regime.JOINT.value) for name, of in sorted(by_dataset.items())},
        calibrations=found,
        confidence=_confidence(held_out, frames, found),
    )


def _confidence(
    held_out: Sequence[HeldOut], frames: Sequence[ScoredFrame], found: Mapping[int, Calibration]
) -> Platt:
    """Calibration over all folds, without images of test parts."""
    tested = frozenset(image_id for name in SPLIT_NAMES for image_id in load_split(name).test)
    places = [place for place, one in enumerate(held_out) if one.image.id not in tested]
    kept = []
    for place in places:
        calibration = found[held_out[place].fold]
        kept.append(segment(frames[place], calibration.thresholds, calibration.confidence, exact=True))
    expected, certain = judged_matches([frames[place] for place in places], kept)
    if certain.all() or not certain.any():
        return UNCALIBRATED
    return fit_platt(
        logit(expected)[:, None],
        certain,
        f"{len(certain)} matched particles of {len(places)} held-out images",
    )


def _measure(one: HeldOut, calibration: Calibration) -> ImageResult:
    confidence = apply_platt(calibration.confidence, logit(one.truth_expected)[:, None])
    trust = TrustAtBoxes(confidence, one.truth_objectness)
    segmentation = to_segmentation(one.detections, calibration)
    return measure_image(one.image, segmentation, Regime.JOINT, 0.0, trust_at=lambda *_: trust)
