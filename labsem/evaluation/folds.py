"""Figures of a cross-validation over all judged images: :func:`pool_folds`.

Every image is judged by the network of the fold that held it out, and by nothing that was fitted to it: thresholds and
the calibrations of ``confidence`` and ``mask_quality`` of each fold are found on what the other folds said of theirs,
for each regime on images of that regime, as those of a model that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from labsem.evaluation.measure import ImageResult, measure_image
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.run import AUTO, route_image
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


class FoldCalibration(Schema):
    """Found on what the other folds said of their images of a regime; ``joint``: of all."""

    fold: int
    regime: Regime
    images: int = Field(description="that it was found on")
    calibration: Calibration


class CrossValidationReport(Schema):
    """What the folds that are finished say of the images held out from them.

    ``pooled.certainty`` is confidence beside ``geometry`` and ``objectness`` on particles matched at IoU 0.5,
    ``pooled.true_boxes`` the same on the labels' own boxes.
    """

    folds: int = Field(description="finished")
    pooled: EvaluationReport
    datasets: dict[str, EvaluationReport] = Field(description="by data set; ampis: one frame in a fold")
    calibrations: list[FoldCalibration]
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
    regimes = [route_image(one.image) for one in held_out]
    wanted = sorted({(one.fold, regime) for one, regime in zip(held_out, regimes, strict=True)})
    found: dict[tuple[int, Regime], FoldCalibration] = {}
    for done, (fold, regime) in enumerate(wanted):
        if progress is not None:
            progress(done / len(wanted), f"thresholds of fold {fold + 1}, {regime.value}, by the others")
        others = [place for place, one in enumerate(held_out) if one.fold != fold]
        alike = [place for place in others if regime is Regime.JOINT or regimes[place] is regime]
        used = [frames[place] for place in (alike or others)]
        calibration = calibrate_frames(
            used, held_out[0].input, real=[frames[place] for place in others], trials=trials
        )
        found[fold, regime] = FoldCalibration(
            fold=fold, regime=regime, images=len(used), calibration=calibration
        )
    calibrations = [
        found[one.fold, regime].calibration for one, regime in zip(held_out, regimes, strict=True)
    ]
    results = [
        _measure(one, regime, calibration)
        for one, regime, calibration in zip(held_out, regimes, calibrations, strict=True)
    ]
    by_dataset: dict[str, list[ImageResult]] = {}
    for one, result in zip(held_out, results, strict=True):
        by_dataset.setdefault(one.dataset, []).append(result)
    return CrossValidationReport(
        folds=len(folds),
        pooled=summarize(results, AUTO),
        datasets={name: summarize(of, AUTO) for name, of in sorted(by_dataset.items())},
        calibrations=list(found.values()),
        confidence=_confidence(held_out, frames, calibrations),
    )


def _confidence(
    held_out: Sequence[HeldOut], frames: Sequence[ScoredFrame], calibrations: Sequence[Calibration]
) -> Platt:
    """Calibration over all folds, without images of test parts."""
    tested = frozenset(image_id for name in SPLIT_NAMES for image_id in load_split(name).test)
    places = [place for place, one in enumerate(held_out) if one.image.id not in tested]
    kept = [
        segment(frames[place], calibrations[place].thresholds, calibrations[place].confidence, exact=True)
        for place in places
    ]
    expected, certain = judged_matches([frames[place] for place in places], kept)
    if certain.all() or not certain.any():
        return UNCALIBRATED
    return fit_platt(
        logit(expected)[:, None],
        certain,
        f"{len(certain)} matched particles of {len(places)} held-out images",
    )


def _measure(one: HeldOut, regime: Regime, calibration: Calibration) -> ImageResult:
    confidence = apply_platt(calibration.confidence, logit(one.truth_expected)[:, None])
    trust = TrustAtBoxes(confidence, one.truth_objectness)
    segmentation = to_segmentation(one.detections, calibration)
    return measure_image(one.image, segmentation, regime, 0.0, trust_at=lambda *_: trust)
