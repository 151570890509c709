"""``labsem db``, ``schemas``, ``config`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json
from services.cli.output import FAILED, print_json, show, stdout
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

db = typer.Typer(no_args_is_help=True, help="The database's version.")
schemas = typer.Typer(no_args_is_help=True, help="Schemas of all messages.")
config = typer.Typer(no_args_is_help=True, help="This host's settings.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(db, name="db")
    app.add_typer(schemas, name="schemas")
    app.add_typer(config, name="config")
    app.command("doctor")(doctor)


@db.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Bring the database to this program's version, after a copy of a SQLite file beside itself."""
    from labsem.store import upgrade

    quiet_logging()
    result = upgrade(settings().url)
    if as_json:
        print_json({"before": result.before, "after": result.after, "backup": result.backup})
    elif result.before == result.after:
        show(f"nothing to do: the database has version {result.after}")
    else:
        show(f"upgraded from {result.before or 'nothing'} to {result.after}")
        if result.backup is not None:
            show(f"copy of before: {result.backup}")


@db.command("check")
def db_check(as_json: Json = False) -> None:
    """Say whether the database has this program's version; exit code 1 where it has not."""
    from labsem.store import check

    quiet_logging()
    result = check(settings().url)
    if as_json:
        print_json(
            {"revision": result.revision, "head": result.head, "ok": result.ok, "message": result.message}
        )
    else:
        show(result.message)
    if not result.ok:
        raise typer.Exit(FAILED)


@schemas.command("export")
def schemas_export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the files; made where it does not exist.")
    ],
    as_json: Json = False,
) -> None:
    """Write a JSON Schema for each message and request."""
    from schemas.export import export_schemas

    written = export_schemas(folder)
    if as_json:
        print_json([str(path) for path in written])
    else:
        show(f"{len(written)} schemas in {folder}")


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """Print the settings in force, passwords left out, and the file that they come from."""
    from schemas.settings import config_file, shown

    found = shown(settings())
    if as_json:
        print_json(found)
        return
    show(f"# {config_file() or 'no file: defaults and LABSEM_ variables'}")
    for name, value in _flat(found):
        show(f"{name} = {value}")


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _flat(item, f"{prefix}[{index}]")
    else:
        yield prefix, "none" if value is None else str(value)


def doctor(as_json: Json = False) -> None:
    """Look at everything on this host and say what to do; exit code 1 where something has failed."""
    from services.doctor import examine

    quiet_logging("error")
    diagnosis = examine(settings())
    if as_json:
        print_json(diagnosis)
    else:
        from rich.markup import escape
        from rich.table import Table

        styles = {"ok": "green", "warning": "yellow", "failed": "bold red"}
        result = Table(header_style="bold")
        for column in ("area", "what", "state", "detail", "what to do"):
            result.add_column(column, overflow="fold")
        area = ""
        for finding in diagnosis.findings:
            result.add_row(
                finding.area if finding.area != area else "",
                escape(finding.what),
                f"[{styles[finding.state]}]{finding.state}[/]",
                escape(finding.detail),
                escape(finding.remedy),
            )
            area = finding.area
        stdout().print(result)
    if not diagnosis.ok:
        raise typer.Exit(FAILED)
