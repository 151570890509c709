"""The answering end: one ROUTER socket, replay and ping on its thread, all else on a handler thread."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
import zmq
from pydantic import ValidationError

from labsem import __version__
from labsem.streams.endpoints import bind
from labsem.streams.errors import RequestRefusedError
from labsem.streams.journal import JournalReader
from labsem.streams.threads import SocketThread
from schemas.base import Schema, utc_now
from schemas.requests import (
    Answer,
    ErrorCode,
    Ping,
    Pong,
    Replay,
    ReplayAnswer,
    ReplayedMessage,
    RequestError,
)

log = structlog.get_logger(__name__)

_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_MAX_WAITING = 256

Handler = Callable[[Any], Schema]


class _Job(NamedTuple):
    route: list[bytes]
    request: Schema
    handler: Handler


def replay(journal: JournalReader, request: Replay) -> ReplayAnswer:
    """Messages after a cursor, or why there are none to go on with."""
    before = journal.bounds()
    entries = journal.read(request.after, request.limit)
    after = journal.bounds()
    if request.epoch != before.epoch or before.epoch != after.epoch:
        return ReplayAnswer(outcome="wrong_epoch", epoch=after.epoch, first=after.first, last=after.last)
    # `before`: an entry committed since must not look like one that was pruned.
    last = max(before.last, entries[-1].sequence) if entries else before.last
    first = entries[0].sequence if entries else last + 1
    if first > request.after + 1:
        return ReplayAnswer(outcome="pruned", epoch=before.epoch, first=first, last=last)
    return ReplayAnswer(
        outcome="messages",
        epoch=before.epoch,
        first=before.first,
        last=last,
        messages=tuple(
            ReplayedMessage(topic=entry.topic, envelope=entry.envelope, payload=entry.payload)
            for entry in entries
        ),
    )


class RequestServer(SocketThread):
    """Answers requests; a repeated one is done again, so handlers are idempotent.

    Parameters
    ----------
    endpoint : str
        Address of the ROUTER socket on loopback; port 0 takes any free one.
    service : str
        Name given in the answer to ping.
    journals : sequence of JournalReader
        The streams whose replay is answered.
    handlers : mapping of request model to callable
        Each takes the request and gives the result; they run one after another in a thread of their own, so
        that a slow one delays neither replay nor heartbeats. One refuses by raising
        :class:`RequestRefusedError`, or any exception that carries an ``ErrorCode`` as ``code``.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        journals: Sequence[JournalReader] = (),
        handlers: Mapping[type[Schema], Handler] | None = None,
    ) -> None:
        super().__init__(f"requests-{service}")
        self.endpoint = endpoint
        self._service = service
        self._journals = {journal.stream: journal for journal in journals}
        self._transient = tuple(kind for journal in journals for kind in journal.transient)
        self._handlers = {
            str(model.model_fields["request"].default): (model, handler)
            for model, handler in (handlers or {}).items()
        }
        self._own: dict[str, tuple[type[Schema], Handler]] = {
            "replay": (Replay, self._replay),
            "ping": (Ping, self._ping),
        }
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=_MAX_WAITING)
        self._done: queue.SimpleQueue[tuple[list[bytes], bytes]] = queue.SimpleQueue()
        self._socket: zmq.Socket[bytes]

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_REQUEST_BYTES)
        try:
            self.endpoint = bind(self._socket, self.endpoint)
        except ValueError:
            self._socket.close(linger=0)
            raise

    def _close(self) -> None:
        self._socket.close(linger=500)

    def _run(self) -> None:
        worker = threading.Thread(target=self._work, name=f"{self.name}-handlers", daemon=True)
        worker.start()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                ready = dict(poller.poll(1000))
                if self._woken in ready:
                    self._drain_wake_up_calls()
                self._send_done()
                if self._socket in ready:
                    self._receive(self._socket.recv_multipart())
        finally:
            self._leave_waiting()
            self._jobs.put(None)

    def _leave_waiting(self) -> None:
        """Drop what was not begun: its askers ask again."""
        while not self._jobs.empty():
            self._jobs.get_nowait()

    def _send_done(self) -> None:
        while not self._done.empty():
            route, answer = self._done.get()
            self._socket.send_multipart([*route, answer])

    def _receive(self, parts: list[bytes]) -> None:
        # REQ sends [identity, empty, body]; a bare DEALER [identity, body].
        route, body = parts[:-1], parts[-1]
        try:
            if len(route) > 2 or (len(route) == 2 and route[1] != b""):
                raise RequestRefusedError(
                    ErrorCode.MALFORMED, "a request is one JSON frame; send it from a REQ socket"
                )
            name, request, handler = self._read(body)
        except RequestRefusedError as error:
            self._socket.send_multipart([*route, refusal(error.code, error.message)])
            return
        job = _Job(route, request, handler)
        if name in self._own:
            self._socket.send_multipart([*route, self._answer(job)])
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            message = f"{_MAX_WAITING} requests wait already; ask again in a few seconds"
            self._socket.send_multipart([*route, refusal(ErrorCode.BUSY, message)])

    def _read(self, body: bytes) -> tuple[str, Schema, Handler]:
        try:
            parsed = json.loads(body)
        except ValueError as error:
            raise RequestRefusedError(ErrorCode.MALFORMED, f"the request is not JSON: {error}") from None
        name = parsed.get("request") if isinstance(parsed, dict) else None
        if not isinstance(name, str):
            raise RequestRefusedError(
                ErrorCode.MALFORMED, "a request is a JSON object whose 'request' names it"
            )
        known = self._own | self._handlers
        if name not in known:
            raise RequestRefusedError(
                ErrorCode.UNKNOWN_REQUEST,
                f"request {name!r} is not answered here; answered are {', '.join(sorted(known))}",
            )
        model, handler = known[name]
        try:
            return name, model.read(body), handler
        except ValidationError as error:
            raise RequestRefusedError(ErrorCode.MALFORMED, complaints(error)) from None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._done.put((job.route, self._answer(job)))
            self.wake()

    def _answer(self, job: _Job) -> bytes:
        try:
            result = job.handler(job.request)
        except RequestRefusedError as error:
            return refusal(error.code, error.message)
        except self._transient as error:
            return refusal(ErrorCode.BUSY, f"the database is busy ({error}); ask again in a few seconds")
        except Exception as error:
            code = getattr(error, "code", None)
            if isinstance(code, ErrorCode):
                return refusal(code, str(error))
            log.exception("request handler failed", request=type(job.request).__name__)
            return refusal(
                ErrorCode.INTERNAL, f"{type(error).__name__} while answering; see the log of {self._service}"
            )
        return b'{"ok":true,"result":' + result.to_bytes() + b"}"

    def _replay(self, request: Replay) -> ReplayAnswer:
        journal = self._journals.get(request.stream)
        if journal is None:
            served = ", ".join(sorted(self._journals)) or "none"
            raise RequestRefusedError(
                ErrorCode.NOT_FOUND, f"stream {request.stream!r} is not served here; served: {served}"
            )
        return replay(journal, request)

    def _ping(self, request: Ping) -> Pong:  # noqa: ARG002
        return Pong(
            version=__version__,
            service=self._service,
            epochs={name: journal.bounds().epoch for name, journal in self._journals.items()},
            clock=utc_now(),
        )


def refusal(code: ErrorCode, message: str) -> bytes:
    """The answer that says no."""
    return Answer(ok=False, error=RequestError(code=code, message=message)).to_bytes()


def complaints(error: ValidationError) -> str:
    """Field and complaint of each error, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in error.errors()
    )
