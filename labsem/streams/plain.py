"""A lab's own publisher: bare JSON frames, best effort."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

import structlog
import zmq

from labsem.streams.endpoints import bind, connect, loopback
from labsem.streams.threads import SocketThread

log = structlog.get_logger(__name__)

_BATCH = 500


class PlainSubscriber(SocketThread):
    """Takes one JSON frame, with or without a topic frame before it.

    Parameters
    ----------
    name : str
        Of the source, for logs.
    endpoint : str
        On loopback: the publisher's PUB socket, or with ``bind`` this side's, to which publishers connect.
    on_message : callable
        ``on_message(raw)`` with the bytes of the JSON object, which is not validated further. An error in
        ``transient`` has it tried again; any other ends the thread (see ``failure``).
    bind : bool
        Bind in place of connecting.
    on_garbage : callable, optional
        ``on_garbage(parts, reason)`` for what is no such message.
    transient : tuple of exception types
        Errors that pass by themselves.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        on_message: Callable[[bytes], None],
        *,
        bind: bool = False,
        on_garbage: Callable[[list[bytes], str], None] | None = None,
        transient: tuple[type[Exception], ...] = (),
    ) -> None:
        super().__init__(f"plain-{name}")
        self.endpoint = loopback(endpoint)
        self._log = log.bind(source=name)
        self._on_message = on_message
        self._binds = bind
        self._on_garbage = on_garbage
        self._transient = transient
        self._waiting: deque[list[bytes]] = deque()
        self._socket: zmq.Socket[bytes]

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 10_000)
        self._socket.subscribe(b"")
        try:
            self.endpoint = (bind if self._binds else connect)(self._socket, self.endpoint)
        except ValueError:
            self._socket.close(linger=0)
            raise

    def _close(self) -> None:
        self._socket.close(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while not self._stopping.is_set():
            poller.poll(200 if self._waiting else 1000)
            while len(self._waiting) < _BATCH and self._socket.poll(0):
                self._waiting.append(self._socket.recv_multipart())
            try:
                while self._waiting and not self._stopping.is_set():
                    self._take(self._waiting[0])
                    self._waiting.popleft()
            except self._transient as error:
                self._log.warning("plain message not stored yet", error=str(error))
                self._stopping.wait(0.2)

    def _take(self, parts: list[bytes]) -> None:
        try:
            if len(parts) > 2:
                raise ValueError(
                    f"{len(parts)} parts in place of one JSON frame with at most a topic before it"
                )
            if not isinstance(json.loads(parts[-1]), dict):
                raise ValueError("the JSON is no object")
        except (ValueError, RecursionError) as error:
            self._log.warning("plain message refused", reason=str(error))
            if self._on_garbage is not None:
                self._on_garbage(parts, f"not a plain image event: {error}")
            return
        self._on_message(parts[-1])
