"""``labsem train`` from end to end: train, calibrate on validation parts, publish weights with their manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labsem.networks.detector import Detector
from labsem.networks.evidence import EvidenceHead
from labsem.networks.manifest import Manifest, read_manifest
from labsem.networks.unet import UNetArchitecture
from labsem.training.calibrate import INPUTS, few_judged
from labsem.training.data_report import DataSetReport, report_dataset
from labsem.training.evidence import choose_judged, collect_evidence, fit_evidence
from labsem.training.material import DataSet, load_datasets, validation_images
from labsem.training.options import TrainingOptions
from labsem.training.publish import load_network, publish
from labsem.training.report import write_report
from labsem.training.search import HeadSearch, search_head
from labsem.training.train import BEST, CHECKPOINT, train
from labsem.training.unet import publish_unet
from schemas.morphology import Regime

PUBLISHED_LIMIT = (
    "no oxide powder from a desktop SEM was labelled for training: EMPS figures come from papers, powders and AMPIS "
    "are metals"
)
LIMITS = (
    "particles under the detection floor are mostly missed",
    "fused agglomerates are outlined as one or cut arbitrarily",
)
JOINT_LIMIT = (
    "low and high share these weights, each with thresholds and calibrations of its own; no network fine-tuned for one "
    "regime was compared with them"
)

Notify = Callable[[float, str], None]
"""Called with the fraction done of the present stage, and what is being done."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves: manifest, report, and what it learned from."""

    manifest: Manifest
    report: Path | None
    datasets: list[DataSetReport]


def train_model(
    options: TrainingOptions,
    notify: Notify | None = None,
    *,
    name: str | None = None,
    version: str = "0",
    datasets: Sequence[DataSet] | None = None,
) -> Trained:
    """Train, calibrate and publish into ``options.output``, with a report.

    A joint training serves all three regimes, each with thresholds and calibrations of its own; a training of one
    regime serves that one.

    Parameters
    ----------
    notify
        Called often; may raise KeyboardInterrupt to stop.
    datasets
        In memory already; else they are read.

    Raises
    ------
    ValueError
        Where no image is left to train or to validate on.
    labsem.training.train.TrainingInterruptedError
        Where it was stopped.
    """
    notify = notify or (lambda _done, _what: None)
    if datasets is None:
        datasets = load_datasets(options)
    require_validation(datasets, options.regime)
    train_on(options, datasets, notify)
    return publish_model(options, datasets, notify, name=name, version=version)


def train_on(options: TrainingOptions, datasets: Sequence[DataSet], notify: Notify) -> Path:
    """Train on data sets and return the file with the averaged weights."""

    def tell(done: float, losses: dict[str, float], seconds_left: float) -> None:
        parts = " ".join(f"{_short(name)} {value:.2f}" for name, value in losses.items())
        notify(done, f"{parts}, {seconds_left / 60:.0f} min left")

    return train(
        options,
        [dataset.training for dataset in datasets],
        tell,
        validation=[image for dataset in datasets for image in dataset.validation],
        weights=[dataset.weight for dataset in datasets],
    )


def publish_model(
    options: TrainingOptions,
    datasets: Sequence[DataSet],
    notify: Notify | None = None,
    *,
    name: str | None = None,
    version: str = "0",
) -> Trained:
    """Calibrate and publish the checkpoint in ``options.output``, and write the training report."""
    notify = notify or (lambda _done, _what: None)
    require_validation(datasets, options.regime)
    validation = {regime: validation_images(datasets, regime) for regime in served(options.regime)}
    state = torch.load(options.output / CHECKPOINT, map_location="cpu", weights_only=True)
    best = options.output / BEST
    checkpoint = best if options.patience is not None and best.is_file() else options.output / CHECKPOINT
    reports = [report_dataset(dataset) for dataset in datasets]
    provenance = _provenance(options, checkpoint, state, reports)
    called = name or options.regime.value
    if isinstance(options.architecture, UNetArchitecture):
        manifest = publish_unet(
            checkpoint,
            options.output,
            name=called,
            version=version,
            architecture=options.architecture,
            validation=validation,
            provenance=provenance,
            licence=licence(datasets),
            limits=_limits(datasets, options.regime),
            progress=notify,
        )
        return Trained(manifest, None, reports)
    head, searched = _fit_head(options, checkpoint, datasets, notify)
    if searched is not None:
        provenance["uncertainty_search"] = searched.model_dump(mode="json")
    published = publish(
        checkpoint,
        options.output,
        name=called,
        version=version,
        architecture=options.architecture,
        training=[image for dataset in datasets for image in dataset.training],
        validation=validation,
        provenance=provenance,
        head=head,
        licence=licence(datasets),
        limits=_limits(datasets, options.regime),
        judged_elsewhere=[
            image
            for one in datasets
            if any(few_judged(images) for images in validation.values())
            for image in one.judged_elsewhere.validation
        ],
        trials=options.threshold_trials,
        progress=notify,
    )
    notify(1.0, "report")
    return Trained(published.manifest, write_report(options.output, published, reports), reports)


