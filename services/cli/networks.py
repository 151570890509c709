"""``labsem train``, ``evaluate``, ``simulate`` and ``models``."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json, Part, RegimeChoice
from services.cli.output import FAILED, cell, fail, print_json, show, stderr, stdout, table
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsem.evaluation import EvaluationReport
    from labsem.networks.manifest import Manifest
    from labsem.training.datasets import LabelledImage
    from labsem.training.train import TrainingOptions
    from schemas.settings import ModelSettings
    from services.workers import Report

models = typer.Typer(no_args_is_help=True, help="The networks that are installed.")

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", help="Folder of weights and manifests; default: the settings', else the shipped ones."
    ),
]


class SimulatedRegime(StrEnum):
    """Magnification of simulated frames."""

    LOW = "low"
    HIGH = "high"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("simulate")(simulate)
    app.add_typer(models, name="models")


def train(
    data: Annotated[list[Path], typer.Option(help="Folder of labelled images; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, losses, weights and manifest.")],
    regime: Annotated[RegimeChoice, typer.Option(help="auto trains the joint model.")] = RegimeChoice.AUTO,
    minutes: Annotated[float | None, typer.Option(help="How long; default an hour.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps, instead of minutes.")] = None,
    simulated: Annotated[int, typer.Option(min=0, help="Simulated frames to add.")] = 0,
    start_from: Annotated[
        Path | None, typer.Option(help="Weights to go on from; default: ImageNet's.")
    ] = None,
    leave_out_judged: Annotated[
        bool, typer.Option("--leave-out-judged", help="Without real images whose certainty was judged.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crops.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Crops in a step.")] = 2,
    as_json: Json = False,
) -> None:
    """Train the network on labelled images; where a split lists them, on its train part only."""
    from pydantic import ValidationError

    from labsem.training.datasets import read_dataset
    from services.workers import run_in_worker

    quiet_logging("info")
    for folder in data:
        read_dataset(folder)  # what cannot be used is said before a process starts
    given = {
        "data": tuple(data),
        "output": out,
        "regime": regime.regime() or "joint",
        "minutes": minutes,
        "steps": steps,
        "simulated": simulated,
        "start_from": start_from,
        "leave_out_judged": leave_out_judged,
        "resume": resume,
        "seed": seed,
        "batch": batch,
    }
    try:
        with _bar("training") as update:
            manifest = run_in_worker(_train, given, progress=lambda done, text: update(done, 1.0, text))
    except ValidationError as error:
        raise typer.BadParameter("; ".join(item["msg"] for item in error.errors())) from error
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        fail(str(error))
    if as_json:
        print_json(manifest)
    else:
        show(f"{manifest.name} in {out}; use it with LABSEM_MODELS__FOLDER={out}")


def _train(report: Report, given: dict[str, Any]) -> Manifest:
    from labsem.training.pipeline import train_model
    from labsem.training.train import TrainingOptions

    options: TrainingOptions = TrainingOptions.model_validate(given)

    def progress(done: float, losses: dict[str, float], seconds_left: float) -> None:
        report(done, f"loss {sum(losses.values()):.3f}, {seconds_left / 60:.0f} min left")

    return train_model(options, progress)


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of labelled images.")],
    regime: Annotated[RegimeChoice, typer.Option(help="Which network.")] = RegimeChoice.AUTO,
    part: Annotated[Part, typer.Option(help="Part of the split that lists these images.")] = Part.ALL,
    segmenter: Annotated[
        str, typer.Option(help="Another segmenter, as 'labsem doctor' lists them.")
    ] = "network",
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Measure how accurate the segmentation of labelled images is (AJI+, F1, calibration of confidence)."""
    from labsem.training.datasets import read_dataset
    from services.workers import run_in_worker

    quiet_logging()
    images = read_dataset(data)
    found = settings().models
    chosen = found.model_copy(update={"folder": folder}) if folder is not None else found
    with _bar("evaluating") as update:
        report = run_in_worker(
            _evaluate,
            images,
            regime.value,
            part.value,
            segmenter,
            chosen,
            progress=lambda done, total: update(done, total),
        )
    if as_json:
        print_json(report)
    else:
        _show_report(report)


