"""Looks at validation images while a network is trained: for early stopping, plateaus and the report's curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labsem.evaluation.aji import aji_sums
from labsem.evaluation.detection import match
from labsem.evaluation.overlap import find_overlaps
from labsem.networks.detector import Detector
from labsem.networks.manifest import Calibration, Input, Platt, Thresholds
from labsem.networks.segmenter import to_segmentation
from labsem.networks.trainable import DetectionNetwork, TrainableNetwork
from labsem.training.options import Augmentation
from labsem.training.sampling import CropSampler, TrainingImage
from labsem.training.targets import crop_target

F1_SHARE = 0.5
"""The score is AJI+ and half the F1 at IoU 0.5: AJI+ alone is nearly blind to small particles."""

PLAIN = Calibration(
    thresholds=Thresholds(),
    confidence=Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing"),
    mask_quality=Platt(slopes=(1.0, 1.0), offset=0.0, fitted_on="nothing"),
    input=Input(long_side_max_px=1280, long_side_min_px=512),
)
"""Thresholds and input of a network for which none were found yet."""

_LOSS_CROPS = 8
_LOSS_CROP_PX = 320


@dataclass(frozen=True)
class ValidationResult:
    """What a look shows.

    Attributes
    ----------
    score
        The larger the better: mean AJI+ plus half the mean F1, or, of a network that detects nothing by itself
        (U-Net), the negative loss.
    aji_plus, f1
        (N,) of the images; empty where the loss was taken.
    """

    score: float
    aji_plus: NDArray[np.float64]
    f1: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Means, rounded, for logs."""
        found = {"score": round(self.score, 4)}
        if len(self.aji_plus):
            found |= {
                "aji_plus": round(float(self.aji_plus.mean()), 4),
                "f1": round(float(self.f1.mean()), 4),
            }
        return found


def validate(network: TrainableNetwork, images: Sequence[TrainingImage]) -> ValidationResult:
    """Look at validation images with thresholds as they come; takes no random number from the training."""
    with torch.random.fork_rng():
        if isinstance(network, DetectionNetwork):
            return _by_overlap(network, images)
        return _by_loss(network, images)


def choose_images(images: Sequence[TrainingImage], most: int) -> list[TrainingImage]:
    """At most so many images, spread evenly over all."""
    if len(images) <= most:
        return list(images)
    return [images[int(place)] for place in np.linspace(0, len(images) - 1, most).round()]


def _by_overlap(network: DetectionNetwork, images: Sequence[TrainingImage]) -> ValidationResult:
    detector = Detector(network, precision="float32")
    thresholds = PLAIN.thresholds
    ajis: list[float] = []
    f1s: list[float] = []
    for image in images:
        detections = detector.detect(
            image.grey,
            PLAIN.input,
            score_min=min(thresholds.omega, thresholds.psi),
            nms_iou=thresholds.nms,
        )
        overlaps = find_overlaps(image.labels, to_segmentation(detections, PLAIN).label_image)
        ajis.append(aji_sums(overlaps).value)
        f1s.append(match(overlaps).counts.f1)
    score = float(np.mean(ajis) + F1_SHARE * np.mean(f1s))
    return ValidationResult(score, np.array(ajis), np.array(f1s))


def _by_loss(network: TrainableNetwork, images: Sequence[TrainingImage]) -> ValidationResult:
    plain = Augmentation(mosaic=0, copy_paste=0, charging=0, line_jitter=0)
    crops = CropSampler([images], 0, _LOSS_CROP_PX, augmentation=plain).batch(0, _LOSS_CROPS)
    total = 0.0
    with torch.inference_mode():
        for crop in crops:
            losses = network.losses(
                torch.from_numpy(crop.grey)[None, None], [crop_target(crop, torch.device("cpu"))]
            )
            total += sum(float(value) for value in losses.values())
    return ValidationResult(-total / len(crops), np.zeros(0), np.zeros(0))
