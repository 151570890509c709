"""From a frame to its segmentation: ``Segmenter.load().segment(pixels, regime)``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.combination import Combined, combine, resample_mask
from labsem.networks.folding import fold_batch_norms
from labsem.networks.losses import expected_confidence
from labsem.networks.manifest import (
    Calibration,
    Input,
    Manifest,
    Platt,
    WeightsError,
    list_manifests,
    load_weights,
    verify,
)
from labsem.networks.polarity import ground_contrast, is_ground
from labsem.normalisation import grey_levels, normalise
from labsem.segmentation import HALF_LEVEL, Segmentation
from schemas.morphology import ModelReference, Regime

Precision = Literal["auto", "float32", "bfloat16"]

PADDING_PX = 32
"""Frames are padded to a multiple of the backbone's largest stride."""


@dataclass(frozen=True)
class Detections:
    """What the network says of a frame before combination, best first.

    Attributes
    ----------
    grey
        (H, W) the frame's grey values in [0, 1].
    boxes
        (N, 4) x0 y0 x1 y1, px of the frame.
    masks
        (N, 28, 28) mask probabilities.
    objectness, expected_confidence, mask_certainty
        (N,): foreground probability, expected bin centre of the uncertainty head, and mean distance of the mask's
        probabilities from one half, times two.
    pooled
        Features for the question whether the frame is unlike the training.
    """

    grey: NDArray[np.float32]
    boxes: NDArray[np.float64]
    masks: Tensor
    objectness: NDArray[np.float64]
    expected_confidence: NDArray[np.float64]
    mask_certainty: NDArray[np.float64]
    pooled: NDArray[np.float64]

    @cached_property
    def cells(self) -> list[tuple[NDArray[np.float32], tuple[int, ...]]]:
        """Mask probabilities at the frame's pixels, inside their boxes."""
        return [
            resample_mask(mask, box, self.grey.shape[0], self.grey.shape[1])
            for mask, box in zip(self.masks, self.boxes, strict=True)
        ]


class TrustAtBoxes(NamedTuple):
    """Numbers of trust (N,) at boxes that were given, not found."""

    confidence: NDArray[np.float64]
    objectness: NDArray[np.float64]


class Detector:
    """One network on one frame: normalisation, change of scale, detection."""

    def __init__(self, network: ParticleNetwork, *, precision: Precision = "auto") -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._half = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster())

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What it computes in."""
        return "bfloat16" if self._half else "float32"

    def detect(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.uint16],
        scale: Input,
        *,
        score_min: float,
        nms_iou: float = 0.5,
        detections_max: int = 1500,
    ) -> Detections:
        """Detections of a frame (H, W), in its own pixels."""
        height, width = pixels.shape
        grey = normalise(pixels, grey_levels(pixels))
        image, factor = _to_input(grey, scale)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            found = self._network.detect(
                image, score_min=score_min, nms_iou=nms_iou, detections_max=detections_max
            )
        boxes = found["boxes"].double().numpy() / factor
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        masks = found["masks"].float()
        return Detections(
            grey=grey,
            boxes=boxes,
            masks=masks,
            objectness=found["scores"].double().numpy(),
            expected_confidence=expected_confidence(found["confidence_logits"].float()).double().numpy(),
            mask_certainty=((masks - 0.5).abs().mean(dim=(1, 2)) * 2).double().numpy(),
            pooled=found["pooled"].double().numpy(),
        )

    def at_boxes(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.float64], scale: Input
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Objectness and expected bin centre (N,) at boxes (N, 4), x0 y0 x1 y1 in pixels of the frame (H, W)."""
        image, factor = _to_input(normalise(pixels, grey_levels(pixels)), scale)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            found = self._network.at_boxes(image, torch.from_numpy(boxes * factor).float().reshape(-1, 4))
        expected = expected_confidence(found["confidence_logits"].float())
        return found["scores"].double().numpy(), expected.double().numpy()


