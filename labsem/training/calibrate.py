"""What a regime has beside the weights (thresholds, input size, calibrations), found on validation parts.

No test part is read here. Thresholds are found by coordinate search on mean AJI+ plus half the mean F1 at IoU 0.5:
AJI+ alone is nearly blind to small particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from labsem.evaluation.aji import aji_sums
from labsem.evaluation.detection import detection_floor_px, match
from labsem.evaluation.overlap import find_overlaps
from labsem.networks.manifest import Calibration, Input, OutOfDistribution, Platt, Thresholds
from labsem.networks.segmenter import Detections, Detector, logit, mahalanobis, to_segmentation
from labsem.segmentation import Segmentation
from labsem.training.sampling import TrainingImage

SCORE_MIN = 0.2
CHOICES: dict[str, tuple[float, ...]] = {
    "omega": (0.3, 0.4, 0.5, 0.6, 0.7),
    "psi": (0.3, 0.4, 0.5, 0.6, 0.7),
    "overlap": (0.2, 0.3, 0.4, 0.5),
    "containment": (0.5, 0.65, 0.8, 1.0),
    "op": (0.3, 0.5, 0.7),
    "sigma": (0.4, 0.5, 0.6),
    "contrast": (-1.0, -0.05, 0.0, 0.02, 0.04, 0.06, 0.1),
}
INPUTS = (
    Input(long_side_max_px=1920, long_side_min_px=512),
    Input(long_side_max_px=1920, long_side_min_px=768),
    Input(long_side_max_px=1280, long_side_min_px=512),
)
"""Sizes at which frames may be brought before the network."""

UNCALIBRATED = Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing")
JUDGED_MIN = 30
"""Particles of each class that a calibration of certainty needs."""


@dataclass(frozen=True)
class Scored:
    """A validation image, its detections and what is right of them."""

    image: TrainingImage
    detections: Detections


def calibrate(
    detector: Detector, images: Sequence[TrainingImage], inputs: Sequence[Input] = INPUTS
) -> Calibration:
    """Find thresholds and calibrations on validation images.

    Raises
    ------
    ValueError
        Where there is no image.
    """
    if not images:
        raise ValueError(
            "no validation image is left for this regime; add labelled images of its magnification"
        )
    best: tuple[float, Calibration, list[Scored]] | None = None
    for scale in inputs:
        scored = [
            Scored(image, detector.detect(image.grey, scale, score_min=SCORE_MIN, nms_iou=0.6))
            for image in images
        ]
        first = Calibration(
            thresholds=Thresholds(nms=0.6),
            confidence=UNCALIBRATED,
            mask_quality=Platt(slopes=(1.0, 0.0), offset=0.0, fitted_on="nothing"),
            input=scale,
        )
        first = first.model_copy(update={"confidence": fit_confidence(scored, first)})
        value = _value(scored, first)
        if best is None or value > best[0]:
            best = (value, first, scored)
    assert best is not None  # noqa: S101 - inputs is never empty
    value, calibration, scored = best
    calibration = search_thresholds(scored, calibration, value)
    calibration = calibration.model_copy(update={"confidence": fit_confidence(scored, calibration)})
    return calibration.model_copy(
        update={
            "mask_quality": fit_mask_quality(scored, calibration),
            "detection_floor_px": measure_floor(scored, calibration),
        }
    )


def search_thresholds(scored: Sequence[Scored], calibration: Calibration, value: float) -> Calibration:
    """Two rounds of coordinate search over ``CHOICES``."""
    for _ in range(2):
        for name, choices in CHOICES.items():
            for choice in choices:
                if choice == getattr(calibration.thresholds, name):
                    continue
                tried = calibration.model_copy(
                    update={"thresholds": calibration.thresholds.model_copy(update={name: choice})}
                )
                reached = _value(scored, tried)
                if reached > value + 1e-4:
                    value, calibration = reached, tried
    return calibration


def _segment(one: Scored, calibration: Calibration) -> Segmentation:
    return to_segmentation(one.detections, calibration.model_copy(update={"out_of_distribution": None}), {})


def _value(scored: Sequence[Scored], calibration: Calibration) -> float:
    values: list[float] = []
    for one in scored:
        overlaps = find_overlaps(one.image.labels, _segment(one, calibration).label_image)
        values.append(aji_sums(overlaps).value + 0.5 * match(overlaps).counts.f1)
    return float(np.mean(values))


def fit_confidence(scored: Sequence[Scored], calibration: Calibration) -> Platt:
    """Platt's calibration of the expected bin centre on matched particles of judged images."""
    inputs: list[float] = []
    certain: list[bool] = []
    raw = calibration.model_copy(update={"confidence": UNCALIBRATED})
    for one in scored:
        if one.image.uncertain is None:
            continue
        segmentation = _segment(one, raw)
        overlaps = find_overlaps(one.image.labels, segmentation.label_image)
        found = match(overlaps)
        detection = overlaps.predicted_ids[found.predicted_index] - 1
        inputs += logit(segmentation.confidence[detection]).tolist()
        certain += [int(label) not in one.image.uncertain for label in overlaps.truth_ids[found.truth_index]]
    outcome = np.array(certain, bool)
    if min(outcome.sum(), (~outcome).sum()) < JUDGED_MIN:
        return UNCALIBRATED
    return fit_platt(
        np.array(inputs)[:, None], outcome, f"{len(outcome)} matched particles of judged validation images"
    )


