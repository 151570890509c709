"""From a U-Net's checkpoint to a model that ``Segmenter.load`` takes: its watershed calibrated on validation images.

The thresholds are chosen by what those of a Mask R-CNN are chosen by (:mod:`labsem.training.thresholds`), by
coordinate search, since each watershed is slow and they are few. No test part is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from labsem.evaluation.bootstrap import mean_interval
from labsem.evaluation.detection import detection_floor_px, match
from labsem.evaluation.overlap import Overlaps, find_overlaps
from labsem.networks.folding import fold_batch_norms
from labsem.networks.manifest import (
    Calibration,
    Input,
    Manifest,
    Platt,
    Thresholds,
    Watershed,
    load_weights,
)
from labsem.networks.unet import UNet, UNetArchitecture
from labsem.networks.watershed import DistanceMaps, MapPredictor, parted_segmentation
from labsem.training.calibrate import INPUTS
from labsem.training.publish import LICENCE, write_model
from labsem.training.sampling import TrainingImage
from labsem.training.thresholds import Score, score_overlaps
from schemas.morphology import Regime

CHOICES: dict[str, tuple[float, ...]] = {
    "seed": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "cell": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
    "smoothing_px": (0.5, 1.0, 1.5, 2.5, 4.0),
    "area_min_px": (9, 16, 36, 64, 100),
    "contrast": (-1.0, -0.04, 0.0, 0.02, 0.04, 0.08),
}
ROUNDS = 2
NO_OPINION = Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing: a U-Net has no opinion")

Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""

log = structlog.get_logger(__name__)


def publish_unet(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    version: str,
    architecture: UNetArchitecture,
    validation: Mapping[Regime, Sequence[TrainingImage]],
    provenance: Mapping[str, object],
    inputs: Sequence[Input] = INPUTS,
    licence: str = LICENCE,
    limits: Sequence[str] = (),
    progress: Progress | None = None,
) -> Manifest:
    """Calibrate a U-Net for each regime and write ``NAME.safetensors`` and ``NAME.json``.

    Parameters are those of :func:`labsem.training.publish.publish`.

    Raises
    ------
    ValueError
        Where a regime has no validation image.
    """
    # Calibrated as it ships: with weights that went through float16.
    tensors = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in load_weights(checkpoint).items()
    }
    network = UNet(architecture)
    network.load_state_dict(tensors)
    fold_batch_norms(network.backbone)
    found = calibrate_unet(MapPredictor(network), validation, inputs, progress=progress)
    metrics = {regime.value: _figures(score) for regime, (_, score) in found.items()}
    log.info("watershed calibrated", **metrics)
    return write_model(
        folder,
        name=name,
        version=version,
        network=network,
        tensors=tensors,
        regimes={regime: calibration for regime, (calibration, _) in found.items()},
        provenance=provenance,
        metrics={
            "validation": {"measured_by": "labsem train, on what its thresholds were found on", **metrics}
        },
        licence=licence,
        limits=limits,
    )


def calibrate_unet(
    predictor: MapPredictor,
    validation: Mapping[Regime, Sequence[TrainingImage]],
    inputs: Sequence[Input] = INPUTS,
    *,
    progress: Progress | None = None,
) -> dict[Regime, tuple[Calibration, Score]]:
    """Find input size and watershed thresholds of each regime, and what they reach on its validation images.

    Raises
    ------
    ValueError
        Where a regime has no image.
    """
    empty = [regime.value for regime, images in validation.items() if not images]
    if empty:
        raise ValueError(
            f"no validation image is left for the regime {', '.join(empty)}; add labelled images of its magnification"
        )
    trials = _Trials(predictor)
    found: dict[Regime, tuple[Calibration, Score]] = {}
    for done, (regime, images) in enumerate(validation.items()):
        if progress is not None:
            progress(done / len(validation), f"watershed of {regime.value}")
        scores = [trials.score(images, each, Watershed()) for each in inputs]
        scale = inputs[int(np.argmax([score.value for score in scores]))]
        thresholds = trials.search(images, scale)
        overlaps = trials.overlaps(images, scale, thresholds)
        calibration = Calibration(
            thresholds=Thresholds(),
            watershed=thresholds,
            confidence=NO_OPINION,
            mask_quality=NO_OPINION,
            input=scale,
            detection_floor_px=_floor_px(overlaps),
        )
        found[regime] = (calibration, score_overlaps(overlaps))
    return found


class _Trials:
    """Watersheds of validation images under many thresholds: each map and each result is computed once.

    Regimes share images, so their searches share results.
    """

    def __init__(self, predictor: MapPredictor) -> None:
        self._predictor = predictor
        self._maps: dict[tuple[int, Input], NDArray[np.float16]] = {}
        self._overlaps: dict[tuple[int, Input, Watershed], Overlaps] = {}

    def search(self, images: Sequence[TrainingImage], scale: Input) -> Watershed:
        """Coordinate search over ``CHOICES``."""
        best = Watershed()
        reached = self.score(images, scale, best).value
        for _ in range(ROUNDS):
            before = reached
            for name, choices in CHOICES.items():
                for choice in choices:
                    tried = best.model_copy(update={name: choice})
                    value = self.score(images, scale, tried).value
                    if value > reached + 1e-4:
                        best, reached = tried, value
            if reached == before:
                break
        return best

    def score(self, images: Sequence[TrainingImage], scale: Input, thresholds: Watershed) -> Score:
        """What thresholds reach."""
        return score_overlaps(self.overlaps(images, scale, thresholds))

    def overlaps(
        self, images: Sequence[TrainingImage], scale: Input, thresholds: Watershed
    ) -> list[Overlaps]:
        """Labels against particles, of each image."""
        return [self._of_image(image, scale, thresholds) for image in images]

    def _of_image(self, image: TrainingImage, scale: Input, thresholds: Watershed) -> Overlaps:
        # By identity: images of two data sets may have the same name.
        key = (id(image), scale, thresholds)
        if key not in self._overlaps:
            if (key[0], scale) not in self._maps:
                maps = self._predictor.predict(image.grey, scale)
                # Half the memory; 1e-3 is nothing to these thresholds.
                self._maps[key[0], scale] = np.stack([maps.grey, maps.cell, maps.neighbour]).astype(
                    np.float16
                )
            maps = DistanceMaps(*self._maps[key[0], scale].astype(np.float32))
            self._overlaps[key] = find_overlaps(
                image.labels, parted_segmentation(maps, thresholds).label_image
            )
        return self._overlaps[key]


def _floor_px(overlaps: Sequence[Overlaps]) -> float | None:
    matches = [match(each) for each in overlaps]
    return detection_floor_px(
        np.concatenate([each.truth_ecd_px for each in matches]),
        np.concatenate([each.truth_found for each in matches]),
    )


def _figures(score: Score) -> dict[str, object]:
    """AJI+ and F1 on the images that the thresholds were found on (so a little too good)."""
    interval = mean_interval(score.aji_plus)
    return {
        "images": len(score.aji_plus),
        "aji_plus": round(float(score.aji_plus.mean()), 4),
        "aji_plus_interval_95": None if interval is None else [round(value, 4) for value in interval],
        "f1": round(float(score.f1.mean()), 4),
    }
