"""Calls into a vendor's library: on one thread, with a limit of time, their errors translated."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

from drivers.errors import (
    BusyError,
    DisconnectedError,
    LicenceError,
    MicroscopeError,
    MicroscopeTimeoutError,
    StoppedError,
    VacuumError,
)

Answer = TypeVar("Answer")

LOOK_EVERY_S: Final = 0.05

_SAID: Final[tuple[tuple[tuple[str, ...], type[MicroscopeError]], ...]] = (
    (("licen", "not authori", "password", "credential"), LicenceError),
    (("vacuum", "vent", "pressure"), VacuumError),
    (("connect", "network", "socket", "unreachable"), DisconnectedError),
    (("busy", "in use", "in progress", "not allowed in"), BusyError),
    (("timeout", "timed out"), MicroscopeTimeoutError),
)


class VendorThread:
    """A thread on which a vendor's calls run one after the other.

    A call that takes too long goes on in the background, since a vendor's call cannot be ended; the next one waits
    for it, within its own limit.

    Parameters
    ----------
    device
        For messages.
    errors
        What the vendor's library raises.
    """

    def __init__(self, device: str, errors: tuple[type[Exception], ...]) -> None:
        self._device, self._errors = device, errors
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._last: Future[Any] | None = None
        # A daemon: a call that never returns must not keep the process from ending.
        threading.Thread(target=self._work, name=f"calls of {device}", daemon=True).start()

    def run(self, command: str, call: Callable[[], Answer], timeout_s: float) -> Answer:
        """Do a call and return its answer.

        Raises
        ------
        MicroscopeTimeoutError, StoppedError
            Where it is not done in time, or :meth:`stop` came; it goes on in the background.
        BusyError
            Where the call before it is still running at the end of the limit.
        MicroscopeError
            What the vendor's own error means.
        """
        deadline_s = time.monotonic() + timeout_s
        if self._last is not None and not wait([self._last], timeout_s).done:
            raise BusyError(self._device, command, "the command before it is still running; wait for it")
        self._stopping.clear()
        future: Future[Answer] = Future()
        self._last = future
        self._calls.put((future, call))
        while not wait([future], max(min(LOOK_EVERY_S, deadline_s - time.monotonic()), 0.0)).done:
            if self._stopping.is_set():
                raise StoppedError(self._device, command, "stopped")
            if time.monotonic() >= deadline_s:
                raise MicroscopeTimeoutError(
                    self._device, command, f"no answer within {timeout_s:.3g} s; read the state anew"
                )
        try:
            return future.result()
        except MicroscopeError:
            raise
        except self._errors as error:
            raise self.translated(command, error) from error

    def stop(self, afterwards: Callable[[], object]) -> None:
        """End the waiting for the running call; ``afterwards`` is called once it has ended."""
        self._stopping.set()
        self._calls.put((Future(), afterwards))

    def close(self) -> None:
        """Let the thread end after what it was given."""
        self._calls.put(None)

    def translated(self, command: str, error: Exception) -> MicroscopeError:
        """What a vendor's error means, judged by its words; an unknown one is a plain failure."""
        words = str(error) or type(error).__name__
        for parts, kind in _SAID:
            if any(part in words.lower() for part in parts):
                return kind(self._device, command, words)
        return MicroscopeError(self._device, command, words)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - handed to the one who waits for it
                future.set_exception(error)
