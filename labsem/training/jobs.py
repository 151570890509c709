"""A training as the command line asks for it: :func:`run_job`, in a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingJob:
    """What is asked for.

    Attributes
    ----------
    options
        Of :class:`labsem.training.options.TrainingOptions`, without architecture and uncertainty head.
    architecture
        Name in the registry.
    uncertainty
        File with the uncertainty head's settings, or a manifest that holds the outcome of a search.
    learning_curve
        Whether trainings on shares of the images come first.
    against
        Folder of a joint model that a fine-tuned one is compared with.
    version
        Of the model, for its manifest.
    """

    options: dict[str, Any]
    architecture: str = "lite0"
    uncertainty: Path | None = None
    learning_curve: bool = False
    against: Path | None = None
    version: str = "0"


def run_job(job: TrainingJob, report: Callable[[Any, Any], None]) -> dict[str, Any]:
    """Train, publish and compare; returns a document.

    Parameters
    ----------
    report
        Called with ``"data"`` and the data sets' counts before the training starts, then with the fraction done and
        what is being done.

    Raises
    ------
    ValueError
        Where the options do not fit each other or the data.
    labsem.training.train.TrainingInterruptedError
        Where it was stopped.
    """
    from labsem.networks.manifest import WeightsError
    from labsem.training.choose import choose_weights
    from labsem.training.data_report import report_dataset
    from labsem.training.learning_curve import measure_learning_curve
    from labsem.training.material import load_datasets, validation_images
    from labsem.training.options import TrainingOptions
    from labsem.training.pipeline import publish_model, require_validation, train_model
    from schemas.morphology import Regime

    options: TrainingOptions = TrainingOptions.model_validate(job.options | _networks(job))
    if job.against is not None and options.regime is Regime.JOINT:
        raise WeightsError("a joint model is compared with none; give --against with --regime low or high")
    if job.learning_curve and options.steps == 0:
        raise ValueError("0 steps learn nothing, so there is no learning curve; give steps or minutes")
    datasets = load_datasets(options)
    require_validation(datasets, options.regime)
    validation = {options.regime: validation_images(datasets, options.regime)}
    if job.against is not None and len(validation[options.regime]) < 2:
        raise ValueError(
            f"--against compares on two validation images of {options.regime.value} at least; there is one"
        )
    report("data", [report_dataset(dataset).model_dump(mode="json") for dataset in datasets])
    curve = None
    if job.learning_curve:
        curve = measure_learning_curve(options, datasets, report)
        trained = publish_model(options, datasets, report, version=job.version)
    else:
        trained = train_model(options, report, version=job.version, datasets=datasets)
    choice: list[str] = []
    if job.against is not None:
        decisions = choose_weights(
            job.against, [options.output], options.output / "ships", validation, report
        )
        choice = [decision.note for decision in decisions]
    return {
        "manifest": trained.manifest.model_dump(mode="json"),
        "report": None if trained.report is None else str(trained.report),
        "learning_curve": None if curve is None else curve.model_dump(mode="json"),
        "choice": choice,
    }


def _networks(job: TrainingJob) -> dict[str, Any]:
    from labsem.networks.architecture import Architecture
    from labsem.networks.losses import UncertaintyHead
    from labsem.networks.registry import named_architecture

    architecture = named_architecture(job.architecture)
    head = UncertaintyHead() if job.uncertainty is None else _read_head(job.uncertainty)
    if isinstance(architecture, Architecture):
        architecture = architecture.model_copy(update={"confidence_bins": head.bins})
    return {"architecture": architecture, "uncertainty": head}


def _read_head(path: Path) -> Any:
    from labsem.networks.losses import UncertaintyHead

    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({error}); give a manifest or a file of bins, xi, sigma"
        ) from error
    search = document.get("training", {}).get("uncertainty_search") if "training" in document else None
    if "training" in document and search is None:
        raise ValueError(
            f"{path} holds no outcome of a search; train with --search-head, or give a file of bins, xi, sigma"
        )
    return UncertaintyHead.model_validate(document if search is None else search["settings"])
