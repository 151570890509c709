"""``labsem models``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import FolderOption, Json
from services.cli.output import FAILED, fail, print_json, show, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import settings

if TYPE_CHECKING:
    from labsem.training.choose import Decision
    from services.workers import Report

_RECORDED = (
    "regime",
    "images",
    "particles",
    "aji_plus",
    "aji_plus_interval_95",
    "f1",
    "f1_interval_95",
    "recall",
    "precision",
    "auroc",
    "ece",
    "ece_floor",
    "ece_n",
    "mask_quality_ece",
    "mask_quality_ece_floor",
    "mask_quality_n",
)
"""Figures of a report that a card shows."""

models = typer.Typer(no_args_is_help=True, help="The networks that are installed.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")


@models.command("list")
def models_list(folder: FolderOption = None, as_json: Json = False) -> None:
    """List the networks."""
    from labsem.networks.manifest import list_manifests

    manifests = list_manifests(folder or settings().models.folder)
    if as_json:
        print_json(
            [
                manifest.reference().model_dump() | {"regimes": list(manifest.regimes)}
                for manifest in manifests
            ]
        )
        return
    columns = ("name", "version", "regimes", "made", "size MB", "validation AJI+", "sha256")
    rows = [
        (
            manifest.name,
            manifest.version,
            [regime.value for regime in manifest.regimes],
            manifest.created_at.strftime("%Y-%m-%d"),
            manifest.size_bytes / 1e6,
            _validation_aji(manifest.metrics),
            manifest.sha256[:12],
        )
        for manifest in manifests
    ]
    stdout().print(table("Models", columns, rows, right=("size MB",)))


def _validation_aji(metrics: dict[str, Any]) -> str:
    validation = metrics.get("validation", {})
    found = {
        name: one["aji_plus"]
        for name, one in validation.items()
        if isinstance(one, dict) and "aji_plus" in one
    }
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


@models.command("show")
def models_show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the model; default: all.")
    ] = None,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Print model cards: figures, training data, thresholds, limits, licence. With --json the manifest."""
    from labsem.networks.manifest import list_manifests, shipped_folder
    from labsem.networks.verification import count_numbers
    from services.cli.cards import print_card

    where = folder or settings().models.folder or shipped_folder()
    manifests = {manifest.name: manifest for manifest in list_manifests(where)}
    if name is not None and name not in manifests:
        fail(f"no model is called {name!r}; there are {', '.join(manifests)}")
    chosen = [manifests[name]] if name is not None else list(manifests.values())
    if as_json:
        print_json(chosen[0] if name is not None else chosen)
        return
    for manifest in chosen:
        print_card(manifest, count_numbers(where / manifest.weights))


@models.command("verify")
def models_verify(folder: FolderOption = None, as_json: Json = False) -> None:
    """Check weights and manifests: names, sizes, fields, SHA-256, and that neither was changed alone."""
    from labsem.networks.manifest import WeightsError, shipped_folder
    from labsem.networks.verification import find_problems

    where = folder or settings().models.folder or shipped_folder()
    paths = sorted(where.glob("*.json"))
    if not paths:
        raise WeightsError(f"{where} holds no model (NAME.json with NAME.safetensors)")
    found = [{"name": path.stem, "problems": find_problems(path)} for path in paths]
    if as_json:
        print_json(found)
    else:
        for item in found:
            show(f"{item['name']}: {'; '.join(item['problems']) or 'ok'}")
    if any(item["problems"] for item in found):
        raise typer.Exit(FAILED)


@models.command("record")
def models_record(
    report: Annotated[Path, typer.Argument(help="What labsem evaluate --json printed of this model.")],
    label: Annotated[str, typer.Option("--as", help='What it was measured on, such as "emps test".')],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "joint",
    folder: FolderOption = None,
) -> None:
    """Write figures of an evaluation into a model's card; weights and seal stay as they are."""
    from pydantic import ValidationError

    from labsem.evaluation.report import EvaluationReport
    from labsem.networks.manifest import shipped_folder
    from labsem.training.publish import add_metrics

    where = folder or settings().models.folder or shipped_folder()
    try:
        measured = EvaluationReport.model_validate_json(report.read_bytes())
    except (OSError, ValidationError) as error:
        fail(f"{report} is no report of one model ({error}); give what labsem evaluate --json printed")
    figures = measured.model_dump(mode="json", include=set(_RECORDED))
    kept = {key: figures[key] for key in _RECORDED if figures[key] is not None}
    add_metrics(where, name, {label: kept})
    show(f"{name}: {len(kept)} figures of {measured.images} images as {label!r}")


@models.command("choose")
def models_choose(
    joint: Annotated[Path, typer.Option(help="Folder of the joint model.")],
    own: Annotated[
        list[Path], typer.Option(help="Folder of a model fine-tuned for one regime; may be repeated.")
    ],
    data: Annotated[list[Path], typer.Option(help="Folder of labelled images; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where the models that ship are written.")],
    as_json: Json = False,
) -> None:
    """Ship a regime's own weights only where they are not worse than joint's on its validation part."""
    from services.workers import run_in_worker

    with progress_bar("comparing") as update:
        decisions = run_in_worker(
            _choose, joint, own, data, out, progress=lambda done, text: update(done, 1.0, text)
        )
    if as_json:
        print_json(decisions)
        return
    for decision in decisions:
        show(f"{decision.regime.value}: {decision.note}")


def _choose(report: Report, joint: Path, own: list[Path], data: list[Path], out: Path) -> list[Decision]:
    from labsem.training.choose import choose_weights
    from labsem.training.material import load_dataset
    from schemas.morphology import Regime

    datasets = [load_dataset(folder, Regime.JOINT) for folder in data]
    validation = {
        regime: [image for dataset in datasets for image in dataset.of_regime(regime)] for regime in Regime
    }
    return choose_weights(joint, own, out, validation, report)
