"""From a frame to its segmentation: ``Segmenter.load().segment(pixels, regime)``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labsem.networks.combination import Combined, combine
from labsem.networks.detector import Detections, Detector, Precision
from labsem.networks.evidence import PREFIX as EVIDENCE_PREFIX
from labsem.networks.evidence import EvidenceHead
from labsem.networks.folding import fold_batch_norms
from labsem.networks.fused import prepare_for_inference
from labsem.networks.manifest import (
    Calibration,
    Manifest,
    Platt,
    Thresholds,
    WeightsError,
    list_manifests,
    load_weights,
    verify,
)
from labsem.networks.novelty import PREFIX as NOVELTY_PREFIX
from labsem.networks.novelty import Novelty
from labsem.networks.polarity import ground_shades, is_ground
from labsem.networks.registry import build_network, read_architecture
from labsem.networks.unet import UNet
from labsem.networks.watershed import MapPredictor, parted_segmentation
from labsem.normalisation import grey_levels, normalise
from labsem.segmentation import HALF_LEVEL, Segmentation
from schemas.morphology import ModelReference, Regime


class TrustAtBoxes(NamedTuple):
    """Numbers of trust (N,) at boxes that were given, not found."""

    confidence: NDArray[np.float64]
    objectness: NDArray[np.float64]


Model = tuple[Manifest, Detector | MapPredictor, Novelty | None]
"""A network with its manifest and what tells a frame unlike its training."""


class Segmenter:
    """The networks of all regimes."""

    def __init__(self, models: dict[Regime, Model]) -> None:
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
        models: dict[Regime, Model] = {}
        # A model of fewer regimes is the more particular one and wins.
        for manifest in sorted(list_manifests(folder), key=lambda each: -len(each.regimes)):
            tensors = load_weights(verify(manifest, folder))
            novelty = _take_novelty(tensors)
            head = _take_head(tensors, manifest)
            network = build_network(read_architecture(manifest.architecture))
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                raise WeightsError(
                    f"{manifest.weights} does not fit its manifest's architecture: {error}"
                ) from error
            detector: Detector | MapPredictor
            if isinstance(network, UNet):
                fold_batch_norms(network.backbone)
                detector = MapPredictor(network)
            else:
                prepare_for_inference(network)
                detector = Detector(network, precision=precision, head=head)
            for regime in manifest.regimes:
                if regime in models and len(models[regime][0].regimes) == len(manifest.regimes):
                    raise WeightsError(
                        f"{models[regime][0].name} and {manifest.name} both serve regime {regime.value}; remove one"
                    )
                models[regime] = (manifest, detector, novelty)
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
        manifest, detector, novelty = self._models[regime]
        calibration = manifest.regimes[regime]
        if isinstance(detector, MapPredictor):
            return parted_segmentation(detector.predict(pixels, calibration.input), calibration.watershed)
        thresholds = calibration.thresholds
        detections = detector.detect(
            pixels,
            calibration.input,
            score_min=min(thresholds.omega, thresholds.psi),
            nms_iou=thresholds.nms,
            detections_max=thresholds.detections_max,
        )
        unlike = _is_unlike(detector, detections.grey, calibration, novelty)
        return to_segmentation(detections, calibration, out_of_distribution=unlike)

    def is_unlike_training(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], regime: Regime) -> bool:
        """Whether a frame (H, W) raises ``out_of_distribution``, as :meth:`segment` says it too.

        Without anything to tell it by (a U-Net, weights of old) no frame does.
        """
        manifest, detector, novelty = self._models[regime]
        if isinstance(detector, MapPredictor):
            return False
        return _is_unlike(detector, normalise(pixels, grey_levels(pixels)), manifest.regimes[regime], novelty)

    def trust_at(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.integer], regime: Regime
    ) -> TrustAtBoxes:
        """Trust in particles whose boxes are known: the box head run there, calibrated as detections are.

        A U-Net has no opinion: all are 1.

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
        if isinstance(detector, MapPredictor):
            return TrustAtBoxes(np.ones(len(corners)), np.ones(len(corners)))
        found = detector.at_boxes(pixels, corners, calibration.input)
        expected = logit(found.expected_confidence)[:, None]
        return TrustAtBoxes(apply_platt(calibration.confidence, expected), found.objectness)

    def confidence_at(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.integer], regime: Regime
    ) -> NDArray[np.float64]:
        """(N,) confidence of :meth:`trust_at`."""
        return self.trust_at(pixels, boxes, regime).confidence


