"""From a checkpoint to a model that ``Segmenter.load`` takes: calibrated, float16, with a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from pydantic import BaseModel
from safetensors.torch import save_file
from torch import Tensor

from labsem import __version__
from labsem.frames import write_atomically
from labsem.networks.detector import Detector
from labsem.networks.evidence import EvidenceHead
from labsem.networks.folding import fold_batch_norms
from labsem.networks.manifest import (
    Calibration,
    ConfidenceFrom,
    Input,
    Manifest,
    WeightsError,
    read_manifest,
)
from labsem.networks.registry import build_network, read_architecture
from labsem.networks.trainable import DetectionNetwork, TrainableNetwork
from labsem.networks.verification import SEAL_KEY, seal
from labsem.training.calibrate import (
    INPUTS,
    Calibrated,
    Progress,
    calibrate_regimes,
    figures,
)
from labsem.training.novelty import fit_novelty
from labsem.training.sampling import TrainingImage
from labsem.training.start import network_tensors
from labsem.training.thresholds import TRIALS
from schemas.base import utc_now
from schemas.morphology import Regime

log = structlog.get_logger(__name__)

LICENCE = "Apache-2.0 (weights); trained on EMPS and AMPIS (MIT) and the DualSight powders (CC BY 4.0)"
MEASURED_BY = "labsem train, on the validation images that thresholds and calibrations were found on"


@dataclass(frozen=True)
class Published:
    """A model's manifest, and by regime what its thresholds and calibrations were found on."""

    manifest: Manifest
    regimes: dict[Regime, Calibrated]


def publish(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    version: str,
    architecture: BaseModel,
    training: Sequence[TrainingImage],
    validation: Mapping[Regime, Sequence[TrainingImage]],
    provenance: Mapping[str, object],
    head: EvidenceHead | None = None,
    inputs: Sequence[Input] = INPUTS,
    licence: str = LICENCE,
    limits: Sequence[str] = (),
    judged_elsewhere: Sequence[TrainingImage] = (),
    trials: int = TRIALS,
    progress: Progress | None = None,
) -> Published:
    """Calibrate a checkpoint for each regime and write ``NAME.safetensors`` and ``NAME.json``.

    Parameters
    ----------
    training
        Images that it learned from: the reference of ``out_of_distribution``.
    validation
        Images of each regime that the model is to serve; thresholds and calibrations are found on them.
    provenance
        What the manifest says of the training.
    head
        On evidence, instead of the network's own on box features.
    inputs
        Sizes of the network's input to choose from.
    judged_elsewhere
        Judged validation images of other regimes, for the calibration of ``confidence``.
    trials
        Of the search of each regime's thresholds.

    Raises
    ------
    ValueError
        Where a regime has no validation image.
    """
    network, tensors = load_network(checkpoint, architecture)
    detector = Detector(network, precision="float32", head=head)
    found = calibrate_regimes(
        detector, validation, inputs, judged_elsewhere=judged_elsewhere, trials=trials, progress=progress
    )
    metrics = {regime.value: figures(each) for regime, each in found.items()}
    for regime, reached in metrics.items():
        log.info("regime calibrated", regime=regime, **reached)
    everything = {id(image): image for images in validation.values() for image in images}
    novelty, limit = fit_novelty(detector, training, list(everything.values()))
    beside = novelty | (head.tensors() if head is not None else {})
    manifest = write_model(
        folder,
        name=name,
        version=version,
        network=network,
        tensors=tensors | {key: torch.from_numpy(value).float() for key, value in beside.items()},
        confidence_from="box features" if head is None else "evidence",
        regimes={
            regime: each.calibration.model_copy(update={"out_of_distribution": limit})
            for regime, each in found.items()
        },
        provenance=provenance,
        metrics={"validation": {"measured_by": MEASURED_BY, **metrics}},
        licence=licence,
        limits=limits,
    )
    return Published(manifest, found)


def load_network(checkpoint: Path, architecture: BaseModel) -> tuple[DetectionNetwork, dict[str, Tensor]]:
    """The network as it ships (weights gone through float16, batch norms folded), and the tensors to write.

    Raises
    ------
    WeightsError
        Where the checkpoint or the architecture cannot be used.
    """
    tensors = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in network_tensors(checkpoint).items()
    }
    network = build_network(read_architecture(architecture.model_dump()))
    if not isinstance(network, DetectionNetwork):
        raise WeightsError(
            f"{checkpoint} is of a network that detects no particles by itself; publish it by its own module"
        )
    network.load_state_dict(tensors)
    fold_batch_norms(network.backbone)
    return network, tensors


def write_model(
    folder: Path,
    *,
    name: str,
    version: str,
    network: TrainableNetwork,
    tensors: Mapping[str, Tensor],
    regimes: Mapping[Regime, Calibration],
    provenance: Mapping[str, object],
    metrics: Mapping[str, object],
    licence: str,
    limits: Sequence[str],
    confidence_from: ConfidenceFrom = "box features",
) -> Manifest:
    """Write ``NAME.safetensors``, its tensors as they are given, and then the manifest beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.safetensors"
    manifest = Manifest(
        name=name,
        version=version,
        created_at=utc_now(),
        code_version=__version__,
        regimes=dict(regimes),
        architecture=network.architecture.model_dump(mode="json"),
        objectness=network.objectness,
        confidence_from=confidence_from,
        weights=weights.name,
        sha256="0" * 64,
        size_bytes=1,
        training=dict(provenance),
        metrics=dict(metrics),
        limits=tuple(limits),
        licence=licence,
    )
    # The seal lies in the weight file, whose hash the manifest holds: neither can be changed alone.
    save_file(
        {key: tensor.contiguous() for key, tensor in tensors.items()}, weights, {SEAL_KEY: seal(manifest)}
    )
    weights.chmod(0o644)
    manifest = manifest.model_copy(
        update={
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "size_bytes": weights.stat().st_size,
        }
    )
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``NAME.json``, in one step."""
    text = manifest.model_dump_json(indent=2) + "\n"
    write_atomically(folder / f"{manifest.name}.json", text.encode())


def add_metrics(folder: Path, name: str, metrics: Mapping[str, object]) -> Manifest:
    """Write measured figures into a model's manifest; the weights and all else stay.

    Parameters
    ----------
    folder
        Where ``NAME.json`` lies.
    metrics
        By what they were measured on, such as ``{"emps test": {...}}``; each replaces what stood under its key.

    Raises
    ------
    WeightsError
        Where there is no such manifest.
    """
    manifest = read_manifest(folder / f"{name}.json")
    manifest = manifest.model_copy(update={"metrics": manifest.metrics | dict(metrics)})
    write_manifest(folder, manifest)
    return manifest
