"""One instrument's gateway: its frames, its journal, and the acts that it claims."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from drivers.base import AcquiredFrame, Microscope, MicroscopeState
from drivers.errors import MicroscopeError
from drivers.targets import Target, beam_of, check_target, go_to, restore, scan_timeout_s
from labsem.frames import write_atomically
from labsem.store import Store, journal
from labsem.streams import MemoryCursors, Publisher, RequestServer, StreamError, Subscriber
from labsem.streams.stored import StoreJournal
from schemas.acts import INTERRUPTED, Act, ActChanged, ActKind, ActState, InstrumentState
from schemas.envelope import Envelope
from schemas.requests import ReadFrame
from schemas.settings import Settings
from services.gateway.acts import ActsClient, UnclearActError, target_of
from services.gateway.desk import Desk
from services.gateway.frames import FrameShelf
from services.gateway.holder import HolderShelf
from services.gateway.overview import OverviewDesk
from services.gateway.plan import AcquisitionPlan, PlannedFrame
from services.gateway.queue import PlanQueue
from services.gateway.reading import FrameReader
from services.gateway.watching import WatchedShelf, watched_shelf

log = structlog.get_logger(__name__)

CLAIM_EVERY_S = 2.0
PRUNE_EVERY_S = 86_400.0
RECONNECT_EVERY_S = 5.0
MOVE_TIMEOUT_S = 120.0
ACTIVATE_TIMEOUT_S = 300.0


class Gateway:
    """Acquires a plan's frames, does the rescans it claims, and publishes each frame.

    Everything runs on the thread of :meth:`run`, so that the microscope does one thing at a time; sockets have
    threads of their own. Apart from its plan only a claimed act moves the stage: events merely wake it.

    Parameters
    ----------
    microscope
        Not yet connected.
    plan
        Frames that it acquires by itself, after the rescans that wait.
    """

    def __init__(
        self, settings: Settings, microscope: Microscope, plan: AcquisitionPlan | None = None
    ) -> None:
        own = settings.instrument
        self._settings, self._microscope = settings, microscope
        self._stream = f"gateway.{own.instrument_id}"
        self._acts = ActsClient(own.daemon_requests, own.instrument_id)
        self._holder = HolderShelf(settings.data_dir / f"gateway-{own.instrument_id}.holder.json")
        self._queue = PlanQueue(plan, self._acts, self._holder)
        self._restore_file = settings.data_dir / f"gateway-{own.instrument_id}.restore.json"
        self._wake = threading.Event()
        self._overview = OverviewDesk(microscope, self._wake.set)
        self._desk = Desk(own.instrument_id, microscope, settings.data_dir, wake=self._wake.set)
        self._claim_at_s = self._connect_at_s = 0.0
        self._prune_at_s = -PRUNE_EVERY_S
        self._settled_before = False
        self.frames_done = 0
        """Frames acquired and announced since :meth:`run` began."""

    @property
    def plan_left(self) -> int:
        """Planned frames not yet acquired."""
        return len(self._queue)

    def run(self, stop: threading.Event, started: Callable[[], None] | None = None) -> None:
        """Work until ``stop`` is set; the frame in hand is finished.

        Parameters
        ----------
        started
            Called once sockets are bound, the microscope was asked to connect, and orphans and status are
            journalled.

        Raises
        ------
        MicroscopeError
            Where the microscope cannot be connected at start, and trying again would not help.
        StoreError, StreamError
            Where the journal cannot be opened, or an address cannot be bound.
        """
        own = self._settings.instrument
        url = f"sqlite:///{(self._settings.data_dir / f'gateway-{own.instrument_id}.sqlite').as_posix()}"
        with ExitStack() as stack:
            self._store = stack.enter_context(Store.open(url, lock=True, upgrade="always"))
            kept = StoreJournal(self._store, self._stream)
            self._watched = watched_shelf(
                self._store, self._stream, self._settings, self._microscope, self._holder
            )
            if self._watched is None:
                self._shelf = self._own_shelf()
                self._shelf.announce_orphans()
            folder = self._shelf.folder if self._watched is None else self._watched.folder
            self._publisher = stack.enter_context(Publisher(kept, own.events))
            server = stack.enter_context(
                RequestServer(
                    own.requests,
                    service=self._stream,
                    journals=[kept],
                    handlers={
                        ReadFrame: FrameReader(folder, own.image_root),
                        **self._desk.handlers(),
                        **self._holder.handlers(),
                        **self._overview.handlers(),
                    },
                )
            )
            self._desk.open(self._store, self._stream, self._publisher.wake)
            stack.callback(self._microscope.close)
            self._connect(at_start=True)
            stack.enter_context(
                Subscriber(
                    own.instrument_id,
                    own.daemon_events,
                    own.daemon_requests,
                    MemoryCursors(),
                    self._told,
                    start="now",
                )
            )
            if started is not None:
                started()
            log.info("gateway_started", instrument=own.instrument_id, driver=self._microscope.name)
            while not stop.is_set():
                for thread in (self._publisher, server):
                    if not thread.alive:
                        raise StreamError(
                            f"{thread.name} has ended: {thread.failure}; start the gateway again"
                        )
                if not self._step():
                    self._wake.wait(0.1)
                    self._wake.clear()
        log.info("gateway_stopped", instrument=own.instrument_id, frames=self.frames_done)

    def _step(self) -> bool:
        """Do one thing; whether there was one."""
        now_s = time.monotonic()
        self._desk.tell_now_and_then()
        if now_s - self._prune_at_s > PRUNE_EVERY_S:
            self._prune()
        if self._desk.state is InstrumentState.FAULT:
            if now_s < self._connect_at_s:
                return False
            self._connect()
            return True
        held = self._held()
        if self._watched is not None:
            return self._announce_found(self._watched)
        if held:
            return False
        if self._overview.wanted:
            error = self._overview.take(self._restore_file)
            if error is not None:
                self._look_at(error)
            return True
        if now_s >= self._claim_at_s:
            self._claim_at_s = now_s + CLAIM_EVERY_S
            act = self._claim()
            if act is not None:
                self._claim_at_s = 0.0
                if act.kind is ActKind.ACQUISITION:
                    self._queue.begin(act, self._shelf)
                else:
                    self._do(act)
                return True
        planned = self._queue.next()
        if planned is not None:
            self._acquire_planned(planned)
            self._claim_at_s = 0.0
            return True
        return False

    def _held(self) -> bool:
        """Whether a person has the instrument; what was noted of it before counts no more afterwards."""
        hold = self._desk.wanted
        if hold is not None:
            self._desk.change(InstrumentState.HELD)
            self._restore_file.unlink(missing_ok=True)
            self._queue.focus_mm = None
            return True
        if self._desk.state in (InstrumentState.HELD, InstrumentState.HOLD_REQUESTED):
            self._desk.change(InstrumentState.AVAILABLE)
        return False

    def _own_shelf(self) -> FrameShelf:
        own, settings = self._settings.instrument, self._settings
        return FrameShelf(
            self._store,
            self._stream,
            folder=settings.image_roots.get(own.image_root, settings.data_dir / "images"),
            image_root=own.image_root,
            instrument_id=own.instrument_id,
            device=self._microscope.name,
        )

    def _announce_found(self, watched: WatchedShelf) -> bool:
        """Announce files that other software has saved; whether there were some."""
        try:
            announced = watched.announce_found()
        except MicroscopeError as error:
            self._fault(error)
            return True
        self.frames_done += len(announced)
        self._publisher.wake()
        return bool(announced)

    def _told(self, _session: None, envelope: Envelope, name: str, payload: bytes) -> None:
        """Wake up for what may be claimed; events never do more."""
        if not name.startswith("act-changed/"):
            return
        try:
            change = ActChanged.read(payload)
        except ValidationError as error:
            log.warning("event_unreadable", event_id=str(envelope.event_id), error=str(error))
            return
        if (
            change.instrument_id == self._settings.instrument.instrument_id
            and change.state is ActState.APPROVED
        ):
            log.debug("woken", event_id=str(envelope.event_id), act_id=str(change.act_id))
            self._claim_at_s = 0.0
            self._wake.set()

    def _claim(self) -> Act | None:
        if not self._settled_before:
            held = self._acts.held()
            if held is None:
                return None
            self._settle(held)
            self._settled_before = True
        return self._acts.claim()

    def _settle(self, held: tuple[Act, ...]) -> None:
        """Give up what an earlier run left unfinished; what a frame answers, the daemon learns from the journal."""
        for act in held:
            if act.kind is ActKind.ACQUISITION:
                self._queue.begin(act, self._shelf)
            elif self._shelf.answer(act.act_id) is None:
                self._acts.report(act.act_id, f"{INTERRUPTED}: the gateway ended before a frame was taken")

    def _do(self, act: Act) -> None:
        log.info("act_claimed", act_id=str(act.act_id), reasons=[reason.value for reason in act.reasons])
        before = self._shelf.event(act.frame_before) if act.frame_before is not None else None
        try:
            state = self._ready_state()
            target = target_of(act, before, state, self._holder)
            check_target(self._microscope.name, self._microscope.capabilities(), target)
        except UnclearActError as error:
            self._acts.report(act.act_id, str(error))
            return
        except MicroscopeError as error:
            self._acts.report(act.act_id, str(error))
            self._look_at(error)
            return
        frame = self._acquire(target, state, lambda error: self._acts.report(act.act_id, str(error)))
        if frame is None:
            return
        try:
            self._put(frame, act.sample_id, act.labels, act.act_id)
        except OSError as error:
            self._acts.report(act.act_id, f"the frame cannot be written: {error}; free the image root's disk")
        if len(self._queue):
            self._go_on_as_before(state)

    def _go_on_as_before(self, state: MicroscopeState) -> None:
        """A plan's frames are all taken alike: after a rescan in between, the beam is what it was."""
        try:
            restore(self._microscope, beam_of(state, self._microscope.state()), MOVE_TIMEOUT_S)
        except MicroscopeError as error:
            log.error("beam_not_restored", error=str(error))
            self._look_at(error)

    def _acquire_planned(self, planned: PlannedFrame) -> None:
        try:
            state = self._ready_state()
        except MicroscopeError as error:
            self._queue.failed(error)
            self._look_at(error)
            return
        frame = self._acquire(planned.target(self._queue.focus_mm), state, self._queue.failed)
        if frame is None:
            return
        try:
            self._put(frame, planned.sample_id, planned.labels, planned.act_id, planned.index)
        except OSError as error:
            self._queue.failed(error)
            return
        self._queue.done(frame.acquisition.working_distance_mm)

    def _acquire(
        self, target: Target, state: MicroscopeState, failed: Callable[[MicroscopeError], None]
    ) -> AcquiredFrame | None:
        """A frame of a target; where a step fails, tell of it and put the microscope back to ``state``."""
        write_atomically(self._restore_file, json.dumps(asdict(state)).encode())
        try:
            go_to(self._microscope, target, MOVE_TIMEOUT_S)
            frame = self._microscope.acquire(scan_timeout_s(self._microscope))
        except MicroscopeError as error:
            failed(error)
            self._look_at(error)
            if self._desk.wanted is None:
                self._put_back()
            return None
        self._restore_file.unlink(missing_ok=True)
        return frame

    def _ready_state(self) -> MicroscopeState:
        """Where the microscope stands, once frames can be taken."""
        if not self._microscope.status().ready:
            self._microscope.activate(ACTIVATE_TIMEOUT_S)
        return self._microscope.state()

    def _put(
        self,
        frame: AcquiredFrame,
        sample_id: str,
        labels: tuple[str, ...],
        act_id: UUID | None,
        index: int | None = None,
    ) -> None:
        event = self._shelf.put(frame, sample_id=sample_id, act_id=act_id, index=index, labels=labels)
        self._publisher.wake()
        self.frames_done += 1
        log.info(
            "frame_acquired",
            frame_id=str(event.frame_id),
            sample_id=sample_id,
            act_id=None if act_id is None else str(act_id),
        )

    def _put_back(self) -> None:
        """Restore what was noted before the last target, where that is still to be done."""
        if self._desk.state is InstrumentState.FAULT or not self._restore_file.exists():
            return
        try:
            noted: dict[str, Any] = json.loads(self._restore_file.read_bytes())
            restore(self._microscope, MicroscopeState(**noted), MOVE_TIMEOUT_S)
        except (ValueError, TypeError) as error:
            log.warning("restore_file_unreadable", path=str(self._restore_file), error=str(error))
        except MicroscopeError as error:
            log.error("restore_failed", error=str(error))
            self._fault(error)
            return
        self._restore_file.unlink(missing_ok=True)

    def _look_at(self, error: MicroscopeError) -> None:
        """After an error: a fault where the microscope does not answer any more."""
        try:
            self._microscope.status()
        except MicroscopeError:
            self._fault(error)

    def _fault(self, error: MicroscopeError) -> None:
        self._connect_at_s = time.monotonic() + RECONNECT_EVERY_S
        self._desk.change(InstrumentState.FAULT, str(error))

    def _connect(self, *, at_start: bool = False) -> None:
        try:
            self._microscope.connect(MOVE_TIMEOUT_S)
            self._microscope.status()
        except MicroscopeError as error:
            if at_start and not error.retryable:
                raise
            log.warning("connect_failed", error=str(error), again_in_s=RECONNECT_EVERY_S)
            self._fault(error)
            return
        if self._desk.wanted is None:
            self._desk.change(InstrumentState.AVAILABLE)
            self._put_back()
        else:
            self._held()

    def _prune(self) -> None:
        self._prune_at_s = time.monotonic()
        days = self._settings.daemon.journal_days
        with self._store.write() as session:
            removed = journal.prune(session, self._stream, older_than_s=days * 86_400)
        if removed:
            log.info("journal_pruned", messages=removed, days=days)
