"""``labsem instrument``: run the gateway of one instrument, or take the instrument from it and give it back."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.loop import stop_on_signals
from services.cli.options import Json
from services.cli.output import fail, local_time, print_json, show
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from schemas.requests import Hold, Release, Stop

ASK_TIMEOUT_S = 5.0
ASK_AGAIN_S = 0.5

app = typer.Typer(invoke_without_command=True)

By = Annotated[str, typer.Option(help="Who; default: the user of this shell.")]


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="instrument")


@app.callback()
def instrument(
    context: typer.Context,
    driver: Annotated[str | None, typer.Option(help="Kind of microscope; default: the settings'.")] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=0, help="Acquire so many frames of a demonstration plan (virtual only), then go on answering."
        ),
    ] = 0,
    seed: Annotated[int | None, typer.Option(help="Of the virtual microscope's powder.")] = None,
) -> None:
    """Run one instrument's gateway until it is stopped: it acquires, publishes, and does the rescans it claims.

    With hold, release, stop or overview: ask the gateway that runs. A person comes first.
    """
    if context.invoked_subcommand is not None:
        return
    from services.gateway import demo_plan, run_gateway
    from services.logs import configure_logging

    found = settings()
    configure_logging(found)
    kind = driver or found.instrument.driver
    if frames and kind != "virtual":
        raise typer.BadParameter("--frames is for the virtual microscope; others answer rescans")
    plan = demo_plan(frames, 7 if seed is None else seed) if frames else None
    run_gateway(found, stop_on_signals(), driver=kind, plan=plan, seed=seed)


@app.command()
def hold(
    by: By = "",
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Give it back by itself after so long; default: when it is released."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Take the instrument: the frame in hand finishes, then nothing moves until it is released."""
    from schemas.requests import Hold

    for_s = None if minutes is None else 60 * minutes
    _ask(Hold(by=by or getpass.getuser(), for_s=for_s), as_json=as_json)


@app.command()
def release(by: By = "", as_json: Json = False) -> None:
    """Give the instrument back: its gateway reads anew where it stands, and goes on."""
    from schemas.requests import Release

    _ask(Release(by=by or getpass.getuser()), as_json=as_json)


@app.command()
def stop(by: By = "", as_json: Json = False) -> None:
    """Cancel the scan, blank the beam, and hold the instrument."""
    from schemas.requests import Stop

    _ask(Stop(by=by or getpass.getuser()), as_json=as_json)


@app.command()
def overview(
    file: Annotated[Path, typer.Argument(help="PNG to write.")],
    timeout_s: Annotated[float, typer.Option(min=1, help="How long to wait for it.")] = 600.0,
) -> None:
    """Take a picture of the holder by the navigation camera, between two frames; the sample is brought back."""
    import base64
    import time
    from uuid import uuid4

    from labsem.frames import write_atomically
    from labsem.streams import RequestClient
    from schemas.requests import OverviewAnswer, TakeOverview
    from services.cli.progress import progress_bar

    quiet_logging()
    client = RequestClient(settings().instrument.requests, timeout_s=ASK_TIMEOUT_S, attempts=1)
    request, deadline_s = TakeOverview(request_id=uuid4()), time.monotonic() + timeout_s
    with progress_bar("waiting for the picture"):
        while (answer := client.ask(request, OverviewAnswer)).state == "waiting":
            if time.monotonic() > deadline_s:
                fail(f"no picture within {timeout_s:g} s; labsem instrument release, where a person has it")
            time.sleep(ASK_AGAIN_S)
    if answer.png_base64 is None:
        fail(f"no picture: {answer.problem}")
    write_atomically(file, base64.b64decode(answer.png_base64))
    show(f"{file} written")


def _ask(request: Hold | Release | Stop, *, as_json: bool) -> None:
    from labsem.streams import RequestClient
    from schemas.requests import InstrumentAnswer

    quiet_logging()
    client = RequestClient(settings().instrument.requests, timeout_s=ASK_TIMEOUT_S, attempts=1)
    status = client.ask(request, InstrumentAnswer).status
    if as_json:
        print_json(status)
        return
    held = "" if status.held_by is None else f", {status.held_by} has it"
    until = "" if status.held_until is None else f" until {local_time(status.held_until)}"
    show(f"{status.instrument_id}: {status.state.value.replace('_', ' ')}{held}{until}")
