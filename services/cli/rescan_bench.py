"""``labsem bench rescans``."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.bench import bench
from services.cli.options import FolderOption, Json
from services.cli.output import fail, print_json, stdout, table
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from services.rescan_bench import RescanBench


def register(app: typer.Typer) -> None:  # noqa: ARG001 - the group of the benches is in the app already
    """Add the command to ``labsem bench``."""
    bench.command("rescans")(rescans)


def rescans(
    sites: Annotated[int, typer.Option(min=12, help="With a fault each; as many good ones are added.")] = 40,
    seed: Annotated[int, typer.Option(help="Of powders, faults and errors.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Workers of one thread each; default: one for each core.")
    ] = None,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Plant faults at virtual sites, rescan them as the policy says, and compare with an unchanged repeat."""
    from labsem.bench.machine import available_cores
    from services.rescan_bench import bench_rescans

    quiet_logging()
    found = settings()
    models = found.models.model_copy(update={"folder": folder or found.models.folder})
    found = found.model_copy(update={"models": models})
    try:
        with progress_bar("sites") as update:
            result = bench_rescans(
                sites, seed, settings=found, processes=processes or available_cores(), progress=update
            )
    except BrokenProcessPool:
        fail("a worker was killed, perhaps for want of memory; give fewer --processes")
    if as_json:
        print_json(result)
    else:
        _show(result)


def _show(result: RescanBench) -> None:
    columns = (
        "planted",
        "sites",
        "better than the control",
        "median fall of the error",
        "reason right",
        "rescans a site",
        "error of the control",
        "of the policy",
    )
    groups = {**result.by_grade, **{f"{fault}, not mild": of for fault, of in result.by_fault.items()}}
    rows = [
        (
            name,
            of.sites,
            f"{of.improved_fraction:.0%}",
            f"{of.median_improvement:.0%}",
            f"{of.reason_accuracy:.0%}",
            of.mean_rescans_per_site,
            of.median_control_error,
            of.median_policy_error,
        )
        for name, of in groups.items()
    ]
    title = f"{result.model}, simulator {result.simulator_version}, seed {result.seed}"
    stdout().print(table(title, columns, rows, right=columns[1:]))
    called = sorted({reason for row in result.reason_confusion.values() for reason in row})
    confusion = [
        (fault, *(row.get(reason, 0) for reason in called)) for fault, row in result.reason_confusion.items()
    ]
    stdout().print(
        table("first reason by planted fault", ("planted", *called), confusion, right=tuple(called))
    )
    low, high = result.improved_fraction_bounds_95
    lines = {
        "better than the control, medium and strong": f"{result.improved_fraction:.0%} ({low:.0%} to {high:.0%})",
        "median fall of the error": f"{result.median_improvement:.0%}",
        "reason right": f"{result.reason_accuracy:.0%}",
        f"of {result.good_sites} good sites rescanned": f"{result.false_rescan_rate:.1%}",
        "most rescans at a site": f"{result.most_rescans} of {result.attempts_per_site} allowed",
        "seconds": f"{result.seconds:.0f}",
    }
    stdout().print(table("in all", ("figure", "value"), lines.items(), right=("value",)))
