"""From a checkpoint to a model that ``Segmenter.load`` takes: calibrated, float16, with a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
import torch
from safetensors.torch import save_file

from labsem import __version__
from labsem.evaluation.aji import aji_sums
from labsem.evaluation.bootstrap import mean_interval
from labsem.evaluation.detection import match
from labsem.evaluation.overlap import find_overlaps
from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.folding import fold_batch_norms
from labsem.networks.manifest import Calibration, Input, Manifest, load_weights
from labsem.networks.segmenter import Detector, to_segmentation
from labsem.training.calibrate import INPUTS, calibrate, fit_out_of_distribution
from labsem.training.sampling import TrainingImage
from schemas.base import utc_now
from schemas.morphology import Regime

log = structlog.get_logger(__name__)

LICENCE = "Apache-2.0 (weights); trained on EMPS and AMPIS (MIT) and the DualSight powders (CC BY 4.0)"


def publish(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    version: str,
    architecture: Architecture,
    training: Sequence[TrainingImage],
    validation: Mapping[Regime, Sequence[TrainingImage]],
    provenance: Mapping[str, object],
    inputs: Sequence[Input] = INPUTS,
    licence: str = LICENCE,
    limits: Sequence[str] = (),
) -> Manifest:
    """Calibrate a checkpoint for each regime and write ``NAME.safetensors`` and ``NAME.json``.

    Parameters
    ----------
    training
        Images that it learned from: the reference of ``out_of_distribution``.
    validation
        Images of each regime that the model is to serve; thresholds and calibrations are found on them.
    provenance
        What the manifest says of the training.
    inputs
        Sizes of the network's input to choose from.

    Raises
    ------
    ValueError
        Where a regime has no validation image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Calibrated as it ships: with weights that went through float16.
    tensors = {key: tensor.half().float() for key, tensor in load_weights(checkpoint).items()}
    network = ParticleNetwork(architecture)
    network.load_state_dict(tensors)
    fold_batch_norms(network.backbone)
    detector = Detector(network, precision="float32")
    regimes: dict[Regime, Calibration] = {}
    metrics: dict[str, object] = {}
    for regime, images in validation.items():
        regimes[regime] = calibrate(detector, images, inputs)
        metrics[regime.value] = validation_metrics(detector, regimes[regime], images)
        log.info("regime calibrated", regime=regime.value, **metrics[regime.value])  # type: ignore[arg-type]
    reference = next(iter(regimes.values()))
    everything = {image.id: image for images in validation.values() for image in images}
    features, limit = fit_out_of_distribution(detector, training, list(everything.values()), reference.input)
    regimes = {
        regime: calibration.model_copy(update={"out_of_distribution": limit})
        for regime, calibration in regimes.items()
    }
    weights = folder / f"{name}.safetensors"
    halves = {key: tensor.half().contiguous() for key, tensor in tensors.items()}
    halves |= {key: torch.from_numpy(value).float() for key, value in features.items()}
    save_file(halves, weights)
    weights.chmod(0o644)
    manifest = Manifest(
        name=name,
        version=version,
        created_at=utc_now(),
        code_version=__version__,
        regimes=regimes,
        architecture=architecture.model_dump(mode="json"),
        weights=weights.name,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        size_bytes=weights.stat().st_size,
        training=dict(provenance),
        metrics={"validation": metrics},
        limits=tuple(limits),
        licence=licence,
    )
    (folder / f"{name}.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def validation_metrics(
    detector: Detector, calibration: Calibration, images: Sequence[TrainingImage]
) -> dict[str, object]:
    """AJI+ and F1 on the validation images that the calibration was found on (so a little too good)."""
    thresholds = calibration.thresholds
    values: list[float] = []
    scores: list[float] = []
    for image in images:
        detections = detector.detect(
            image.grey,
            calibration.input,
            score_min=min(thresholds.omega, thresholds.psi),
            nms_iou=thresholds.nms,
            detections_max=thresholds.detections_max,
        )
        segmentation = to_segmentation(
            detections, calibration.model_copy(update={"out_of_distribution": None}), {}
        )
        overlaps = find_overlaps(image.labels, segmentation.label_image)
        values.append(aji_sums(overlaps).value)
        scores.append(match(overlaps).counts.f1)
    interval = mean_interval(np.array(values)) if len(values) > 1 else None
    return {
        "images": len(images),
        "aji_plus": round(float(np.mean(values)), 4),
        "aji_plus_interval_95": None if interval is None else [round(float(v), 4) for v in interval],
        "f1": round(float(np.mean(scores)), 4),
    }
