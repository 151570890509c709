"""A lane: one worker process, and the thread that leases frames for it and stores what it finds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from labsem.store import LeaseLostError, Store, inbox, instruments
from labsem.store.inbox import Leased
from labsem.store.tables import InboxRow
from schemas.settings import Settings
from services.daemon import recording
from services.daemon.errors import TRANSIENT
from services.daemon.fetching import FetchError, FrameFetcher
from services.daemon.places import fetched_folder, frame_path, image_folder
from services.daemon.process import WorkerGoneError, WorkerProcess
from services.daemon.work import FrameBefore, FrameJob, FrameProblem, FrameResult, WorkerOptions
from services.daemon.worker import RETRY

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 3
"""A frame on which a worker, or the daemon itself, ended so often is set aside."""

STOP_GRACE_S = 20.0
"""How long a frame in hand may take to finish when the daemon stops."""

_POLL_S = 1.0
_ANSWER_POLL_S = 0.2
_RETRY_DELAY_S = 1.0
_BUSY_PAUSE_S = 0.5


class Lane:
    """Works on the inbox until it is stopped.

    Parameters
    ----------
    owner : str
        Names the lane in its leases.
    committed : callable
        Called after each transaction that may have journalled something.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        options: WorkerOptions,
        owner: str,
        committed: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.ready = threading.Event()
        self.failure: Exception | None = None
        self._store = store
        self._settings = settings
        self._options = options
        self._committed = committed
        self._fetcher = FrameFetcher(settings)
        self._stop = threading.Event()
        self._work = threading.Event()
        self._worker: WorkerProcess | None = None
        self._event_id: str | None = None
        self._thread = threading.Thread(target=self._guarded, name=owner, daemon=True)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker; None where none runs."""
        worker = self._worker
        return None if worker is None else worker.pid

    def start(self) -> None:
        """Start the thread, which starts the worker."""
        self._thread.start()

    def wake(self) -> None:
        """Look for work at once."""
        self._work.set()

    def stop(self) -> None:
        """Ask it to end; :meth:`join` waits for it."""
        self._stop.set()
        self._work.set()

    def join(self) -> None:
        """Wait until the frame in hand is finished, or its lease given back, and the worker has ended."""
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.failure = error
            log.exception("lane_ended", lane=self.owner)
        finally:
            self._end_worker()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._worker is None:
                self._worker = WorkerProcess(self.owner, self._options)
                self._worker.wait_ready(self._stop)
                log.info("worker_ready", lane=self.owner, pid=self._worker.pid)
                self.ready.set()
            self._work.clear()
            leased = self._transaction(self._lease)
            if leased is None:
                self._work.wait(_POLL_S)
                continue
            event = leased.event
            with structlog.contextvars.bound_contextvars(
                event_id=self._event_id,
                frame_id=str(event.frame_id),
                sample_id=event.sample_id,
                inbox_id=leased.inbox_id,
            ):
                try:
                    self._handle(leased)
                except LeaseLostError as error:
                    log.warning("lease_lost", reason=str(error))

    def _lease(self) -> Leased | None:
        if self._stop.is_set():
            return None
        with self._store.write() as session:
            leased = inbox.lease(session, owner=self.owner, lease_s=self._settings.daemon.lease_s)
            row = None if leased is None else session.get(InboxRow, leased.inbox_id)
            self._event_id = None if row is None or row.event_id is None else str(row.event_id)
        return leased

    def _handle(self, leased: Leased) -> None:
        log.info("frame_taken", attempt=leased.attempts)
        if leased.attempts > MAX_ATTEMPTS:
            problem = FrameProblem(
                "gave_up",
                f"{leased.event.path}: {MAX_ATTEMPTS} attempts ended without an answer",
                f"see the daemon's log; {RETRY} tries again",
            )
            self._reject(leased, problem)
            return
        folder = self._folder(leased)
        answer: FrameResult | FrameProblem | None
        if isinstance(folder, FrameProblem):
            answer = folder
        else:
            answer = self._analyse(leased, self._transaction(lambda: self._job(leased, str(folder))))
        if isinstance(answer, FrameResult):
            answer = self._store_result(leased, answer)
            if answer is None:
                return
        if answer is None:
            self._transaction(lambda: self._release(leased, 0.0))
        elif answer.passing and leased.attempts < MAX_ATTEMPTS:
            log.warning("frame_tried_again", code=answer.code, reason=answer.message)
            self._transaction(lambda: self._release(leased, _RETRY_DELAY_S))
        else:
            self._reject(leased, answer)

    def _folder(self, leased: Leased) -> Path | FrameProblem:
        """Under which the frame's file lies: its image root's on this host, or that of what was fetched."""
        folder = image_folder(self._settings, leased.event.image_root)
        if folder is not None:
            return folder
        renewed = time.monotonic()

        def renew() -> None:
            nonlocal renewed
            if time.monotonic() - renewed > self._settings.daemon.lease_s / 3:
                self._transaction(lambda: self._renew(leased))
                renewed = time.monotonic()

        try:
            return self._fetcher.fetch(leased.event, leased.stream, renew)
        except FetchError as error:
            return error.problem

    def _job(self, leased: Leased, folder: str) -> FrameJob:
        event = leased.event
        with self._store.read() as session:
            instrument = instruments.get(session, event.instrument_id)
            before = None if leased.plain else recording.frame_before(session, event)
        return FrameJob(
            event=event,
            event_id=self._event_id,
            folder=folder,
            plain=leased.plain,
            before=None if before is None else self._locate(before),
            scale_relative_uncertainty=instrument.scale_relative_uncertainty if instrument else None,
            scale_verified=instrument.scale_verified if instrument else False,
        )

    def _locate(self, before: recording.StoredFrame) -> FrameBefore | None:
        folder = image_folder(self._settings, before.image_root)
        path = frame_path(folder or fetched_folder(self._settings, before.image_root), before.path)
        if path is None or not path.is_file():
            return None
        return FrameBefore(str(path), before.acquisition, before.scan_rotation_deg)

    def _analyse(self, leased: Leased, job: FrameJob) -> FrameResult | FrameProblem | None:
        """The worker's answer; None where the daemon stops before it comes."""
        assert self._worker is not None  # noqa: S101 - for the type checker: _run has started it
        daemon = self._settings.daemon
        begun = renewed = time.monotonic()
        stop_at: float | None = None
        try:
            self._worker.begin(job)
            while (answer := self._worker.answer(_ANSWER_POLL_S)) is None:
                now = time.monotonic()
                if now - renewed > daemon.lease_s / 3:
                    self._transaction(lambda: self._renew(leased))
                    renewed = now
                if now - begun > daemon.analysis_timeout_s:
                    log.warning("worker_timed_out", lane=self.owner, seconds=round(now - begun, 1))
                    self._end_worker()
                    return FrameProblem(
                        "timeout",
                        f"{leased.event.path}: no result within {daemon.analysis_timeout_s:g} s",
                        f"raise daemon.analysis_timeout_s, then {RETRY}",
                        passing=True,
                    )
                if self._stop.is_set():
                    stop_at = stop_at or now + STOP_GRACE_S
                    if now > stop_at:
                        self._end_worker()
                        return None
        except WorkerGoneError as error:
            log.warning("worker_died", lane=self.owner, reason=str(error))
            self._end_worker()
            return FrameProblem(
                "worker_died",
                f"{leased.event.path}: the inference worker ended while it analysed the frame ({error})",
                f"see the daemon's log and the memory of this host; {RETRY} tries again",
                passing=True,
            )
        return answer

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.end(kill=not self._stop.is_set())
            self._worker = None

    def _renew(self, leased: Leased) -> None:
        with self._store.write() as session:
            inbox.renew(session, leased.inbox_id, self.owner, self._settings.daemon.lease_s)

    def _release(self, leased: Leased, delay_s: float) -> None:
        with self._store.write() as session:
            inbox.release(session, leased.inbox_id, self.owner, delay_s=delay_s)
        log.info("frame_given_back")

    def _store_result(self, leased: Leased, result: FrameResult) -> FrameProblem | None:
        """Store it; what no attempt can store must not be taken for ever."""
        try:
            self._transaction(lambda: self._record(leased, result))
        except LeaseLostError:
            raise
        except Exception as error:
            log.exception("frame_not_stored")
            return FrameProblem(
                "not_stored",
                f"{leased.event.path}: its result was not stored: {type(error).__name__}: {error}",
                f"see the daemon's log; {RETRY} tries again",
                passing=True,
            )
        return None

    def _record(self, leased: Leased, result: FrameResult) -> None:
        with self._store.write() as session:
            recording.record(session, leased, self.owner, result, self._settings)
        self._committed()

    def _reject(self, leased: Leased, problem: FrameProblem) -> None:
        log.warning("frame_rejected", code=problem.code, reason=problem.message)
        self._transaction(lambda: self._reject_once(leased, problem))
        self._committed()

    def _reject_once(self, leased: Leased, problem: FrameProblem) -> None:
        with self._store.write() as session:
            recording.reject(session, leased, self.owner, problem)

    def _transaction(self, work: Callable[[], T]) -> T:
        """Do it, again and again while the database is busy or away; the frame's lease may run out meanwhile."""
        while True:
            try:
                return work()
            except TRANSIENT as error:
                log.warning("database_busy", error=str(error).splitlines()[0])
                if self._stop.is_set():
                    raise
                time.sleep(_BUSY_PAUSE_S)
