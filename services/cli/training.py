"""``labsem train``."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json, RegimeChoice
from services.cli.output import fail, print_json, show, stderr, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.workers import Report


class ArchitectureChoice(StrEnum):
    """Networks of the registry."""

    LITE0 = "lite0"
    LITE2 = "lite2"
    REFERENCE = "reference"
    UNET = "unet"
    UNET_LITE2 = "unet-lite2"


class ScheduleChoice(StrEnum):
    """How the learning rate falls."""

    COSINE = "cosine"
    PLATEAU = "plateau"


class PrecisionChoice(StrEnum):
    """Precision of a training step."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


_DATA, _COURSE, _VARIED, _AFTER = "Data", "Course", "Augmentation (share of crops)", "Afterwards"
Share = Annotated[float, typer.Option(min=0, max=1, rich_help_panel=_VARIED)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    data: Annotated[
        list[Path],
        typer.Option(help="Folder of labelled images; may be given several times.", rich_help_panel=_DATA),
    ],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, logs, report, weights and manifest.")],
    regime: Annotated[RegimeChoice, typer.Option(help="auto trains the joint model.")] = RegimeChoice.AUTO,
    architecture: Annotated[
        ArchitectureChoice, typer.Option(help="The network that ships is lite0.")
    ] = ArchitectureChoice.LITE0,
    start_from: Annotated[
        Path | None, typer.Option(help="Weights to go on from; default: ImageNet's.")
    ] = None,
    simulated: Annotated[
        int, typer.Option(min=0, help="Simulated frames to add.", rich_help_panel=_DATA)
    ] = 0,
    simulated_seed: Annotated[int, typer.Option(help="Of the simulated frames.", rich_help_panel=_DATA)] = 0,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FACTOR", help="Draw a folder's images so much more often.", rich_help_panel=_DATA
        ),
    ] = None,
    leave_out_judged: Annotated[
        bool,
        typer.Option(
            "--leave-out-judged",
            help="Without real images whose certainty was judged.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="How long; default an hour.", rich_help_panel=_COURSE)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many steps, instead of minutes; 0: leave --start-from as it is, and calibrate it anew.",
            rich_help_panel=_COURSE,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out.", rich_help_panel=_COURSE)
    ] = False,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same crops.", rich_help_panel=_COURSE)
    ] = 0,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Crops in a step; default: as suits the architecture.", rich_help_panel=_COURSE
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: as suits the architecture.", rich_help_panel=_COURSE)
    ] = None,
    schedule: Annotated[
        ScheduleChoice, typer.Option(help="After the warm-up.", rich_help_panel=_COURSE)
    ] = ScheduleChoice.COSINE,
    validate_every: Annotated[
        int, typer.Option(min=0, help="Steps between looks at validation images.", rich_help_panel=_COURSE)
    ] = 500,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after so many looks without a better one; keep the best.",
            rich_help_panel=_COURSE,
        ),
    ] = None,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto: bfloat16 where it is faster.", rich_help_panel=_COURSE)
    ] = PrecisionChoice.AUTO,
    mosaic: Share = 0.15,
    copy_paste: Share = 0.15,
    charging: Share = 0.1,
    line_jitter: Share = 0.1,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            help="k, xi, sigma and w of the uncertainty head: a JSON file, or a manifest with a search."
        ),
    ] = None,
    search_head: Annotated[
        bool,
        typer.Option(
            "--search-head", help="Search k, xi, sigma and w for the manifest.", rich_help_panel=_AFTER
        ),
    ] = False,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Train on 25, 50, 75 and 100 % of the images, each as long: are more labels worth it?",
            rich_help_panel=_AFTER,
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a joint model: what is not worse than it ships, in OUT/ships.",
            rich_help_panel=_AFTER,
        ),
    ] = None,
    model_version: Annotated[
        str, typer.Option(help="For the manifest and for messages.", rich_help_panel=_AFTER)
    ] = "0",
    as_json: Json = False,
) -> None:
    """Train a network on labelled images; where a split lists them, on its train part only.

    Afterwards it is calibrated on validation images and described in report.html. Ctrl-C leaves a checkpoint.
    """
    from pydantic import ValidationError

    from labsem.training.datasets import read_dataset
    from labsem.training.jobs import TrainingJob
    from services.workers import run_in_worker

    quiet_logging("info")
    weights = _weights(weight or [])
    for folder in data:
        read_dataset(folder)  # what cannot be used is said before a process starts
    job = TrainingJob(
        options={
            "data": tuple(data),
            "output": out,
            "regime": (regime.regime() or RegimeChoice.JOINT.regime()),
            "minutes": minutes,
            "steps": steps,
            "simulated": simulated,
            "simulated_seed": simulated_seed,
            "data_weights": weights,
            "leave_out_judged": leave_out_judged,
            "start_from": start_from,
            "resume": resume,
            "seed": seed,
            "batch": batch,
            "learning_rate": learning_rate,
            "schedule": schedule.value,
            "validate_every": validate_every,
            "patience": patience,
            "precision": precision.value,
            "search_head": search_head,
            "augmentation": {
                "mosaic": mosaic,
                "copy_paste": copy_paste,
                "charging": charging,
                "line_jitter": line_jitter,
            },
        },
        architecture=architecture.value,
        uncertainty=uncertainty,
        learning_curve=learning_curve,
        against=against,
        version=model_version,
    )
    try:
        with ExitStack() as stack:
            done = run_in_worker(_train, job, progress=_watcher(stack))
    except ValidationError as error:
        raise typer.BadParameter("; ".join(item["msg"] for item in error.errors())) from error
    except KeyboardInterrupt:
        fail(f"interrupted; the checkpoint is in {out}: give the same command with --resume to go on")
    except (ValueError, RuntimeError, FileNotFoundError, FloatingPointError) as error:
        fail(str(error))
    if as_json:
        print_json(done)
    else:
        _show(done, out)


