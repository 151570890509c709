"""``labsem bench architectures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.bench import bench
from services.cli.options import Json
from services.cli.output import fail, print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging
from services.cli.training import ArchitectureChoice

if TYPE_CHECKING:
    from labsem.training.comparison_report import ArchitectureComparison
    from services.workers import Report


def register(app: typer.Typer) -> None:  # noqa: ARG001 - the group of the benches is in the app already
    """Add the command to ``labsem bench``."""
    bench.command("architectures")(architectures)


def architectures(
    data: Annotated[list[Path], typer.Option(help="Folder of labelled images; may be given several times.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the runs; the same command goes on where it was left.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each run.")],
    architecture: Annotated[
        list[ArchitectureChoice] | None,
        typer.Option(help="May be given several times; default lite2 and unet-lite2."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each architecture.")] = 2,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="Folder to measure on as a whole, beside the test parts of --data."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Crops in a step of all; default: each architecture's own.")
    ] = None,
    crop_px: Annotated[int, typer.Option(min=64, help="Side of a crop, a multiple of 64.")] = 448,
    threshold_trials: Annotated[
        int, typer.Option(min=1, help="Of the search of thresholds on validation parts.")
    ] = 120,
    as_json: Json = False,
) -> None:
    """Train architectures alike and compare them on test parts, by paired bootstrap over the same images.

    Each learns from the same crops of the train parts in the same order for the same number of steps. What is
    finished is kept: after Ctrl-C, or for more architectures and seeds, give the command again with the same --out.
    """
    from pydantic import ValidationError

    from labsem.training.train import TrainingInterruptedError
    from services.workers import run_in_worker

    quiet_logging("info")
    given = {
        "data": tuple(data),
        "test": tuple(test or ()),
        "steps": steps,
        "batch": batch,
        "crop_px": crop_px,
        "threshold_trials": threshold_trials,
    }
    chosen = architecture or [ArchitectureChoice.LITE2, ArchitectureChoice.UNET_LITE2]
    try:
        with progress_bar("comparing") as update:
            result = run_in_worker(
                _compare,
                given,
                out,
                tuple(each.value for each in chosen),
                seeds,
                progress=lambda done, text: update(done, 1.0, text),
            )
    except ValidationError as error:
        raise typer.BadParameter("; ".join(item["msg"] for item in error.errors())) from error
    except (KeyboardInterrupt, TrainingInterruptedError):
        fail(f"interrupted; give the same command to go on from what is in {out}")
    except (ValueError, FloatingPointError) as error:
        fail(str(error))
    if as_json:
        print_json(result)
    else:
        _show(result)


def _compare(
    report: Report, given: dict[str, Any], out: Path, names: tuple[str, ...], seeds: int
) -> ArchitectureComparison:
    from labsem.training.comparison import compare_architectures
    from labsem.training.comparison_report import ComparisonPlan

    quiet_logging("info")  # in this process too: stdout is the document's
    plan = ComparisonPlan.model_validate(given)
    return compare_architectures(plan, out, architectures=names, seeds=seeds, notify=report)


def _show(result: ArchitectureComparison) -> None:
    console = stdout()
    runs = [
        (
            run.architecture,
            run.seed,
            run.start,
            f"{run.parameters / 1e6:.1f} M",
            run.steps,
            run.batch,
            f"{run.training_seconds / 60:.0f} min",
            f"{run.aji_plus['all']:.3f}",
            f"{run.f1['all']:.3f}",
        )
        for run in result.runs
    ]
    columns: tuple[str, ...]
    columns = ("architecture", "seed", "start", "parameters", "steps", "batch", "trained", "AJI+", "F1")
    console.print(table("runs, all test images", columns, runs, right=columns[1:2] + columns[3:]))
    figures = [
        (
            each.architecture,
            each.data,
            each.images,
            _interval(each.aji_plus, each.aji_plus_interval_95),
            _interval(each.f1, each.f1_interval_95),
        )
        for each in result.figures
    ]
    columns = ("architecture", "test part", "images", "AJI+", "F1")
    console.print(table(f"means over {result.seeds} seeds", columns, figures, right=("images",)))
    gains = [
        (
            f"{each.first} - {each.second}",
            each.data,
            each.aji_plus.images,
            _interval(each.aji_plus.difference, each.aji_plus.interval_95),
            _interval(each.f1.difference, each.f1.interval_95),
        )
        for each in result.differences
    ]
    columns = ("difference", "test part", "images", "AJI+", "F1")
    console.print(table("paired differences (95 % over images)", columns, gains, right=("images",)))


def _interval(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
