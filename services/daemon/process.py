"""A worker process as the daemon sees it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import cast

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT
from services.daemon import worker
from services.daemon.errors import DaemonError
from services.daemon.work import FrameJob, FrameProblem, FrameResult, Ready, WorkerOptions

_SPAWN = multiprocessing.get_context("spawn")
_STARTING = threading.Lock()
_END_S = 2.0
_LOOK_S = 0.2


class WorkerGoneError(Exception):
    """The process ended without an answer; the message has its exit code."""


class WorkerProcess:
    """One spawned worker; it answers jobs one at a time."""

    def __init__(self, name: str, options: WorkerOptions) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process: SpawnProcess = _SPAWN.Process(
            target=worker.main, args=(theirs, options), name=name, daemon=True
        )
        with _STARTING, _environment(ALLOCATOR_ENVIRONMENT):
            self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._process.pid

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until its models are loaded, or until ``stop`` is set.

        Raises
        ------
        DaemonError
            Where they do not load, or the process ends before.
        """
        answer: object = None
        try:
            while not isinstance(answer, Ready):
                if stop.is_set():
                    return
                answer = self._receive(_LOOK_S)
        except (EOFError, OSError):
            raise DaemonError(
                f"inference worker {self._process.name} ended while it loaded its models (exit code "
                f"{self._exit_code()}); see its output above, and labsem doctor"
            ) from None
        if answer.problem is not None:
            raise DaemonError(
                f"inference worker {self._process.name} cannot load its models: {answer.problem}; "
                "labsem doctor and labsem models verify tell more"
            )

    def begin(self, job: FrameJob) -> None:
        """Hand it a job.

        Raises
        ------
        WorkerGoneError
            Where the process is not there.
        """
        try:
            self._connection.send(job)
        except OSError:
            raise WorkerGoneError(f"exit code {self._exit_code()}") from None

    def answer(self, timeout_s: float) -> FrameResult | FrameProblem | None:
        """Its answer, or None where there is none yet.

        Raises
        ------
        WorkerGoneError
            Where the process ended.
        """
        try:
            return cast("FrameResult | FrameProblem | None", self._receive(timeout_s))
        except (EOFError, OSError):
            raise WorkerGoneError(f"exit code {self._exit_code()}") from None

    def _receive(self, timeout_s: float) -> object:
        """What it sent, None where that was nothing; lines of its stderr become this process's."""
        if not self._connection.poll(timeout_s):
            return None
        message: object = self._connection.recv()
        if isinstance(message, str):
            sys.stderr.write(f"{message}\n")
            return None
        return message

    def end(self, *, kill: bool = False) -> None:
        """End the process: at once, or by itself where it waits for a job."""
        self._connection.close()
        if not kill:
            self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _exit_code(self) -> int | None:
        self._process.join(_END_S)
        return self._process.exitcode


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Variables that a child must find when it starts; a person's own values are kept."""
    added = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
