"""``labsem train`` from end to end: train, calibrate on validation parts, publish weights with their manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch

from labsem.networks.manifest import Manifest
from labsem.training.calibrate import INPUTS
from labsem.training.material import DataSet, load_datasets
from labsem.training.publish import publish
from labsem.training.sampling import TrainingImage
from labsem.training.train import CHECKPOINT, Progress, TrainingOptions, train
from schemas.morphology import Regime

LIMITS = (
    "no oxide powder from a desktop SEM was labelled for training: EMPS figures come from papers, powders and AMPIS "
    "are metals",
    "particles under the detection floor are mostly missed",
    "fused agglomerates are outlined as one or cut arbitrarily",
)
JOINT_LIMIT = (
    "low and high share these weights, each with thresholds and calibrations of its own; no network fine-tuned for one "
    "regime was compared with them"
)


def train_model(
    options: TrainingOptions, progress: Progress | None = None, *, name: str | None = None, version: str = "0"
) -> Manifest:
    """Train, calibrate and publish into ``options.output``.

    A joint training serves all three regimes, each with thresholds and calibrations of its own; a training of one
    regime serves that one.

    Raises
    ------
    ValueError
        Where no image is left to train or to validate on.
    """
    datasets = load_datasets(options)
    train(options, [dataset.training for dataset in datasets], progress)
    return publish_model(options, datasets, name=name, version=version)


def publish_model(
    options: TrainingOptions, datasets: Sequence[DataSet], *, name: str | None = None, version: str = "0"
) -> Manifest:
    """Calibrate and publish the checkpoint in ``options.output``."""
    checkpoint = options.output / CHECKPOINT
    serves = tuple(Regime) if options.regime is Regime.JOINT else (options.regime,)
    validation = {regime: _validation(datasets, regime) for regime in serves}
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return publish(
        checkpoint,
        options.output,
        name=name or options.regime.value,
        version=version,
        architecture=options.architecture,
        training=[image for dataset in datasets for image in dataset.training],
        validation=validation,
        inputs=INPUTS,
        limits=(*LIMITS, JOINT_LIMIT) if options.regime is Regime.JOINT else LIMITS,
        provenance={
            "steps": state["step"],
            "seconds": round(state["seconds"]),
            "options": options.model_dump(
                mode="json", exclude={"data", "output", "start_from", "resume", "architecture"}
            ),
            "start": options.start_from.name if options.start_from is not None else "ImageNet",
            "datasets": [_describe(dataset) for dataset in datasets],
        },
    )


def _validation(datasets: Sequence[DataSet], regime: Regime) -> list[TrainingImage]:
    """Validation images of a regime; the joint regime serves any frame without a scale, so it gets all."""
    return [
        image
        for dataset in datasets
        for image in dataset.validation
        if regime is Regime.JOINT or dataset.regimes[image.id] is regime
    ]


def _describe(dataset: DataSet) -> dict[str, object]:
    parts: tuple[Literal["training"], Literal["validation"]] = ("training", "validation")
    counts: Counter[str] = Counter()
    for part in parts:
        images: list[TrainingImage] = getattr(dataset, part)
        counts[f"{part}_images"] = len(images)
        counts[f"{part}_particles"] = sum(image.particles for image in images)
        counts[f"{part}_judged_images"] = sum(image.uncertain is not None for image in images)
        counts[f"{part}_uncertain_particles"] = sum(len(image.uncertain or ()) for image in images)
    return {"name": dataset.name, **counts}