def to_segmentation(
    detections: Detections,
    calibration: Calibration,
    *,
    out_of_distribution: bool = False,
) -> Segmentation:
    """Calibrate and combine detections of a frame."""
    confidence = apply_platt(calibration.confidence, logit(detections.expected_confidence)[:, None])
    quality = apply_platt(
        calibration.mask_quality,
        np.stack([logit(detections.objectness), logit(detections.mask_certainty)], axis=1),
    )
    certain = confidence > 0.5 if detections.certain is None else detections.certain
    combined = combine(
        detections.cells,
        detections.objectness,
        certain,
        detections.grey.shape[0],
        detections.grey.shape[1],
        calibration.thresholds,
    )
    combined = _without_ground(combined, detections, calibration.thresholds)
    return Segmentation(
        height_px=detections.grey.shape[0],
        width_px=detections.grey.shape[1],
        boxes=combined.boxes,
        probabilities=combined.probabilities,
        objectness=detections.objectness[combined.index],
        confidence=confidence[combined.index],
        mask_quality=quality[combined.index],
        out_of_distribution=out_of_distribution,
        certain_by_rule=None if detections.certain is None else certain[combined.index],
    )


def _without_ground(combined: Combined, detections: Detections, thresholds: Thresholds) -> Combined:
    if not thresholds.looks_at_ground or not len(combined.index):
        return combined
    masks = [level >= HALF_LEVEL for level in combined.probabilities]
    shades = ground_shades(detections.grey, combined.boxes, masks)
    objectness = detections.objectness[combined.index]
    return combined.take(~is_ground(shades, objectness, thresholds.contrast, thresholds.ground_band))


def _take_novelty(tensors: dict[str, Tensor]) -> Novelty | None:
    """What lies with a network's tensors to tell a frame unlike its training by; none in weights of old."""
    own = _take(tensors, NOVELTY_PREFIX)
    return Novelty.from_tensors(own) if f"{NOVELTY_PREFIX}basis" in own else None


def _take_head(tensors: dict[str, Tensor], manifest: Manifest) -> EvidenceHead | None:
    """The head on evidence that lies with a network's tensors, where the manifest says that confidence is its."""
    own = _take(tensors, EVIDENCE_PREFIX)
    if manifest.confidence_from != "evidence":
        return None
    try:
        return EvidenceHead.from_tensors(own)
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"{manifest.weights} holds no head on evidence that fits this version of labsem ({error}), but its "
            "manifest says confidence_from = evidence; install labsem again or train anew"
        ) from error


def _take(tensors: dict[str, Tensor], prefix: str) -> dict[str, NDArray[np.float64]]:
    return {name: tensors.pop(name).double().numpy() for name in list(tensors) if name.startswith(prefix)}


def _is_unlike(
    detector: Detector, grey: NDArray[np.float32], calibration: Calibration, novelty: Novelty | None
) -> bool:
    if calibration.out_of_distribution is None or novelty is None:
        return False
    return bool(novelty.of(detector.glance(grey))[0] > calibration.out_of_distribution.limit)


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds, bounded at 1e-6 from 0 and 1."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    odds: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return odds


def apply_platt(platt: Platt, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Calibrated probabilities of (N, M) inputs."""
    value: NDArray[np.float64] = 1 / (1 + np.exp(-(inputs @ np.array(platt.slopes) + platt.offset)))
    return value
