"""The daemon's life: open, start, watch, stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FrameType

import structlog

from labsem.networks.manifest import list_manifests
from labsem.store import Store, analyses, inbox
from labsem.streams import Publisher, RequestServer
from labsem.streams.stored import StoreJournal
from schemas.settings import Settings
from services import segmenters
from services.daemon.answers import Answers
from services.daemon.errors import DaemonError
from services.daemon.intake import Intake
from services.daemon.lane import Lane
from services.daemon.sweeps import Sweeps
from services.daemon.work import WorkerOptions

log = structlog.get_logger(__name__)

_WATCH_S = 0.2


@dataclass(frozen=True)
class DaemonReady:
    """Told once frames are taken and analysed; addresses with their ports resolved.

    Attributes
    ----------
    plain
        Address of each plain source, by its name.
    worker_pids
        Callable that gives the process ids of the inference workers as they are now.
    """

    stream: str
    events: str
    requests: str
    plain: dict[str, str] = field(default_factory=dict)
    worker_pids: Callable[[], list[int]] = list


def serve(
    settings: Settings,
    *,
    ready: Callable[[DaemonReady], None] | None = None,
    segmenter: str = segmenters.DEFAULT,
) -> int:
    """Run the daemon until SIGINT, SIGTERM or, on Windows, CTRL+BREAK; to be called in the main thread.

    A frame in hand is finished first, or its lease given back. Gives the exit code, 0.

    Raises
    ------
    DaemonError, StoreError, EndpointError
        As :func:`run_daemon`.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):
        signals.append(signal.SIGBREAK)
    before = {number: signal.signal(number, on_signal) for number in signals}
    try:
        run_daemon(settings, stop, ready=ready, segmenter=segmenter)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def run_daemon(
    settings: Settings,
    stop: threading.Event,
    *,
    ready: Callable[[DaemonReady], None] | None = None,
    segmenter: str = segmenters.DEFAULT,
) -> None:
    """Run the daemon until ``stop`` is set; the calling thread watches over its parts.

    Inference workers are spawned processes: a script that calls this needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    settings : Settings
        The host's settings.
    stop : threading.Event
        Set it to have the daemon finish.
    ready : callable, optional
        Called once all sockets are bound and every worker has loaded its models.
    segmenter : str
        Name of a segmenter, or ``module:factory`` (see :mod:`services.segmenters`).

    Raises
    ------
    DaemonError
        Where a worker cannot load its models, or a part of the daemon has ended by itself.
    StoreError
        Where the database cannot be opened, is another daemon's, or needs ``labsem db upgrade``.
    EndpointError
        Where an address is refused or taken.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(settings.url, lock=True, upgrade="empty"))
        _Daemon(store, settings, stop, segmenter, stack).run(ready)
    log.info("daemon_stopped", stream=settings.daemon.stream)


class _Daemon:
    """The parts, started in order; ``stack`` stops them in the other."""

    def __init__(
        self, store: Store, settings: Settings, stop: threading.Event, segmenter: str, stack: ExitStack
    ) -> None:
        daemon = settings.daemon
        self._stop, self._stack, self._settings = stop, stack, settings
        prefix = f"{daemon.stream}/"
        owner = f"{prefix}{socket.gethostname()}-{os.getpid()}"
        with store.write() as session:
            returned = inbox.requeue_owner(session, prefix)
            if segmenter == segmenters.DEFAULT:
                for manifest in list_manifests(settings.models.folder):
                    analyses.register_model(
                        session, manifest.reference(), manifest=manifest.model_dump(mode="json")
                    )
        if returned:
            log.info("leases_taken_back", frames=returned)
        journal = StoreJournal(store, daemon.stream)
        self.publisher = Publisher(journal, daemon.events)
        self.requests = RequestServer(
            daemon.requests,
            service="analysis",
            journals=[journal],
            handlers=Answers(store, settings, self.publisher.wake).handlers(),
        )
        options = WorkerOptions(
            segmenter=segmenter,
            models=settings.models.model_copy(update={"threads": _threads(settings)}),
            reading=settings.reading,
            rescans=settings.rescans,
            log_level=settings.log_level,
            log_json=settings.log_json,
        )
        self.lanes = [
            Lane(store, settings, options, f"{owner}-{number}", self.publisher.wake)
            for number in range(daemon.workers)
        ]
        self.intake = Intake(store, settings, arrived=self._wake_lanes, committed=self.publisher.wake)
        self.sweeps = Sweeps(
            store, settings, owner, retry_plain=self.intake.retry_plain, committed=self.publisher.wake
        )

    def run(self, ready: Callable[[DaemonReady], None] | None) -> None:
        """Start everything, tell that it is ready, and watch until it is to stop."""
        for part in (self.publisher, self.requests):
            part.start()
            self._stack.callback(part.stop)
        self._stack.callback(self._stop_lanes)
        for lane in self.lanes:
            lane.start()
        self.sweeps.start()
        self._stack.callback(self.sweeps.stop)
        self.intake.start()
        self._stack.callback(self.intake.stop)
        while not self._stop.is_set() and not all(lane.ready.wait(_WATCH_S) for lane in self.lanes):
            self._check()
        if not self._stop.is_set():
            log.info(
                "daemon_ready",
                stream=self._settings.daemon.stream,
                events=self.publisher.endpoint,
                requests=self.requests.endpoint,
                workers=len(self.lanes),
            )
            if ready is not None:
                ready(
                    DaemonReady(
                        self._settings.daemon.stream,
                        self.publisher.endpoint,
                        self.requests.endpoint,
                        self.intake.endpoints,
                        self._worker_pids,
                    )
                )
        while not self._stop.wait(_WATCH_S):
            self._check()
        log.info("daemon_stopping")

    def _check(self) -> None:
        """Raise where a part has ended by itself: better no daemon than half of one."""
        for name, failure in (
            ("the publisher", self.publisher.failure),
            ("the request server", self.requests.failure),
            ("the intake", self.intake.failure),
            *((f"lane {lane.owner}", lane.failure) for lane in self.lanes),
        ):
            if isinstance(failure, DaemonError):
                raise failure
            if failure is not None:
                raise DaemonError(
                    f"{name} ended: {type(failure).__name__}: {failure}; start labsem serve again, nothing is lost"
                ) from failure

    def _wake_lanes(self) -> None:
        for lane in self.lanes:
            lane.wake()

    def _stop_lanes(self) -> None:
        for lane in self.lanes:
            lane.stop()
        for lane in self.lanes:
            lane.join()

    def _worker_pids(self) -> list[int]:
        return [pid for lane in self.lanes if (pid := lane.worker_pid) is not None]


def _threads(settings: Settings) -> int:
    """Threads of each worker: as set, or the cores shared out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return settings.models.threads or max(1, cores // settings.daemon.workers)
