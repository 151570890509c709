"""``labsem crossvalidate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json
from services.cli.output import fail, print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsem.evaluation import CertaintyFigures, EvaluationReport
    from labsem.evaluation.folds import CrossValidationReport
    from services.workers import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("crossvalidate")(crossvalidate)


def crossvalidate(
    data: Annotated[list[Path], typer.Option(help="Folder of labelled images; may be given several times.")],
    start_from: Annotated[
        Path,
        typer.Option(
            help="Weights or checkpoint of a network that saw no judged image (labsem train --leave-out-judged)."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the folds; one that is finished there is not repeated.")
    ],
    folds: Annotated[int, typer.Option(min=2, help="How many.")] = 5,
    minutes: Annotated[float | None, typer.Option(help="Of fine-tuning each fold; default 20.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each fold, instead of minutes.")] = None,
    simulated: Annotated[int, typer.Option(min=0, help="Simulated frames to add.")] = 0,
    learning_rate: Annotated[
        float, typer.Option(min=0, help="Of the heads; the backbone's is a quarter.")
    ] = 2e-4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same folds.")] = 0,
    as_json: Json = False,
) -> None:
    """Cross-validate certainty over all judged images: AUROC, calibration, and accuracy on held-out images."""
    from pydantic import ValidationError

    from labsem.training.datasets import read_dataset
    from labsem.training.train import TrainingInterruptedError
    from services.workers import run_in_worker

    quiet_logging("info")
    for folder in data:
        read_dataset(folder)  # what cannot be used is said before a process starts
    given = {
        "data": tuple(data),
        "output": out,
        "start_from": start_from,
        "minutes": minutes,
        "steps": steps,
        "simulated": simulated,
        "learning_rate": learning_rate,
        "backbone_learning_rate": learning_rate / 4,
        "seed": seed,
    }
    try:
        with progress_bar("cross-validation") as update:
            report = run_in_worker(_run, given, folds, progress=lambda done, text: update(done, 1.0, text))
    except ValidationError as error:
        raise typer.BadParameter("; ".join(item["msg"] for item in error.errors())) from error
    except (KeyboardInterrupt, TrainingInterruptedError):
        fail(f"interrupted; give the same command to go on from what is in {out}")
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        fail(str(error))
    if as_json:
        print_json(report)
    else:
        _show(report)


def _run(report: Report, given: dict[str, Any], folds: int) -> CrossValidationReport:
    from labsem.evaluation.folds import pool_folds
    from labsem.training.folds import train_folds
    from labsem.training.train import TrainingOptions

    quiet_logging("info")  # in this process too: stdout is the document's
    options: TrainingOptions = TrainingOptions.model_validate(given)
    train_folds(options, folds, lambda done, text: report(0.95 * done, text))
    return pool_folds(
        options.output, options.data, progress=lambda done, text: report(0.95 + 0.05 * done, text)
    )


def _show(report: CrossValidationReport) -> None:
    pooled = report.pooled
    columns = ("certain against uncertain labels", "detections", "true boxes")
    sides = (pooled.certainty, pooled.true_boxes)
    rows: list[tuple[Any, ...]] = [
        (name, *(None if side is None else value(side) for side in sides)) for name, value in _CERTAINTY
    ]
    title = f"{report.folds} folds, {pooled.images} images"
    stdout().print(table(title, columns, rows, right=columns[1:]))
    quality = [
        ("detections", pooled.mask_quality_n),
        ("ECE", pooled.mask_quality_ece),
        ("ECE of a perfect model", pooled.mask_quality_ece_floor),
        ("AUROC", pooled.mask_quality_auroc),
    ]
    stdout().print(table("mask_quality", ("figure", "value"), quality, right=("value",)))
    names = ("images", "AJI+", "lowest", "highest", "F1", "D50 ratio")
    held_out = [(name, *_accuracy(of)) for name, of in report.datasets.items()]
    stdout().print(table("Held-out images", ("data set", *names), held_out, right=names))


_CERTAINTY: tuple[tuple[str, Callable[[CertaintyFigures], Any]], ...] = (
    ("particles", lambda figures: figures.particles),
    ("of them certain", lambda figures: figures.certain),
    ("AUROC of confidence", lambda figures: figures.auroc),
    ("AUROC of geometry", lambda figures: figures.auroc_geometry),
    ("AUROC of objectness", lambda figures: figures.auroc_objectness),
    ("gain over the better rival", lambda figures: _gain(figures)),
    ("ECE", lambda figures: figures.ece),
    ("ECE of a perfect model", lambda figures: figures.ece_floor),
)


def _gain(figures: CertaintyFigures) -> str | None:
    if figures.auroc_gain is None:
        return None
    interval = figures.auroc_gain_interval_95
    gain = f"{figures.auroc_gain:+.3f} over {figures.auroc_gain_over}"
    return gain if interval is None else f"{gain} ({interval[0]:+.3f} to {interval[1]:+.3f})"


def _accuracy(report: EvaluationReport) -> tuple[Any, ...]:
    values = [row.aji_plus for row in report.rows if row.aji_plus is not None]
    d50 = report.d50.number if report.d50 is not None else None
    return (
        report.images,
        report.aji_plus,
        min(values, default=None),
        max(values, default=None),
        report.f1,
        d50.median_ratio if d50 is not None else None,
    )
