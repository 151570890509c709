"""``labsem analyze``."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json, RegimeChoice
from services.cli.output import FAILED, cell, fail, note, print_json, show, stderr, stdout, table
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.analyze import AnalyzeOptions, RunReport
    from services.analyze.run import Progress

ROWS_SHOWN = 40


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("analyze")(analyze)


def analyze(
    items: Annotated[
        list[str],
        typer.Argument(metavar="FILES|FOLDERS", help="Files, folders, or patterns such as 'run*/*.tif'."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("labsem-analysis"),
    recursive: Annotated[bool, typer.Option("--recursive", help="Folders of folders too.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip what is done already with the same options.")
    ] = False,
    pixel_size_nm: Annotated[
        float | None, typer.Option(help="Pixel size of all frames; overrides the files'.")
    ] = None,
    hfw_um: Annotated[
        float | None, typer.Option(help="Field width of all frames; overrides the files'.")
    ] = None,
    regime: Annotated[RegimeChoice, typer.Option(help="Which network.")] = RegimeChoice.AUTO,
    min_ecd_um: Annotated[float | None, typer.Option(help="Leave smaller particles out.")] = None,
    max_ecd_um: Annotated[float | None, typer.Option(help="Leave larger particles out.")] = None,
    segmenter: Annotated[
        str, typer.Option(help="Another segmenter, as 'labsem doctor' lists them.")
    ] = "network",
    as_json: Json = False,
) -> None:
    """Analyse frames on disk: overlays, tables and a page.

    Writes for each frame an overlay, its particles (CSV), a label image (OME-TIFF) and a summary (JSON), and for
    the run images.csv, particles.csv and index.html. A file that fails does not stop the run; it is named with its
    reason in images.csv, on the page and at the end, and the exit code is then 1.
    """
    from services.analyze import analyze as run

    quiet_logging()
    options = _options(
        pixel_size_nm=pixel_size_nm,
        hfw_um=hfw_um,
        regime=regime.regime(),
        min_ecd_um=min_ecd_um,
        max_ecd_um=max_ecd_um,
        segmenter=segmenter,
    )
    with _progress() as progress:
        report = run(items, out, options, recursive=recursive, resume=resume, progress=progress)
    if as_json:
        print_json([result.row() for result in report.results])
    else:
        _show(report)
    for result in report.failed:
        note(f"failed: {result.path}: {result.error}; {result.remedy}")
    if report.interrupted:
        fail(f"interrupted after {len(report.results)} frames; run it again with --resume to go on")
    if report.failed:
        raise typer.Exit(FAILED)


def _options(**given: Any) -> AnalyzeOptions:
    from pydantic import ValidationError

    from services.analyze import AnalyzeOptions

    found = settings()
    try:
        return AnalyzeOptions(models=found.models, reading=found.reading, **given)
    except ValidationError as error:
        reasons = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}".removeprefix(": ") for item in error.errors()
        ]
        raise typer.BadParameter("; ".join(reasons)) from error


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[frame]}"),
        console=stderr(),
    ) as bar:
        task = bar.add_task("analysing", total=None, frame="")
        yield lambda done, total, path: bar.update(task, completed=done, total=total, frame=path.name)


def _show(report: RunReport) -> None:
    rows = [
        (
            summary.name,
            summary.regime,
            summary.acquisition.hfw_um,
            summary.particle_count,
            None if summary.uncertain_fraction.value is None else f"{summary.uncertain_fraction.value:.0%}",
            summary.sizes.number.all.d50_um,
            summary.sizes.number.all.d50_px,
            [flag.value for flag in summary.flags],
        )
        for result in report.results
        if (summary := result.summary) is not None
    ]
    columns = ("frame", "regime", "HFW um", "particles", "uncertain", "D50 um", "D50 px", "flags")
    if rows and len(rows) <= ROWS_SHOWN:
        stdout().print(table("", columns, rows, right=columns[2:7]))
    particles = sum(row[3] for row in rows)
    resumed = sum(result.resumed for result in report.results)
    done_before = f" ({resumed} of them done before)" if resumed else ""
    show(
        f"{len(rows)} frames analysed{done_before}, {len(report.failed)} failed, {cell(particles)} particles"
    )
    show(f"page: {report.out / 'index.html'}")