def _evaluate(
    report: Report, images: list[LabelledImage], regime: str, part: str, segmenter: str, models: ModelSettings
) -> EvaluationReport:
    from labsem.evaluation import evaluate as measure
    from services.segmenters import load_segmenter

    return measure(
        images,
        load_segmenter(segmenter, models).segment,
        RegimeChoice(regime).regime(),
        None if part == Part.ALL else part,
        display_width_m=models.display_width_m,
        magnification_split=models.magnification_split,
        progress=report,
    )


def _show_report(report: EvaluationReport) -> None:
    lines: dict[str, Any] = {
        "images": report.images,
        "particles": report.particles,
        "detections": report.detections,
        "AJI+ (mean over images)": _interval(report.aji_plus, report.aji_plus_interval_95),
        "F1 at IoU 0.5 (mean over images)": _interval(report.f1, report.f1_interval_95),
        "average precision, IoU 0.5 to 0.95": report.average_precision,
        "confidence: AUROC": report.auroc,
        "confidence: ECE": report.ece,
        "clear particles found": report.clear_recall,
        "holes taken for particles": report.holes_taken,
        "seconds for an image": report.seconds / max(report.images, 1),
    }
    known = [(name, value) for name, value in lines.items() if value is not None]
    title = f"regime {report.regime}, part {report.part or 'all'}"
    stdout().print(table(title, ("figure", "value"), known, right=("value",)))


def _interval(value: float | None, interval: tuple[float, float] | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    frames: Annotated[int, typer.Option(min=1, help="How many.")] = 16,
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    regime: Annotated[SimulatedRegime, typer.Option(help="Magnification.")] = SimulatedRegime.BOTH,
    width_px: Annotated[int, typer.Option(min=64, help="Width of a frame.")] = 1024,
    height_px: Annotated[int, typer.Option(min=64, help="Height of a frame.")] = 768,
    as_json: Json = False,
) -> None:
    """Write a labelled data set of simulated frames (images, masks, uncertain, metadata.csv)."""
    from labsem.simulation import write_dataset

    quiet_logging()
    try:
        with _bar("simulating") as update:
            written = write_dataset(
                out,
                frames,
                seed,
                regime.value,
                width_px,
                height_px,
                progress=lambda done, total: update(done, total),
            )
    except (ValueError, OSError) as error:
        fail(str(error))
    if as_json:
        print_json({"folder": str(out), "images": [str(path) for path in written]})
    else:
        show(f"{len(written)} labelled frames in {out}")


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
    columns = ("name", "version", "regimes", "made", "size MiB", "sha256")
    rows = [
        (
            manifest.name,
            manifest.version,
            [regime.value for regime in manifest.regimes],
            manifest.created_at.strftime("%Y-%m-%d"),
            manifest.size_bytes / 2**20,
            manifest.sha256[:12],
        )
        for manifest in manifests
    ]
    stdout().print(table("Models", columns, rows, right=("size MiB",)))


@models.command("show")
def models_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    folder: FolderOption = None,
) -> None:
    """Print a model's manifest (JSON): data, options, measured figures, limits, licence."""
    from labsem.networks.manifest import list_manifests

    manifests = {manifest.name: manifest for manifest in list_manifests(folder or settings().models.folder)}
    if name not in manifests:
        fail(f"no model is called {name!r}; there are {', '.join(manifests)}")
    print_json(manifests[name])


@models.command("verify")
def models_verify(folder: FolderOption = None, as_json: Json = False) -> None:
    """Check the weights against their manifests' SHA-256."""
    from labsem.networks.manifest import WeightsError, list_manifests, verify

    where = folder or settings().models.folder
    found = []
    for manifest in list_manifests(where):
        try:
            verify(manifest, where)
            problem = None
        except WeightsError as error:
            problem = str(error)
        found.append({"name": manifest.name, "version": manifest.version, "problem": problem})
    if as_json:
        print_json(found)
    else:
        for item in found:
            show(f"{item['name']} {item['version']}: {item['problem'] or 'ok'}")
    if any(item["problem"] for item in found):
        raise typer.Exit(FAILED)


@contextmanager
def _bar(what: str) -> Iterator[Callable[..., None]]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr(),
    ) as bar:
        task = bar.add_task(what, total=None, note="")

        def update(done: float, total: float, text: str = "") -> None:
            bar.update(task, completed=done, total=total, note=cell(text) if text else "")

        yield update
