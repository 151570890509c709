"""Gateway and daemon as processes of their own, which end with the one that started them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from labsem.streams import StreamError
from schemas.settings import Settings

SAMPLES = ("demo-1", "demo-2")
_LOOK_S = 0.25
_STOP_LIMIT_S = 20.0


class Child:
    """One of the loop's processes, at the parent's end."""

    def __init__(self, name: str, process: Any, pipe: Any, log_file: Path) -> None:
        self.name, self.process, self.pipe, self.log_file = name, process, pipe, log_file
        self._ready = False
        self._failure = ""

    def ready(self, patience_s: float = _LOOK_S) -> bool:
        """Whether it has said so."""
        if not self._ready and self.pipe.poll(patience_s):
            try:
                kind, self._failure = self.pipe.recv()
                self._ready = kind == "ready"
            except EOFError:
                self.process.join(_STOP_LIMIT_S)
        return self._ready

    def problem(self) -> str:
        """Why it has ended, where it has."""
        if self.process.exitcode is None and not self._failure:
            return ""
        return self._failure or f"it ended with exit code {self.process.exitcode}"


@contextmanager
def process(name: str, target: Callable[..., None], settings: Settings, *arguments: Any) -> Iterator[Child]:
    """A child that ends when told, or when this process ends: its pipe then closes."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    log_file = settings.data_dir / f"{name}.log"
    process = context.Process(
        target=target, args=(theirs, log_file, settings, *arguments), name=f"labsem-{name}"
    )
    process.start()
    theirs.close()
    try:
        yield Child(name, process, ours, log_file)
    finally:
        ours.close()
        process.join(_STOP_LIMIT_S)
        if process.exitcode is None:
            process.terminate()
            process.join(_STOP_LIMIT_S)


def _begin(pipe: Any, log_file: Path, settings: Settings) -> threading.Event:
    """In a child: logs go to its file, Ctrl-C is the parent's, and the closed pipe is the sign to stop."""
    from services.logs import configure_logging

    sys.stderr = log_file.open("a", encoding="utf-8", buffering=1)
    configure_logging(settings, stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()

    def follow() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            stop.set()

    threading.Thread(target=follow, name="stop-watch", daemon=True).start()
    return stop


def daemon(pipe: Any, log_file: Path, settings: Settings, segmenter: str) -> None:
    """Run the analysis daemon (in a child)."""
    stop = _begin(pipe, log_file, settings)
    from labsem.store import StoreError
    from services.daemon import DaemonError, run_daemon

    try:
        run_daemon(settings, stop, ready=lambda _: pipe.send(("ready", "")), segmenter=segmenter)
    except (DaemonError, StoreError, StreamError) as error:
        pipe.send(("failed", str(error)))
        raise


def gateway(pipe: Any, log_file: Path, settings: Settings, frames: int, seed: int) -> None:
    """Run the gateway of the virtual SEM over its plan (in a child)."""
    stop = _begin(pipe, log_file, settings)
    from drivers import MicroscopeError
    from labsem.store import StoreError
    from services.gateway import demo_plan, run_gateway

    try:
        run_gateway(
            settings,
            stop,
            driver="virtual",
            plan=demo_plan(frames, seed, SAMPLES),
            seed=seed,
            started=lambda: pipe.send(("ready", "")),
        )
    except (MicroscopeError, StoreError, StreamError) as error:
        pipe.send(("failed", str(error)))
        raise