class Segmenter:
    """The shipped networks of all regimes."""

    def __init__(
        self, models: dict[Regime, tuple[Manifest, Detector, dict[str, NDArray[np.float64]]]]
    ) -> None:
        self._models = models

    @classmethod
    def load(
        cls, folder: Path | None = None, *, precision: Precision = "auto", threads: int | None = None
    ) -> Self:
        """Load and verify the weights of a folder (default: the shipped ones).

        Parameters
        ----------
        precision
            ``auto`` times both once and takes the faster.
        threads
            Of torch in this process; None leaves them.

        Raises
        ------
        WeightsError
            Where weights or manifests are missing, damaged, or serve no joint regime.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        models: dict[Regime, tuple[Manifest, Detector, dict[str, NDArray[np.float64]]]] = {}
        # A model of fewer regimes is the more particular one and wins.
        for manifest in sorted(list_manifests(folder), key=lambda each: -len(each.regimes)):
            tensors = load_weights(verify(manifest, folder))
            extra = {
                name: tensors.pop(name).double().numpy() for name in list(tensors) if name.startswith("ood.")
            }
            network = ParticleNetwork(Architecture.model_validate(manifest.architecture))
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                raise WeightsError(
                    f"{manifest.weights} does not fit its manifest's architecture: {error}"
                ) from error
            fold_batch_norms(network.backbone)
            detector = Detector(network, precision=precision)
            for regime in manifest.regimes:
                if regime in models and len(models[regime][0].regimes) == len(manifest.regimes):
                    raise WeightsError(
                        f"{models[regime][0].name} and {manifest.name} both serve regime {regime.value}; remove one"
                    )
                models[regime] = (manifest, detector, extra)
        missing = [regime.value for regime in Regime if regime not in models]
        if missing:
            raise WeightsError(
                f"no model serves regime {', '.join(missing)}; train one or install labsem again"
            )
        return cls(models)

    def model(self, regime: Regime) -> ModelReference:
        """The weights behind a regime."""
        return self._models[regime][0].reference()

    def manifest(self, regime: Regime) -> Manifest:
        """The manifest behind a regime."""
        return self._models[regime][0]

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What it computes in."""
        return self._models[Regime.JOINT][1].precision

    def detection_floor_px(self, regime: Regime) -> float | None:
        """Diameter of 50 % recall, px."""
        return self._models[regime][0].regimes[regime].detection_floor_px

    def segment(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], regime: Regime) -> Segmentation:
        """Segment a frame (H, W)."""
        manifest, detector, extra = self._models[regime]
        calibration = manifest.regimes[regime]
        thresholds = calibration.thresholds
        detections = detector.detect(
            pixels,
            calibration.input,
            score_min=min(thresholds.omega, thresholds.psi),
            nms_iou=thresholds.nms,
            detections_max=thresholds.detections_max,
        )
        return to_segmentation(detections, calibration, extra)

    def trust_at(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.integer], regime: Regime
    ) -> TrustAtBoxes:
        """Trust in particles whose boxes are known: the box head run there, calibrated as detections are.

        Parameters
        ----------
        pixels
            (H, W).
        boxes
            (N, 4) y0 x0 y1 x1 in pixels, end exclusive, as in :class:`~labsem.segmentation.Segmentation`.
        """
        manifest, detector, _ = self._models[regime]
        calibration = manifest.regimes[regime]
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
        objectness, expected = detector.at_boxes(pixels, corners, calibration.input)
        return TrustAtBoxes(apply_platt(calibration.confidence, logit(expected)[:, None]), objectness)

    def confidence_at(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.integer], regime: Regime
    ) -> NDArray[np.float64]:
        """(N,) confidence of :meth:`trust_at`."""
        return self.trust_at(pixels, boxes, regime).confidence


def to_segmentation(
    detections: Detections,
    calibration: Calibration,
    extra: dict[str, NDArray[np.float64]],
) -> Segmentation:
    """Calibrate and combine detections of a frame."""
    confidence = apply_platt(calibration.confidence, logit(detections.expected_confidence)[:, None])
    quality = apply_platt(
        calibration.mask_quality,
        np.stack([logit(detections.objectness), logit(detections.mask_certainty)], axis=1),
    )
    combined = combine(
        detections.cells,
        detections.objectness,
        confidence > 0.5,
        detections.grey.shape[0],
        detections.grey.shape[1],
        calibration.thresholds,
    )
    combined = _without_ground(combined, detections, calibration.thresholds.contrast)
    return Segmentation(
        height_px=detections.grey.shape[0],
        width_px=detections.grey.shape[1],
        boxes=combined.boxes,
        probabilities=combined.probabilities,
        objectness=detections.objectness[combined.index],
        confidence=confidence[combined.index],
        mask_quality=quality[combined.index],
        out_of_distribution=_is_unlike_training(detections.pooled, calibration, extra),
    )


def _without_ground(combined: Combined, detections: Detections, least: float) -> Combined:
    if least <= -1 or not len(combined.index):
        return combined
    masks = [level >= HALF_LEVEL for level in combined.probabilities]
    contrast = ground_contrast(detections.grey, combined.boxes, masks)
    return combined.take(~is_ground(contrast, detections.objectness[combined.index], least))


def _is_unlike_training(
    pooled: NDArray[np.float64], calibration: Calibration, extra: dict[str, NDArray[np.float64]]
) -> bool:
    if calibration.out_of_distribution is None:
        return False
    return (
        mahalanobis(pooled, extra["ood.mean"], extra["ood.precision"]) > calibration.out_of_distribution.limit
    )


def mahalanobis(
    pooled: NDArray[np.float64], mean: NDArray[np.float64], precision: NDArray[np.float64]
) -> float:
    """Squared distance of (C,) features from those of the training."""
    off = pooled - mean
    return float(off @ precision @ off)


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds, bounded at 1e-6 from 0 and 1."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    odds: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return odds


def apply_platt(platt: Platt, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Calibrated probabilities of (N, M) inputs."""
    value: NDArray[np.float64] = 1 / (1 + np.exp(-(inputs @ np.array(platt.slopes) + platt.offset)))
    return value


def _to_input(grey: NDArray[np.float32], scale: Input) -> tuple[Tensor, float]:
    """What the network sees of (H, W) grey values: (1, 1, H', W'), padded; and by how much it was enlarged."""
    height, width = grey.shape
    factor = scale_factor(height, width, scale)
    image = torch.from_numpy(grey)[None, None]
    if factor != 1:
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        image = functional.interpolate(image, size=size, mode="bilinear", antialias=factor < 1)
    down, right = -image.shape[-2] % PADDING_PX, -image.shape[-1] % PADDING_PX
    return functional.pad(image, (0, right, 0, down)).contiguous(memory_format=torch.channels_last), factor


def scale_factor(height: int, width: int, scale: Input) -> float:
    """By how much a frame is enlarged or reduced before the network sees it."""
    long_side = max(height, width)
    if long_side > scale.long_side_max_px:
        return scale.long_side_max_px / long_side
    if long_side < scale.long_side_min_px:
        return min(scale.long_side_min_px / long_side, 4.0)
    return 1.0


def bfloat16_is_faster() -> bool:
    """Time a convolution in both precisions; bfloat16 is 3 times faster on some CPUs, 11 times slower on others."""
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.rand(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)

    def seconds(enabled: bool) -> float:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            convolution(image)
            best = float("inf")
            for _ in range(3):
                begun = time.perf_counter()
                convolution(image)
                best = min(best, time.perf_counter() - begun)
        return best

    return seconds(True) < 0.7 * seconds(False)
