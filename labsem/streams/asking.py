"""The asking end: a fresh REQ socket for each attempt, so that no late answer is taken for another's."""

from __future__ import annotations

import json
import time
from typing import TypeVar

import zmq
from pydantic import ValidationError

from labsem.streams.endpoints import connect, loopback
from labsem.streams.errors import RequestRefusedError, ServiceUnavailableError
from schemas.base import Schema
from schemas.requests import Answer, ErrorCode

A = TypeVar("A", bound=Schema)

_BUSY_PAUSE_S = 0.2


class RequestClient:
    """Asks one service; without an answer it asks the same again, which is safe since requests are idempotent.

    It holds no socket between calls and may be used from any thread.

    Parameters
    ----------
    endpoint : str
        The service's ROUTER socket on loopback.
    timeout_s : float
        How long an attempt waits, in seconds.
    attempts : int
        How often it asks before it gives up.

    Raises
    ------
    EndpointError
        Where the endpoint is not loopback.
    """

    def __init__(self, endpoint: str, *, timeout_s: float = 2.0, attempts: int = 3) -> None:
        self.endpoint = loopback(endpoint)
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()

    def ask(
        self,
        request: Schema,
        answer: type[A],
        *,
        timeout_s: float | None = None,
        attempts: int | None = None,
        interrupt: zmq.Socket[bytes] | None = None,
    ) -> A:
        """Send a request and read its answer.

        Parameters
        ----------
        request, answer
            A request of :mod:`schemas.requests` and the model of its result.
        timeout_s, attempts
            In place of the client's own.
        interrupt
            A socket of the calling thread; the call gives up as soon as something waits there.

        Raises
        ------
        ServiceUnavailableError
            Where nobody answered in time.
        RequestRefusedError
            Where the service refused, or answered what this version cannot read.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = self._attempts if attempts is None else attempts
        name = str(getattr(request, "request", type(request).__name__))
        body = request.to_bytes()
        busy: RequestRefusedError | None = None
        for _ in range(attempts):
            raw, interrupted = self._exchange(body, timeout_s, interrupt)
            if interrupted:
                break
            if raw is None:
                continue
            try:
                return _read(raw, answer, name)
            except RequestRefusedError as error:
                if error.code is not ErrorCode.BUSY:
                    raise
                busy = error
                time.sleep(_BUSY_PAUSE_S)
        if busy is not None:
            raise busy
        raise ServiceUnavailableError(self.endpoint, name, attempts, timeout_s)

    def _exchange(
        self, body: bytes, timeout_s: float, interrupt: zmq.Socket[bytes] | None
    ) -> tuple[bytes | None, bool]:
        """The answer (None where none came), and whether the wait was interrupted."""
        with self._context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            connect(socket, self.endpoint)
            socket.send(body)
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            if interrupt is not None:
                poller.register(interrupt, zmq.POLLIN)
            ready = dict(poller.poll(int(timeout_s * 1000)))
            if socket in ready:
                return socket.recv_multipart()[-1], False
            return None, interrupt is not None and interrupt in ready


def _read(raw: bytes, answer: type[A], name: str) -> A:
    try:
        frame = Answer.read(raw)
        if frame.error is not None:
            raise RequestRefusedError(frame.error.code, frame.error.message)
        return answer.read(json.dumps(frame.result))
    except ValidationError as error:
        raise RequestRefusedError(
            ErrorCode.MALFORMED,
            f"the answer to {name!r} is not a {answer.__name__} of this version "
            f"({error.error_count()} fields); install the same labsem on both sides",
        ) from error
