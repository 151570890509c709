"""Figures of certainty over judged images: confidence, its two rivals, and accuracy by the expert's word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from labsem.evaluation.aji import AjiSums
from labsem.evaluation.bootstrap import draw_images, mean_interval, percentiles
from labsem.evaluation.certainty import (
    ECE_BINS,
    auroc,
    calibration_floor,
    expected_calibration_error,
    reliability,
    resampled_auroc,
)
from labsem.evaluation.geometry import out_of_fold_logistic
from labsem.evaluation.measure import CertaintyResult, LabelClassResult
from labsem.evaluation.report import CertaintyFigures, Interval, LabelClassFigures, ReliabilityBin

RESAMPLES = 1000
HISTOGRAM_CLASSES = 10


def measure_certainty(judged: Sequence[CertaintyResult]) -> CertaintyFigures:
    """AUROC and calibration of confidence, with its two rivals, over judged images.

    Parameters
    ----------
    judged
        One for each image: of matched particles, or of the boxes of all labels.
    """
    groups = image_of_each(judged)
    certain = np.concatenate([one.certain for one in judged])
    confidence = np.concatenate([one.confidence for one in judged])
    objectness = np.concatenate([one.objectness for one in judged])
    geometry = out_of_fold_logistic(np.concatenate([one.geometry for one in judged]), certain, groups)
    draws = draw_images(len(judged), RESAMPLES)
    scores = {"confidence": confidence, "objectness": objectness}
    if geometry is not None:
        scores["geometry"] = geometry
    values = {name: auroc(score, certain) for name, score in scores.items()}
    resampled = {name: resampled_auroc(score, certain, groups, draws) for name, score in scores.items()}
    intervals = {name: resampled_interval(value, len(judged)) for name, value in resampled.items()}
    rival = max((name for name in scores if name != "confidence"), key=lambda name: values[name] or 0.0)
    own, best = values["confidence"], values[rival]
    return CertaintyFigures(
        images=len(judged),
        particles=len(certain),
        certain=int(certain.sum()),
        auroc=own,
        auroc_interval_95=intervals["confidence"],
        auroc_objectness=values["objectness"],
        auroc_objectness_interval_95=intervals["objectness"],
        auroc_geometry=values.get("geometry"),
        auroc_geometry_interval_95=intervals.get("geometry"),
        auroc_gain=None if own is None or best is None else own - best,
        auroc_gain_interval_95=resampled_interval(resampled["confidence"] - resampled[rival], len(judged)),
        auroc_gain_over=None if own is None or best is None else rival,
        ece=expected_calibration_error(confidence, certain),
        ece_floor=calibration_floor(confidence),
        ece_bins=ECE_BINS,
        ece_geometry=None if geometry is None else expected_calibration_error(geometry, certain),
        size_correlation=_spearman(confidence, np.concatenate([one.log_area for one in judged])),
        reliability=reliability_bins(confidence, certain),
        histogram_certain=_histogram(confidence[certain]),
        histogram_uncertain=_histogram(confidence[~certain]),
    )


def measure_label_class(results: Sequence[LabelClassResult]) -> LabelClassFigures | None:
    """Accuracy on the labels of one word; None where no image was judged."""
    if not results:
        return None
    particles = sum(one.particles for one in results)
    found = sum(one.found for one in results)
    ajis = np.array([one.aji.value for one in results if one.aji != AjiSums(0, 0)])
    return LabelClassFigures(
        particles=particles,
        detections=sum(one.detections for one in results),
        recall=found / particles if particles else None,
        mean_iou=sum(one.iou_sum for one in results) / found if found else None,
        aji_plus=float(ajis.mean()) if len(ajis) else None,
        aji_plus_interval_95=mean_interval(ajis),
    )


def image_of_each(judged: Sequence[CertaintyResult]) -> NDArray[np.int64]:
    """(N,) position of the image of each particle."""
    return np.repeat(np.arange(len(judged)), [len(one.certain) for one in judged])


def resampled_interval(values: NDArray[np.float64], images: int) -> Interval | None:
    """95 % interval of resampled values; None with fewer than two images, or where over half have no value."""
    known = values[~np.isnan(values)]
    if images < 2 or 2 * len(known) < len(values):
        return None
    return percentiles(known)


def reliability_bins(
    probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    """Bins of equal mass, lowest probability first."""
    return tuple(
        ReliabilityBin(particles=number, mean_probability=mean, share=share)
        for number, mean, share in reliability(probabilities, outcomes)
    )


def _histogram(confidence: NDArray[np.float64]) -> tuple[int, ...]:
    counts, _ = np.histogram(confidence, HISTOGRAM_CLASSES, (0.0, 1.0))
    return tuple(counts.tolist())


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
