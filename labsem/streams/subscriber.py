"""The receiving end of a whole stream: every message once, in order, whoever dies and whenever."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar
from uuid import UUID

import structlog
import zmq
from pydantic import ValidationError

from labsem.streams.asking import RequestClient
from labsem.streams.cursors import Cursors
from labsem.streams.endpoints import connect, loopback
from labsem.streams.errors import RequestRefusedError, ServiceUnavailableError
from labsem.streams.sequencer import Gap, Position, Sequencer, Taken, Unreadable, Verdict
from labsem.streams.threads import SocketThread
from schemas.envelope import HEARTBEAT_TOPIC, Envelope, Heartbeat
from schemas.requests import Ping, Pong, Replay, ReplayAnswer

log = structlog.get_logger(__name__)

S = TypeVar("S")

_REPLAY_TIMEOUT_S = 5.0
_PAUSE_MIN_S = 0.1
_PAUSE_MAX_S = 5.0
_BATCH = 500
_IDLE_S = 1.0


class Subscriber(SocketThread, Generic[S]):
    """Follows the streams of one publisher with a cursor, and asks for replay of what it missed.

    Parameters
    ----------
    name : str
        Of the source, for logs.
    events, requests : str
        The publisher's PUB socket and the ROUTER socket beside it, on loopback. Neither needs to be there yet.
    cursors : Cursors
        Where positions are kept.
    on_message : callable
        ``on_message(session, envelope, topic, payload)`` with the payload's bytes as they came, unread. It runs
        in the transaction that moves the cursor: what it stores in ``session`` is stored exactly once. An
        error in ``cursors.transient`` has the message tried again; any other ends the thread (see ``failure``).
    on_garbage : callable, optional
        ``on_garbage(parts, reason)`` for a multipart that is no message.
    on_gap : callable, optional
        Called after ``cursors.gap``.
    start : {"first", "now"}
        Where a stream without a cursor is begun: with what its journal holds, or with what comes.
    stream : str, optional
        The only stream to take; others are garbage. None takes each that the publisher sends.

    Attributes
    ----------
    caught_up : threading.Event
        Set while nothing is known to be missing.
    """

    def __init__(
        self,
        name: str,
        events: str,
        requests: str,
        cursors: Cursors[S],
        on_message: Callable[[S, Envelope, str, bytes], None],
        *,
        on_garbage: Callable[[list[bytes], str], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        start: Literal["first", "now"] = "first",
        stream: str | None = None,
    ) -> None:
        super().__init__(f"subscriber-{name}")
        self.caught_up = threading.Event()
        self._log = log.bind(source=name)
        self._events = loopback(events)
        self._client = RequestClient(requests, timeout_s=_REPLAY_TIMEOUT_S, attempts=1)
        self._cursors = cursors
        self._on_message = on_message
        self._on_garbage = on_garbage
        self._on_gap = on_gap
        self._from_first = start == "first"
        self._stream = stream
        self._sequencers: dict[str, Sequencer] = {}
        self._epochs: dict[str, UUID] = {}
        self._garbage: deque[tuple[list[bytes], str]] = deque(maxlen=1000)
        self._beat_at: float | None = None
        self._retry_at = 0.0
        self._pause_s = _PAUSE_MIN_S
        self._socket: zmq.Socket[bytes]

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds since the last heartbeat; None before the first."""
        return None if self._beat_at is None else time.monotonic() - self._beat_at

    @property
    def positions(self) -> dict[str, Position]:
        """How far each stream was read."""
        return {name: seq.position for name, seq in list(self._sequencers.items()) if seq.position}

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 10_000)
        self._socket.subscribe(b"")
        try:
            connect(self._socket, self._events)
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
            wait_s = _IDLE_S
            if self._behind:
                wait_s = min(max(self._retry_at - time.monotonic(), 0.0), _IDLE_S)
            poller.poll(int(wait_s * 1000))
            if not self._stopping.is_set():
                self._drain_wake_up_calls()
            try:
                self._receive()
                self._report_garbage()
                if self._behind and time.monotonic() >= self._retry_at:
                    self._catch_up()
            except self._cursors.transient as error:
                self._log.warning("message not stored yet", error=str(error))
                for sequencer in self._sequencers.values():
                    sequencer.behind = True
                self._pause()
            except (ServiceUnavailableError, RequestRefusedError) as error:
                if not self._stopping.is_set():
                    self._log.info("no replay yet", error=str(error))
                self._pause()
            if self._behind:
                self.caught_up.clear()
            else:
                self.caught_up.set()

    @property
    def _behind(self) -> bool:
        return not self._sequencers or any(sequencer.behind for sequencer in self._sequencers.values())

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)

    def _receive(self) -> None:
        for _ in range(_BATCH):
            if self._stopping.is_set() or not self._socket.poll(0):
                return
            parts = self._socket.recv_multipart()
            try:
                message = _parse(parts)
                if self._stream not in (None, message.stream):
                    raise ValueError(f"stream {message.stream!r} in place of {self._stream!r}")
            except ValueError as error:  # pydantic's and Unicode's errors are such
                self._garbage.append((parts, _reason(error)))
                continue
            sequencer = self._sequencer(message.stream, message.epoch)
            if isinstance(message, Heartbeat):
                self._take_heartbeat(sequencer, message)
            elif sequencer.offer(message) is Verdict.TAKE:
                self._store(sequencer, message, parts[0].decode(), parts[2])

    def _report_garbage(self) -> None:
        while self._garbage:
            parts, reason = self._garbage[0]
            self._log.warning("message refused", reason=reason, parts=len(parts))
            if self._on_garbage is not None:
                self._on_garbage(parts, reason)
            self._garbage.popleft()

    def _sequencer(self, stream: str, epoch: UUID) -> Sequencer:
        self._epochs[stream] = epoch
        if stream not in self._sequencers:
            self._sequencers[stream] = Sequencer(stream, self._cursors.load(stream))
        return self._sequencers[stream]

    def _take_heartbeat(self, sequencer: Sequencer, beat: Heartbeat) -> None:
        self._beat_at = time.monotonic()
        if sequencer.heartbeat(beat):
            # A publisher that speaks again is worth asking at once.
            self._retry_at = min(self._retry_at, time.monotonic() + _PAUSE_MIN_S)

    def _store(self, sequencer: Sequencer, envelope: Envelope, topic: str, payload: bytes) -> None:
        position = Position(envelope.epoch, envelope.sequence)
        with self._cursors.moving(envelope.stream, position) as session:
            self._on_message(session, envelope, topic, payload)
        sequencer.moved(position, envelope.event_id)

    def _catch_up(self) -> None:
        if not self._sequencers:
            pong = self._client.ask(Ping(), Pong, interrupt=self._woken)
            for stream, epoch in pong.epochs.items():
                if self._stream in (None, stream):
                    self._sequencer(stream, epoch)
        for sequencer in self._sequencers.values():
            while sequencer.behind and not self._stopping.is_set():
                self._replay(sequencer)
        self._pause_s = _PAUSE_MIN_S
        self._retry_at = 0.0 if self._sequencers else time.monotonic() + _IDLE_S

    def _replay(self, sequencer: Sequencer) -> None:
        request = sequencer.request(self._epochs[sequencer.stream])
        if sequencer.position is None and not self._from_first:
            self._begin_now(sequencer, request)
            return
        answer = self._client.ask(request, ReplayAnswer, interrupt=self._woken)
        for item in sequencer.answered(request, answer):
            if self._stopping.is_set():
                return
            if isinstance(item, Taken):
                self._store(sequencer, item.envelope, item.topic, item.payload)
            elif isinstance(item, Unreadable):
                message = item.message
                parts = [message.topic.encode(), message.envelope.encode(), message.payload.encode()]
                self._garbage.append((parts, item.reason))
            else:
                self._pass_over(sequencer, item)

    def _begin_now(self, sequencer: Sequencer, request: Replay) -> None:
        answer = self._client.ask(
            request.model_copy(update={"limit": 1}), ReplayAnswer, interrupt=self._woken
        )
        position = Position(answer.epoch or request.epoch, answer.last or 0)
        with self._cursors.moving(sequencer.stream, position):
            pass
        sequencer.moved(position)

    def _pass_over(self, sequencer: Sequencer, gap: Gap) -> None:
        self._log.warning(
            "gap in a stream", stream=gap.stream, kind=gap.kind, after=gap.before.sequence, detail=gap.detail
        )
        self._cursors.gap(gap)
        sequencer.moved(gap.after)
        if self._on_gap is not None:
            self._on_gap(gap)


def _parse(parts: list[bytes]) -> Envelope | Heartbeat:
    if len(parts) == 2 and parts[0] == HEARTBEAT_TOPIC.encode():
        return Heartbeat.read(parts[1])
    if len(parts) != 3:
        raise ValueError(f"{len(parts)} parts in place of topic, envelope and payload")
    parts[0].decode()
    return Envelope.read(parts[1])


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        return f"not a message of this protocol: {field or 'envelope'}: {first['msg']}"
    return f"not a message of this protocol: {error}"
