"""``labsem bench``: how fast, and against what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import FolderOption, Json
from services.cli.output import print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from labsem.bench.segment import SegmentBench
    from labsem.bench.until_d50 import UntilBench
    from schemas.settings import ModelSettings
    from services.throughput import ThroughputBench
    from services.workers import Report

bench = typer.Typer(no_args_is_help=True, help="How fast labsem is on this machine.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench, name="bench")


@bench.command("segment")
def bench_segment(
    at: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="About so many particles; may be given several times (default 10, 100, 400)."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each side is timed; medians are given.")] = 5,
    reference: Annotated[bool, typer.Option(help="Time the paper's network beside it.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of both sides; default: the settings', else all cores.")
    ] = None,
    width_px: Annotated[int, typer.Option(min=64, help="Width of the frame.")] = 1920,
    height_px: Annotated[int, typer.Option(min=64, help="Height of the frame.")] = 1200,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Time one frame, from decoded pixels to label image, against the paper's ResNet-50 Mask R-CNN."""
    from services.workers import run_in_worker

    quiet_logging()
    found = settings().models
    models = found.model_copy(update={"folder": folder or found.folder, "threads": threads or found.threads})
    with progress_bar("timing") as update:
        result = run_in_worker(
            _bench_segment,
            models,
            tuple(at or (10, 100, 400)),
            repeats,
            reference,
            (width_px, height_px),
            progress=lambda done, total: update(done, total),
        )
    if as_json:
        print_json(result)
    else:
        _show_segment(result)


@bench.command("throughput")
def bench_throughput(
    frames: Annotated[int, typer.Option(min=1, help="How many.")] = 288,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Inference workers; default: the settings'.")
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="About so many in each frame.")] = 100,
    width_px: Annotated[int, typer.Option(min=64, help="Width of a frame.")] = 1920,
    height_px: Annotated[int, typer.Option(min=64, help="Height of a frame.")] = 1200,
    segmenter: Annotated[
        str, typer.Option(help="Another segmenter, as 'labsem doctor' lists them.")
    ] = "network",
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Time simulated frames from file to database, through a daemon of its own in a temporary folder."""
    from services.throughput import bench_throughput as measure

    quiet_logging()
    found = settings()
    models = found.models.model_copy(update={"folder": folder or found.models.folder})
    with progress_bar("timing") as update:
        result = measure(
            frames,
            models=models,
            segmenter=segmenter,
            workers=workers or found.daemon.workers,
            particles=particles,
            width_px=width_px,
            height_px=height_px,
            progress=lambda what, done, total: update(done, total, what),
        )
    if as_json:
        print_json(result)
    else:
        _show_throughput(result)


@bench.command("registration")
def bench_registration(
    pairs: Annotated[int, typer.Option(min=1, help="Of one place, and as many of different places.")] = 100,
    seed: Annotated[int, typer.Option(help="Of powders, places and errors.")] = 0,
    as_json: Json = False,
) -> None:
    """Register simulated pairs with stage errors, other field widths and turned scans."""
    from labsem.bench.registration import WITHIN_PX
    from labsem.bench.registration import bench_registration as measure

    quiet_logging()
    with progress_bar("registering") as update:
        result = measure(pairs, seed, progress=lambda done, total: update(done, total))
    if as_json:
        print_json(result)
        return
    lines = {
        "pairs of one place": result.pairs,
        "called clear": result.clear,
        f"of those within {WITHIN_PX:g} px": result.within,
        "worst error of those, px": result.worst_error_px,
        "pairs of different places called clear": result.false_clear,
    }
    title = f"simulator {result.simulator_version}, seed {result.seed}"
    stdout().print(table(title, ("figure", "value"), lines.items(), right=("value",)))


@bench.command("until-d50")
def bench_until_d50(
    runs: Annotated[int, typer.Option(min=1, help="Simulated powders.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the powders.")] = 0,
    within: Annotated[float, typer.Option(min=0.001, max=0.99, help="Share of D50.")] = 0.05,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Find the particles with the network instead of taking the true ones."
        ),
    ] = False,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """End grids of 12 x 24 fields when D50 is known, and count how often the interval holds the true one."""
    from services.workers import run_in_worker

    quiet_logging()
    found = settings().models
    models = found.model_copy(update={"folder": folder or found.folder})
    with progress_bar("fields") as update:
        result = run_in_worker(
            _bench_until_d50,
            models if network else None,
            runs,
            seed,
            within,
            progress=lambda done, total: update(done, total),
        )
    if as_json:
        print_json(result)
        return
    lines = {
        "runs": result.runs,
        "true D50 within the stated interval": result.covered,
        "ended before the grid did": result.reached,
        "frames, median": result.frames_median,
    }
    by = "true particles" if result.model is None else result.model
    title = f"D50 within {result.within:.1%}, {by}, simulator {result.simulator_version}, seed {result.seed}"
    stdout().print(table(title, ("figure", "value"), lines.items(), right=("value",)))


def _bench_until_d50(
    report: Report, models: ModelSettings | None, runs: int, seed: int, within: float
) -> UntilBench:
    from labsem.bench.until_d50 import bench_until_d50 as measure
    from services.segmenters import load_segmenter

    segmenter = None if models is None else load_segmenter(models=models)
    return measure(runs, seed, within, segmenter, progress=report)


def _bench_segment(
    report: Report,
    models: ModelSettings,
    at: tuple[int, ...],
    repeats: int,
    reference: bool,
    size_px: tuple[int, int],
) -> SegmentBench:
    from labsem.bench.segment import bench_segment as measure

    return measure(
        at,
        repeats=repeats,
        reference=reference,
        folder=models.folder,
        precision=models.precision,
        threads=models.threads,
        width_px=size_px[0],
        height_px=size_px[1],
        progress=report,
    )


def _show_segment(result: SegmentBench) -> None:
    columns = (
        "particles",
        "size px",
        "found",
        "AJI+",
        "seconds",
        "reference",
        "times as fast",
        "reference, no pasting",
        "times as fast ",
    )
    rows = [
        (
            each.particles,
            each.median_ecd_px,
            each.detections,
            each.aji_plus,
            each.seconds,
            each.reference_seconds,
            each.ratio,
            each.reference_seconds_without_pasting,
            each.ratio_without_pasting,
        )
        for each in result.at.values()
    ]
    title = (
        f"{result.width_px}x{result.height_px}, {result.model.name} {result.model.version}, {result.precision}, "
        f"{result.threads} threads, {result.cpu}"
    )
    stdout().print(table(title, columns, rows, right=columns))


def _show_throughput(result: ThroughputBench) -> None:
    lines = {
        "frames": result.frames,
        "seconds": result.seconds,
        "frames a minute": result.frames_a_minute,
        "the paper's, on 16 cores": result.paper_frames_a_minute,
        **{f"{stage}, s a frame": seconds for stage, seconds in result.stages.items()},
    }
    title = (
        f"{result.width_px}x{result.height_px}, about {result.particles} particles, {result.model.name} "
        f"{result.model.version}, {result.workers} workers of {result.threads} threads, {result.cpu}"
    )
    stdout().print(table(title, ("figure", "value"), lines.items(), right=("value",)))
