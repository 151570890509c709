"""Runs the closed loop until all has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from uuid import UUID

import structlog

from labsem.client import Labsem, ServiceUnavailableError
from labsem.streams import RequestClient
from schemas.acts import OPEN_STATES, ActChanged
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState
from schemas.requests import Ping, Pong, Replay, ReplayAnswer
from schemas.settings import Settings, load_settings
from services.demo.children import Child, daemon, gateway, process
from services.demo.errors import DemoError
from services.demo.place import INSTRUMENT, fresh_settings
from services.demo.report import DemoReport, DemoState, build_report
from services.segmenters import resolve

log = structlog.get_logger(__name__)

Show = Callable[[DemoState], None]

_LOOK_S = 0.25


def _silent(state: DemoState) -> None:
    """Show nothing."""


def run_demo(
    *,
    frames: int = 8,
    seed: int = 7,
    segmenter: str = "network",
    time_limit_s: float = 900.0,
    show: Show = _silent,
) -> DemoReport:
    """Run the loop over ``frames`` planned frames and their rescans; everything is kept in a fresh folder.

    Raises
    ------
    DemoError
        Where a process ends early, or frames or rescans have not ended in time.
    SegmenterError
        Where the segmenter is not known.
    """
    target = resolve(segmenter)
    settings = fresh_settings(load_settings())
    state = DemoState(planned=frames, folder=settings.data_dir)
    show(state)
    until = time.monotonic() + time_limit_s
    with ExitStack() as stack:
        analysis = stack.enter_context(process("daemon", daemon, settings, target))
        instrument = stack.enter_context(process("gateway", gateway, settings, frames, seed))
        children = (analysis, instrument)
        for child in children:
            while not child.ready():
                _check(children, until, "starting", settings)
                show(state)
        state.stage = "running"
        lab = stack.enter_context(Labsem(settings.daemon.events, settings.daemon.requests))
        report = _follow(
            lab, settings, state, lambda: _check(children, until, _missing(state), settings), show
        )
        state.stage = "ended"
        show(state)
    return report


def _follow(
    lab: Labsem, settings: Settings, state: DemoState, check: Callable[[], None], show: Show
) -> DemoReport:
    """Take summaries as a planner does until the gateway's frames are all accounted for and no rescan is open."""
    instrument = RequestClient(settings.instrument.requests)
    kinds = (FrameMorphology, SampleMorphology, ActChanged)
    next_look = 0.0
    with lab.follow(kinds=kinds) as messages:
        while True:
            check()
            message = messages.take(_LOOK_S)
            if message is not None:
                state.take(message)
            show(state)
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + 1.0
            if (report := _ended(lab, instrument, settings, state)) is not None:
                return report


def _ended(lab: Labsem, instrument: RequestClient, settings: Settings, state: DemoState) -> DemoReport | None:
    """The report, where nothing is open any more and the planner has been told of every frame."""
    try:
        # The gateway first: a frame that it acquires in between only makes the comparison below fail.
        acquired = _acquired(instrument)
        samples = lab.samples().samples
        histories = [lab.history(row.sample_id, limit=1000) for row in samples]
    except ServiceUnavailableError as error:
        log.warning("no answer yet", error=str(error))
        return None
    analysed = [item.morphology for history in histories for item in history.frames]
    planned = sum(frame.act_id is None for frame in analysed)
    rejected = sum(history.rejected for history in histories)
    waiting = any(
        row.frames_pending or row.acts_open or row.state is not SampleState.SETTLED for row in samples
    )
    told = {frame.frame_id for frame in analysed} <= {frame.frame_id for frame in state.frames}
    if waiting or not told or planned + rejected < state.planned:
        return None
    lost = acquired - {frame.frame_id for frame in analysed}
    if len(lost) > rejected or any(act.state in OPEN_STATES for history in histories for act in history.acts):
        return None
    acts = [act for history in histories for act in history.acts]
    return build_report(analysed, acts, len(lost), settings.data_dir)


def _acquired(instrument: RequestClient) -> set[UUID]:
    """Ids of all frames in the gateway's journal."""
    stream = f"gateway.{INSTRUMENT}"
    pong = instrument.ask(Ping(), Pong)
    found: set[UUID] = set()
    after = 0
    while True:
        request = Replay(stream=stream, epoch=pong.epochs[stream], after=after)
        messages = instrument.ask(request, ReplayAnswer).messages
        if not messages:
            return found
        for message in messages:
            if message.topic.startswith("image-acquired/"):
                found.add(ImageAcquired.read(message.payload).frame_id)
        after += len(messages)


def _check(children: tuple[Child, ...], until: float, doing: str, settings: Settings) -> None:
    for child in children:
        if problem := child.problem():
            raise DemoError(f"the {child.name} did not go on: {problem}; its log is {child.log_file}")
    if time.monotonic() > until:
        raise DemoError(
            f"the time limit was reached: {doing}; logs and database lie in {settings.data_dir}, "
            "give more --time-limit-s on a slow machine"
        )


def _missing(state: DemoState) -> str:
    planned = sum(frame.act_id is None for frame in state.frames)
    unfinished = sum(change.state in OPEN_STATES for change in state.rescans.values())
    return f"{planned} of {state.planned} planned frames analysed, {unfinished} rescans open"
