"""A socket's own thread: opened by the caller, so that errors are raised to it, then run and closed by the thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self
from uuid import uuid4

import structlog
import zmq

from labsem.streams.errors import StreamError

log = structlog.get_logger(__name__)


class SocketThread(ABC):
    """Base of all that owns sockets. Subclasses open them in ``_open``, use them in ``_run``, close them in ``_close``.

    Attributes
    ----------
    failure : Exception or None
        What ended the thread, where it was not :meth:`stop`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Exception | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._waker: zmq.Socket[bytes] | None = None
        self._waker_lock = threading.Lock()
        self._woken: zmq.Socket[bytes]

    def start(self) -> Self:
        """Open the sockets and start the thread; once for each object.

        Raises
        ------
        EndpointError
            Where an address is refused or taken.
        StreamError
            Where it was started before.
        """
        if self._thread is not None:
            raise StreamError(f"{self.name} was started before; make a new one")
        self._open()
        address = f"inproc://labsem-{uuid4()}"
        self._woken = self._context.socket(zmq.PAIR)
        self._woken.bind(address)
        self._waker = self._context.socket(zmq.PAIR)
        self._waker.connect(address)
        self._thread = threading.Thread(target=self._guarded, name=self.name, daemon=True)
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread and close its sockets; harmless when it is not running.

        Raises
        ------
        StreamError
            Where it does not end in time (a callback hangs).
        """
        self._stopping.set()
        self.wake()
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise StreamError(f"{self.name} did not end within {timeout_s:g} s; a callback of it hangs")

    def wake(self) -> None:
        """Have the thread look at once; from any thread."""
        with self._waker_lock:
            if self._waker is not None:
                try:
                    self._waker.send(b"", zmq.NOBLOCK)
                except zmq.Again:  # already more than enough wake-up calls wait
                    return

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.failure = error
            log.exception("stream thread ended", thread=self.name)
        finally:
            self._close()
            with self._waker_lock:
                if self._waker is not None:
                    self._waker.close(linger=0)
                    self._waker = None
            self._woken.close(linger=0)

    def _drain_wake_up_calls(self) -> None:
        while self._woken.poll(0):
            self._woken.recv()

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _run(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...