def _train(report: Report, job: Any) -> dict[str, Any]:
    from labsem.training.jobs import run_job

    quiet_logging("info")  # in this process too: stdout is the document's
    return run_job(job, report)


def _watcher(stack: ExitStack) -> Callable[..., None]:
    """Shows the data sets as a table, then a bar."""
    update: Callable[..., None] | None = None

    def watch(what: Any, text: Any) -> None:
        nonlocal update
        if what == "data":
            stderr().print(_data_table(text))
            return
        if update is None:
            update = stack.enter_context(progress_bar("training"))
        update(what, 1.0, text)

    return watch


def _data_table(datasets: list[dict[str, Any]]) -> Any:
    columns = ("data set", "part", "images", "particles", "judged", "uncertain", "diameter px", "diameter µm")
    rows = [
        (
            one["name"],
            part,
            one[part]["images"],
            one[part]["particles"],
            one[part]["judged_particles"],
            one[part]["uncertain_particles"],
            _range(one[part]["diameter_px"]),
            _range(one[part]["diameter_um"]),
        )
        for one in datasets
        for part in ("training", "validation")
    ]
    return table("Data (diameters: least, median, largest)", columns, rows, right=columns[2:6])


def _range(values: list[float] | None) -> str:
    return "" if values is None else " / ".join(f"{value:.3g}" for value in values)


def _show(done: dict[str, Any], out: Path) -> None:
    manifest = done["manifest"]
    validation = {
        name: one for name, one in manifest["metrics"]["validation"].items() if isinstance(one, dict)
    }
    rows = [(name, one["images"], one["aji_plus"], one["f1"]) for name, one in validation.items()]
    stdout().print(table("On validation images", ("regime", "images", "AJI+", "F1"), rows))
    if done["learning_curve"] is not None:
        show(done["learning_curve"]["advice"])
    for note in done["choice"]:
        show(note)
    if done["report"] is not None:
        show(f"report: {done['report']}")
    show(f"{manifest['name']} in {out}; use it with LABSEM_MODELS__FOLDER={out}")


def _weights(given: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text in given:
        name, _, factor = text.rpartition("=")
        try:
            weights[name] = float(factor)
        except ValueError:
            name = ""
        if not name:
            raise typer.BadParameter(f"--weight {text!r} is not NAME=FACTOR, such as powders=0.5")
    return weights
