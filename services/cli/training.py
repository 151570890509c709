"""``labsem train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json, RegimeChoice
from services.cli.output import fail, print_json, show
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging

if TYPE_CHECKING:
    from labsem.networks.manifest import Manifest
    from labsem.training.train import TrainingOptions
    from services.workers import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


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
        with progress_bar("training") as update:
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
