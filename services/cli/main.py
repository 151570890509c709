"""``labsem``: the command line's entry."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from services.cli import (
    acquire,
    analysis,
    bench,
    comparison,
    evaluation,
    folds,
    foreign,
    holder,
    instrument,
    loop,
    models,
    records,
    rescan_bench,
    rescans,
    simulation,
    system,
    training,
)
from services.cli.output import FAILED, fail, known_errors, note

app = typer.Typer(
    name="labsem",
    help="The closed loop between a desktop SEM and an autonomous lab's planner.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from labsem import __version__

        typer.echo(f"labsem {__version__}")
        raise typer.Exit


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with settings; default: LABSEM_CONFIG, else labsem.toml in the data folder."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of all data; default: LABSEM_DATA_DIR, else the user's data folder."),
    ] = None,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The closed loop between a desktop SEM and an autonomous lab's planner.

    Exit codes: 0 done, 1 failed, 2 misuse. With --json, stdout holds the JSON document and nothing else.
    """
    # By the environment, so that worker processes see the same settings.
    if config is not None:
        os.environ["LABSEM_CONFIG"] = str(config.absolute())
    if data_dir is not None:
        os.environ["LABSEM_DATA_DIR"] = str(data_dir.absolute())


for _module in (
    loop,
    instrument,
    holder,
    acquire,
    analysis,
    records,
    rescans,
    training,
    folds,
    evaluation,
    simulation,
    bench,
    foreign,
    comparison,
    rescan_bench,
    models,
    system,
):
    _module.register(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line (default: the process's own) and exit with its code.

    Errors of labsem itself end as one line on stderr; anything else is a defect and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console of another encoding lacks some of the characters
    try:
        app(arguments)
    except known_errors() as error:
        fail(str(error))
    except KeyboardInterrupt:
        note("interrupted")
        raise SystemExit(FAILED) from None
    raise SystemExit(0)


if __name__ == "__main__":
    main()
