"""``labsem holder``: which sample lies where under the microscope; asked of the gateway that runs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import Json
from services.cli.output import fail, print_json, show, stdout, table
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from schemas.base import Schema
    from schemas.holder import Holder

ASK_TIMEOUT_S = 5.0

app = typer.Typer(no_args_is_help=True, help="Which sample lies where under the microscope.")


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="holder")


@app.command("show")
def show_(as_json: Json = False) -> None:
    """Show the map."""
    from schemas.requests import GetHolder

    _tell(_ask(GetHolder()), as_json=as_json)


@app.command("load")
def load(
    file: Annotated[
        Path, typer.Argument(help="TOML with [[slots]] of slot, sample_id, x_mm, y_mm and radius_mm.")
    ],
    as_json: Json = False,
) -> None:
    """Take a map from a file, in place of the one before."""
    from pydantic import ValidationError

    from schemas.holder import Holder
    from schemas.requests import SetHolder

    try:
        holder = Holder.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fail(f"{file} cannot be read as TOML: {error}")
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'slots'}: {item['msg']}" for item in error.errors()
        )
        fail(f"{file}: {problems}")
    _tell(_ask(SetHolder(holder=holder)), as_json=as_json)


@app.command("put")
def put(
    slot: Annotated[str, typer.Argument(help="As it is marked on the holder.")],
    sample: Annotated[str, typer.Argument(help="Sample id.")],
    at: Annotated[str, typer.Option(metavar="X,Y", help="Centre on the stage, mm.")],
    radius_mm: Annotated[float, typer.Option(min=0.001, help="Of the stub.")] = 6.0,
    name: Annotated[str | None, typer.Option(help="The sample's display name.")] = None,
    as_json: Json = False,
) -> None:
    """Put a sample on a slot, in place of what was there."""
    from pydantic import ValidationError

    from schemas.holder import Holder, Slot
    from schemas.requests import GetHolder, SetHolder

    x, _, y = at.partition(",")
    before = _ask(GetHolder())
    try:
        new = Slot(
            slot=slot, sample_id=sample, sample_name=name, x_mm=float(x), y_mm=float(y), radius_mm=radius_mm
        )
        holder = Holder(slots=(*(each for each in before.slots if each.slot != slot), new))
    except ValidationError as error:
        fail("; ".join(item["msg"] for item in error.errors()), code=2)
    except ValueError:
        fail(f"--at {at!r} is not X,Y in mm, such as 1.5,-0.25", code=2)
    _tell(_ask(SetHolder(holder=holder)), as_json=as_json)


@app.command("clear")
def clear(as_json: Json = False) -> None:
    """Forget the map: every place is allowed again."""
    from schemas.holder import Holder
    from schemas.requests import SetHolder

    _tell(_ask(SetHolder(holder=Holder())), as_json=as_json)


def _ask(request: Schema) -> Holder:
    from labsem.streams import RequestClient
    from schemas.requests import HolderAnswer

    quiet_logging()
    client = RequestClient(settings().instrument.requests, timeout_s=ASK_TIMEOUT_S, attempts=1)
    return client.ask(request, HolderAnswer).holder


def _tell(holder: Holder, *, as_json: bool) -> None:
    if as_json:
        print_json(holder)
        return
    if not holder.slots:
        show("no holder is set: every place is allowed, and frames have the sample that was asked for")
        return
    columns = ("slot", "sample", "name", "x mm", "y mm", "radius mm")
    rows = [
        (slot.slot, slot.sample_id, slot.sample_name, slot.x_mm, slot.y_mm, slot.radius_mm)
        for slot in sorted(holder.slots, key=lambda each: each.slot)
    ]
    stdout().print(table("Holder", columns, rows, right=columns[3:]))