def fit_mask_quality(scored: Sequence[Scored], calibration: Calibration) -> Platt:
    """Probability that a kept mask reaches IoU 0.5, from objectness and the mask's own probabilities."""
    inputs: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    # Ask for the inputs of the calibration by a calibration that passes one of them through at a time.
    through = [
        calibration.model_copy(update={"mask_quality": Platt(slopes=slopes, offset=0.0, fitted_on="nothing")})
        for slopes in ((1.0, 0.0), (0.0, 1.0))
    ]
    for one in scored:
        by_objectness, by_mask = (_segment(one, each) for each in through)
        overlaps = find_overlaps(one.image.labels, by_objectness.label_image)
        seen = overlaps.predicted_ids - 1
        inputs.append(
            np.stack([logit(by_objectness.mask_quality[seen]), logit(by_mask.mask_quality[seen])], axis=1)
        )
        right.append(match(overlaps).predicted_right)
    outcome = np.concatenate(right)
    return fit_platt(np.concatenate(inputs), outcome, f"{len(outcome)} detections on validation images")


def fit_platt(inputs: NDArray[np.float64], outcome: NDArray[np.bool_], fitted_on: str) -> Platt:
    """Logistic regression with positive slopes (Platt 1999, with his smoothed targets).

    Parameters
    ----------
    inputs
        (N, M).
    outcome
        (N,).
    """
    positive, negative = int(outcome.sum()), int((~outcome).sum())
    wanted = np.where(outcome, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        margin = inputs @ parameters[:-1] + parameters[-1]
        return float(np.mean(np.logaddexp(0, margin) - wanted * margin) + 1e-4 * np.sum(parameters[:-1] ** 2))

    count = inputs.shape[1]
    fit = minimize(
        loss,
        np.append(np.ones(count), 0.0),
        method="L-BFGS-B",
        bounds=[(1e-3, None)] * count + [(None, None)],
    )
    return Platt(slopes=tuple(float(v) for v in fit.x[:-1]), offset=float(fit.x[-1]), fitted_on=fitted_on)


def measure_floor(scored: Sequence[Scored], calibration: Calibration) -> float | None:
    """Diameter of 50 % recall on the validation images, px."""
    diameters: list[NDArray[np.float64]] = []
    found: list[NDArray[np.bool_]] = []
    for one in scored:
        result = match(find_overlaps(one.image.labels, _segment(one, calibration).label_image))
        diameters.append(result.truth_ecd_px)
        found.append(result.truth_found)
    return detection_floor_px(np.concatenate(diameters), np.concatenate(found))


def fit_out_of_distribution(
    detector: Detector, training: Sequence[TrainingImage], validation: Sequence[TrainingImage], scale: Input
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """Mean and precision of pooled features over training images, and a limit that 1 % of validation images pass.

    The covariance is shrunk towards its diagonal by a tenth; the squared distance is Mahalanobis's.
    """
    features = np.stack([_pooled(detector, image, scale) for image in training])
    mean: NDArray[np.float64] = features.mean(axis=0)
    covariance = np.cov(features, rowvar=False)
    shrunk = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(mean))
    precision: NDArray[np.float64] = np.linalg.inv(shrunk).astype(np.float64)
    distances = [mahalanobis(_pooled(detector, image, scale), mean, precision) for image in validation]
    limit = 1.1 * float(np.quantile(distances, 0.99))
    return (
        {"ood.mean": mean, "ood.precision": precision},
        OutOfDistribution(
            limit=limit, fitted_on=f"{len(training)} training, {len(validation)} validation images"
        ),
    )


def _pooled(detector: Detector, image: TrainingImage, scale: Input) -> NDArray[np.float64]:
    return detector.detect(image.grey, scale, score_min=0.99).pooled
