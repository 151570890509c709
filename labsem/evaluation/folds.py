"""Figures of a cross-validation over all judged images: :func:`pool_folds`.

Every image is judged by the network of the fold that held it out, and by nothing that was fitted to it: thresholds and
``mask_quality`` are those that the fold found on validation images, and the calibration of ``confidence`` is fitted,
for each fold, on what the other folds said of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labsem.evaluation.detection import match
from labsem.evaluation.measure import ImageResult, measure_image
from labsem.evaluation.overlap import find_overlaps
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.summary import summarize
from labsem.networks.manifest import Platt
from labsem.networks.segmenter import TrustAtBoxes, apply_platt, logit, to_segmentation
from labsem.segmentation import Segmentation
from labsem.training.calibrate import UNCALIBRATED, fit_platt
from labsem.training.folds import HeldOut, read_held_out
from labsem.training.splits import SPLIT_NAMES, load_split
from schemas.base import Schema
from schemas.morphology import Regime


class CrossValidationReport(Schema):
    """What the folds that are finished say of the images held out from them.

    ``pooled.certainty`` is confidence beside ``geometry`` and ``objectness`` on particles matched at IoU 0.5,
    ``pooled.true_boxes`` the same on the labels' own boxes.
    """

    folds: int = Field(description="finished")
    pooled: EvaluationReport
    datasets: dict[str, EvaluationReport] = Field(description="by data set; ampis: one frame in a fold")
    confidence: Platt = Field(
        description="calibration from all folds, without images of test parts: for a network trained on all the others"
    )


def pool_folds(output: Path, data: Sequence[Path]) -> CrossValidationReport:
    """Measure what :func:`labsem.training.folds.train_folds` left in a folder.

    Parameters
    ----------
    output
        Its folder; folds that are not finished are left out.
    data
        The same data folders.

    Raises
    ------
    FileNotFoundError
        Where no fold is finished.
    ValueError
        Where one fold alone is finished: its calibration needs another.
    """
    held_out = list(read_held_out(output, data))
    folds = {one.fold for one in held_out}
    if len(folds) < 2:
        raise ValueError(f"{output} holds one finished fold; calibration across folds needs two at least")
    matched = [_matched(one) for one in held_out]
    platts = {
        fold: _fit([pairs for one, pairs in zip(held_out, matched, strict=True) if one.fold != fold])
        for fold in folds
    }
    results = [_measure(one, platts[one.fold]) for one in held_out]
    by_dataset: dict[str, list[ImageResult]] = {}
    for one, result in zip(held_out, results, strict=True):
        by_dataset.setdefault(one.dataset, []).append(result)
    tested = frozenset(image_id for name in SPLIT_NAMES for image_id in load_split(name).test)
    return CrossValidationReport(
        folds=len(folds),
        pooled=summarize(results, Regime.JOINT.value),
        datasets={name: summarize(of, Regime.JOINT.value) for name, of in sorted(by_dataset.items())},
        confidence=_fit(
            [pairs for one, pairs in zip(held_out, matched, strict=True) if one.image.id not in tested]
        ),
    )


def _segment(one: HeldOut, confidence: Platt) -> Segmentation:
    return to_segmentation(one.detections, one.calibration.model_copy(update={"confidence": confidence}))


def _matched(one: HeldOut) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log odds of the expected bin centre of matched detections, and whether their labels are certain."""
    segmentation = _segment(one, UNCALIBRATED)
    overlaps = find_overlaps(one.image.labels(), segmentation.label_image)
    found = match(overlaps)
    seen = overlaps.predicted_ids[found.predicted_index] - 1
    labels = overlaps.truth_ids[found.truth_index]
    return logit(segmentation.confidence[seen]), ~np.isin(labels, list(one.image.uncertain_ids() or ()))


def _fit(pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> Platt:
    inputs = np.concatenate([np.zeros(0), *(values for values, _ in pairs)])
    outcome = np.concatenate([np.zeros(0, bool), *(certain for _, certain in pairs)])
    if outcome.all() or not outcome.any():
        return UNCALIBRATED
    return fit_platt(
        inputs[:, None], outcome, f"{len(outcome)} matched particles of {len(pairs)} held-out images"
    )


def _measure(one: HeldOut, confidence: Platt) -> ImageResult:
    trust = TrustAtBoxes(apply_platt(confidence, logit(one.truth_expected)[:, None]), one.truth_objectness)
    return measure_image(one.image, _segment(one, confidence), Regime.JOINT, 0.0, trust_at=lambda *_: trust)