def _provenance(
    options: TrainingOptions, checkpoint: Path, state: Mapping[str, Any], reports: Sequence[DataSetReport]
) -> dict[str, object]:
    told: dict[str, object] = {
        "steps": state["step"],
        "seconds": round(state["seconds"]),
        "published_step": torch.load(checkpoint, map_location="cpu", weights_only=True).get(
            "step", state["step"]
        ),
        "options": options.model_dump(
            mode="json", exclude={"data", "output", "start_from", "resume", "architecture"}
        ),
        "start": state.get("start", "ImageNet"),
        "datasets": [each.model_dump(mode="json") for each in reports],
    }
    beside = options.start_from.with_suffix(".json") if options.start_from is not None else None
    if beside is not None and beside.is_file():
        previous = read_manifest(beside)
        told["previous"] = previous.reference().model_dump(mode="json") | {"training": previous.training}
    return told


def _limits(datasets: Sequence[DataSet], regime: Regime) -> tuple[str, ...]:
    limits: tuple[str, ...] = LIMITS
    if all(dataset.licence is not None for dataset in datasets):
        limits = (PUBLISHED_LIMIT, *limits)
    return (*limits, JOINT_LIMIT) if regime is Regime.JOINT else limits


def served(regime: Regime) -> tuple[Regime, ...]:
    """Regimes that a training of one regime serves."""
    return tuple(Regime) if regime is Regime.JOINT else (regime,)


def require_validation(datasets: Sequence[DataSet], regime: Regime) -> None:
    """Say before a long training that there would be nothing to calibrate on.

    Raises
    ------
    ValueError
        Where a regime that is to be served has no validation image.
    """
    for each in served(regime):
        if not any(dataset.of_regime(each) for dataset in datasets):
            raise ValueError(
                f"no validation image is left for the regime {each.value}; add labelled images of its magnification, "
                "or simulated ones (--simulated)"
            )


def licence(datasets: Sequence[DataSet]) -> str:
    """Of the weights, and of what they were trained on."""
    known = dict.fromkeys(dataset.licence or f"{dataset.name}: as its owner says" for dataset in datasets)
    return "Apache-2.0 (weights); trained on " + "; ".join(known)


def _fit_head(
    options: TrainingOptions, checkpoint: Path, datasets: Sequence[DataSet], notify: Notify
) -> tuple[EvidenceHead | None, HeadSearch | None]:
    """The head on evidence from the judged images of the training, and the search for its settings where asked for."""
    network, _ = load_network(checkpoint, options.architecture)
    if not network.takes_evidence:
        if options.search_head:
            raise ValueError(
                "the uncertainty head is searched for the network that ships; leave --search-head out"
            )
        return None, None
    images = [image for one in datasets for image in one.training]
    if few_judged(images):
        images += [image for one in datasets for image in one.judged_elsewhere.training]
    data = collect_evidence(
        Detector(network, precision="float32"),
        choose_judged(images),
        INPUTS[0],
        progress=lambda done, total: notify(done / total, f"evidence on judged images, {done} of {total}"),
    )
    if not options.search_head:
        return fit_evidence(data, options.uncertainty), None
    found = search_head(
        data,
        usual=options.uncertainty,
        seed=options.seed,
        progress=lambda done, total: notify(done / total, f"uncertainty head, trial {done} of {total}"),
    )
    return fit_evidence(data, found.settings), found


def _short(name: str) -> str:
    return name.removeprefix("loss_").replace("_reg", "").replace("_", " ")
