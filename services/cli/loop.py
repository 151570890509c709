"""``labsem demo``, ``serve`` and ``planner``: the closed loop's processes."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import Json
from services.cli.output import fail, local_time, note, plain, show
from services.cli.setup import quiet_logging, settings

if TYPE_CHECKING:
    from schemas.base import Schema


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo")(demo)
    app.command("serve")(serve)
    app.command("planner")(planner)


def demo(
    frames: Annotated[
        int, typer.Option(min=1, max=200, help="Frames that the plan acquires; rescans come on top.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Which powder; the same seed gives the same frames.")] = 7,
    segmenter: Annotated[
        str, typer.Option(help="Another segmenter, as 'labsem doctor' lists them.")
    ] = "network",
    time_limit_s: Annotated[float, typer.Option(min=1, help="Give up after so long.")] = 900,
    as_json: Json = False,
) -> None:
    """Run the closed loop once, without any set-up: virtual SEM, analysis daemon and planner.

    Everything lies in a fresh folder under the data folder, which is kept.
    """
    from services.cli.demo_view import DemoView
    from services.demo import run_demo

    with DemoView(live=not as_json) as view:
        report = run_demo(
            frames=frames, seed=seed, segmenter=segmenter, time_limit_s=time_limit_s, show=view.update
        )
    view.finish(report, as_json=as_json)
    if report.frames_lost or report.frames_analysed < frames:
        fail(
            f'{report.frames_lost} frames were not analysed; labsem --data-dir "{report.data_dir}" doctor says why'
        )


def serve() -> None:
    """Run the analysis daemon until it is stopped (Ctrl-C, SIGTERM)."""
    from services.daemon import serve as run
    from services.logs import configure_logging

    found = settings()
    configure_logging(found)
    raise typer.Exit(run(found))


def planner(
    sample: Annotated[
        list[str] | None, typer.Option(help="Only of this sample; may be given several times.")
    ] = None,
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Only what comes from now on; default: all that the daemon's journal holds."
        ),
    ] = False,
    cursor: Annotated[
        Path | None, typer.Option(help="File that remembers how far was read, to go on there.")
    ] = None,
    idle_s: Annotated[float | None, typer.Option(min=0, help="End after so long without a message.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Follow the daemon's summaries and rescans as a planner does, one line each, until stopped."""
    from labsem.client import Labsem
    from schemas.acts import ActChanged
    from schemas.morphology import FrameMorphology, SampleMorphology

    quiet_logging()
    ends = settings().daemon
    with Labsem(ends.events, ends.requests, cursor_file=cursor) as lab:
        lab.ping()
        with lab.follow(
            samples=sample or None,
            kinds=(FrameMorphology, SampleMorphology, ActChanged),
            start="now" if new else "first",
            timeout_s=idle_s,
        ) as messages:
            for message in messages:
                _print_message(message, as_json)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and, on Windows, Ctrl-Break set; a second signal ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _: Any) -> None:
        if stop.is_set():
            raise SystemExit(1)
        note(f"stopping ({signal.Signals(number).name})")
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), ask)
    return stop


def _print_message(message: Schema, as_json: bool) -> None:
    import json

    from schemas.registry import event_name

    if as_json:
        sys.stdout.write(json.dumps({"event": event_name(message), **plain(message)}) + "\n")
    else:
        show(message_line(message))
    sys.stdout.flush()


def message_line(message: Schema) -> str:
    """A summary or a rescan's step in one line."""
    from schemas.acts import ActChanged
    from schemas.morphology import FrameMorphology, SampleMorphology
    from services.cli.output import cell, short
    from services.cli.records import percent

    if isinstance(message, FrameMorphology):
        uncertain = cell(percent(message.uncertain_fraction.value))
        return (
            f"{local_time(message.analysed_at)}  frame   {message.sample_id}  {short(message.frame_id)}  "
            f"{message.regime.value}  {message.particle_count} particles  {uncertain} uncertain  "
            f"D50 {cell(message.d50_number_all_um)} um  {message.decision.kind}"
        )
    if isinstance(message, SampleMorphology):
        medians = ", ".join(cell(block.sizes.number.all.d50_um) for block in message.blocks) or "-"
        return (
            f"{' ' * 19}  sample  {message.sample_id}  {message.state.value}  {message.frames} frames  "
            f"{message.frames_pending} waiting  {message.acts_open} rescans open  D50 {medians} um"
        )
    if isinstance(message, ActChanged):
        reasons = ", ".join(reason.value for reason in message.reasons)
        return f"{' ' * 19}  rescan  {message.sample_id}  {short(message.act_id)}  {message.state.value}  {reasons}"
    return message.model_dump_json()
