"""``labsem evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import FolderOption, Json, Part, RegimeChoice
from services.cli.output import print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from labsem.evaluation import EvaluationReport
    from labsem.training.datasets import LabelledImage
    from schemas.settings import ModelSettings
    from services.workers import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


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
    with progress_bar("evaluating") as update:
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
