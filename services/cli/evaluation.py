"""``labsem evaluate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import FolderOption, Json, Part
from services.cli.output import MISUSE, fail, note, print_json
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from labsem.evaluation import Comparison
    from services.evaluate import EvaluateOptions


class Regimes(StrEnum):
    """Which network; ``auto`` routes each image by its magnification, ``all`` sets the four side by side."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"
    JOINT = "joint"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    data: Annotated[list[Path] | None, typer.Option(help="Folder of labelled images; repeatable.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of weights, 'network' (shipped), 'otsu', or a segmenter as 'labsem doctor' lists them; "
            "repeat it for several side by side."
        ),
    ] = None,
    regime: Annotated[
        Regimes, typer.Option(help="Which network; 'all' sets low, high, joint and auto side by side.")
    ] = Regimes.AUTO,
    part: Annotated[Part, typer.Option(help="Part of the split that lists these images.")] = Part.ALL,
    against: Annotated[
        Path | None,
        typer.Option(help="Another annotator's labels of these images, in the place of a model."),
    ] = None,
    simulated: Annotated[
        int, typer.Option(min=0, help="Evaluate on so many freshly simulated frames of both regimes.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated frames.")] = 0,
    simulated_ladders: Annotated[
        bool,
        typer.Option(
            "--simulated-ladders",
            help="Ask for confidence on simulated scenes of rising blur and noise, and on pairs of equal geometry.",
        ),
    ] = False,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes of the ladders.")] = 24,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with charts, and overlays of all images.")
    ] = None,
    segmenter: Annotated[str, typer.Option(help="The same as one --model.", hidden=True)] = "network",
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Measure how accurate segmentation is (AJI+, F1, sizes) and how far its confidence can be trusted.

    Several models are measured on the same images, with the paired difference of every two. docs/evaluation.md
    defines each figure.
    """
    from services.evaluate import EvaluateOptions, evaluate_label_sets, evaluate_ladders, evaluate_models
    from services.workers import run_in_worker

    quiet_logging()
    if sum((bool(data), simulated > 0, simulated_ladders)) != 1:
        fail("name what to evaluate on: --data, --simulated or --simulated-ladders, one of them", MISUSE)
    if against is not None and not data:
        fail("--against compares label sets: name the other one by --data", MISUSE)
    found = settings().models
    chosen = found.model_copy(update={"folder": folder}) if folder is not None else found
    options = EvaluateOptions(
        models=tuple(model or [segmenter]),
        regime=regime.value,
        data=tuple(data or ()),
        part=None if part is Part.ALL else part.value,
        simulated=simulated,
        seed=seed,
        page=report,
    )
    from services.cli import evaluation_tables as tables

    with progress_bar("evaluating") as update:
        if simulated_ladders:
            certainty = run_in_worker(evaluate_ladders, options, range(scenes), chosen, progress=update)
        elif against is not None:
            agreement = run_in_worker(evaluate_label_sets, options, against, progress=update)
        else:
            comparison = run_in_worker(evaluate_models, options, chosen, progress=update)
    if simulated_ladders:
        one = next(iter(certainty.values()))
        if as_json:
            print_json(one if len(certainty) == 1 else {"models": certainty})
        else:
            tables.show_simulated_certainty(certainty)
    elif against is not None:
        if as_json:
            print_json(agreement)
        else:
            tables.show_reports({"agreement": agreement})
    else:
        _show_comparison(comparison, options, as_json=as_json)


def _show_comparison(comparison: Comparison, options: EvaluateOptions, *, as_json: bool) -> None:
    from services.cli import evaluation_tables as tables

    if as_json:
        reports = list(comparison.models.values())
        print_json(reports[0] if len(reports) == 1 else comparison)
    else:
        tables.show_reports(comparison.models)
        tables.show_differences(comparison.differences)
    if options.page is not None:
        note(f"page: {options.page / 'index.html'}")
