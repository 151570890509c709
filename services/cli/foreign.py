"""``labsem bench foreign``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.bench import bench
from services.cli.options import FolderOption, Json, Part
from services.cli.output import print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from labsem.evaluation.unlike import Raised, UnlikeReport
    from labsem.training.datasets import LabelledImage
    from schemas.settings import ModelSettings
    from services.workers import Report


def register(app: typer.Typer) -> None:  # noqa: ARG001 - the command belongs to labsem bench
    """Add the command to ``labsem bench``."""
    bench.command("foreign")(bench_foreign)


def bench_foreign(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of labelled images of the domain; may be given several times."),
    ] = None,
    part: Annotated[Part, typer.Option(help="Part of the split that lists these images.")] = Part.TEST,
    frames: Annotated[int, typer.Option(min=1, help="How many foreign ones.")] = 200,
    simulated: Annotated[int, typer.Option(min=0, help="How many simulated ones.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the foreign frames.")] = 0,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """How often out_of_distribution is raised: on text, noise, textures, pictures; and where it should not be."""
    from labsem.evaluation.run import select_part
    from labsem.training.datasets import read_dataset
    from services.workers import run_in_worker

    quiet_logging()
    wanted = None if part is Part.ALL else part.value
    in_domain = {one.name: select_part(read_dataset(one), wanted)[0] for one in data or []}
    found = settings().models
    models = found.model_copy(update={"folder": folder or found.folder})
    with progress_bar("looking") as update:
        report = run_in_worker(
            _measure,
            models,
            in_domain,
            (frames, simulated, seed),
            progress=lambda done, total: update(done, total),
        )
    if as_json:
        print_json(report)
    else:
        _show(report)


def _measure(
    report: Report,
    models: ModelSettings,
    in_domain: dict[str, list[LabelledImage]],
    counts: tuple[int, int, int],
) -> UnlikeReport:
    from labsem.evaluation.unlike import measure_unlike
    from labsem.networks.segmenter import Segmenter

    segmenter = Segmenter.load(models.folder, precision=models.precision, threads=models.threads)
    foreign, simulated, seed = counts
    return measure_unlike(
        segmenter.is_unlike_training,
        in_domain,
        foreign=foreign,
        simulated=simulated,
        seed=seed,
        progress=report,
    )


def _show(report: UnlikeReport) -> None:
    rows = [("foreign", report.foreign)]
    rows += [(f"  {family}", raised) for family, raised in report.foreign_families.items()]
    rows += list(report.in_domain.items())
    if report.simulated is not None:
        rows.append((f"simulated, version {report.simulator_version}", report.simulated))
    columns = ("frames", "how many", "raised", "share", "95 %")
    stdout().print(table("out_of_distribution", columns, [_row(*row) for row in rows], right=columns[1:]))


def _row(name: str, raised: Raised) -> tuple[str, int, int, float, str]:
    low, high = raised.share_interval_95
    return name, raised.frames, raised.raised, raised.share, f"{low:.3f} to {high:.3f}"
