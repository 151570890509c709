"""A stream's payloads as an iterator, acknowledged as they are used."""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import structlog
from pydantic import ValidationError

from labsem.streams.cursors import SqliteCursors
from labsem.streams.errors import StreamError
from labsem.streams.sequencer import Gap, Position
from labsem.streams.subscriber import Subscriber
from schemas.base import Schema
from schemas.envelope import Envelope
from schemas.morphology import SampleMorphology
from schemas.registry import EVENTS

log = structlog.get_logger(__name__)

_AHEAD = 10_000
_LOOK_S = 0.2


@dataclass
class _Item:
    """One step of a stream's position; without payload or gap where nobody wants the message."""

    stream: str
    position: Position
    payload: Schema | None = None
    gap: Gap | None = None


class _Deferred:
    """Cursors that move when the consumer has used an item, not when it arrives."""

    transient: tuple[type[Exception], ...] = SqliteCursors.transient

    def __init__(self, cursors: SqliteCursors, name: str) -> None:
        self.items: queue.Queue[_Item] = queue.Queue(maxsize=_AHEAD)
        self.closed = False
        self._cursors = cursors
        self._name = name

    def load(self, stream: str) -> Position | None:
        return self._cursors.load(f"{self._name}/{stream}")

    @contextmanager
    def moving(self, stream: str, position: Position) -> Iterator[_Item]:
        item = _Item(stream, position)
        yield item
        self._put(item)

    def gap(self, gap: Gap) -> None:
        self._put(_Item(gap.stream, gap.after, gap=gap))

    def keep(self, positions: dict[str, Position]) -> None:
        for stream, position in positions.items():
            with self._cursors.moving(f"{self._name}/{stream}", position):
                pass

    def _put(self, item: _Item) -> None:
        # A slow consumer holds the thread up; what the socket drops meanwhile is replayed.
        while not self.closed:
            try:
                self.items.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return


class Follower:
    """Iterates over the payloads of a publisher's streams, each at least once and in order.

    The cursor moves past an item when the next one is asked for (or by :meth:`acknowledge`), so that an item whose
    consumer died is given again. It runs from its construction on; use it as a context manager, or close it.

    Parameters
    ----------
    events, requests : str
        The publisher's two addresses on loopback.
    cursors : SqliteCursors
        Where positions are kept, under ``name``.
    name : str
        Tells followers of one file apart.
    kinds : collection of Schema types
        Which payloads are given.
    samples : collection of str, optional
        Of which samples; None: of all, and those that belong to none.
    start : {"first", "now"}
        Where a stream without a cursor is begun.
    timeout_s : float, optional
        The iteration ends when nothing came for so long; None: never.

    Attributes
    ----------
    gaps : list of Gap
        What could not be had.
    """

    def __init__(
        self,
        events: str,
        requests: str,
        cursors: SqliteCursors,
        *,
        name: str,
        kinds: Collection[type[Schema]],
        samples: Collection[str] | None = None,
        start: Literal["first", "now"] = "first",
        timeout_s: float | None = None,
    ) -> None:
        unknown = [kind.__name__ for kind in kinds if kind not in EVENTS.values()]
        if unknown or not kinds:
            names = ", ".join(model.__name__ for model in EVENTS.values())
            raise ValueError(f"kinds {unknown or '()'} are no events; choose among {names}")
        self.name = name
        self.gaps: list[Gap] = []
        self._kinds = {schema_id: model for schema_id, model in EVENTS.items() if model in kinds}
        self._samples = None if samples is None else frozenset(samples)
        self._timeout_s = timeout_s
        self._deferred = _Deferred(cursors, name)
        self._used: dict[str, Position] = {}
        self._revisions: dict[str, int] = {}
        self._subscriber: Subscriber[_Item] = Subscriber(
            name, events, requests, self._deferred, self._take_in, start=start
        ).start()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._deferred.closed

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until all that was published by now was received; False where it takes longer."""
        return self._subscriber.caught_up.wait(timeout_s)

    def take(self, timeout_s: float | None = None) -> Schema | None:
        """Acknowledge the last item and give the next one; None where none came within ``timeout_s``.

        Raises
        ------
        StreamError
            Where the follower was closed, or its thread ended by a fault.
        """
        self.acknowledge()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if self.closed:
                raise StreamError(f"follower {self.name!r} was closed")
            left_s = _LOOK_S if deadline is None else min(_LOOK_S, max(deadline - time.monotonic(), 0))
            try:
                item = self._deferred.items.get(timeout=left_s)
            except queue.Empty:
                self.acknowledge()
                if not self._subscriber.alive and not self.closed:
                    raise StreamError(f"follower {self.name!r} ended") from self._subscriber.failure
                if deadline is not None and time.monotonic() >= deadline:
                    return None
                continue
            self._used[item.stream] = item.position
            if item.gap is not None:
                self.gaps.append(item.gap)
            elif item.payload is not None and self._is_news(item.payload):
                return item.payload

    def acknowledge(self) -> None:
        """Move the cursor past the item that was given last."""
        if self._used:
            self._deferred.keep(self._used)
            self._used = {}

    def close(self) -> None:
        """End it; the item given last is given again next time unless it was acknowledged."""
        self._deferred.closed = True
        self._subscriber.stop()

    def __iter__(self) -> Iterator[Schema]:
        return self

    def __next__(self) -> Schema:
        payload = None if self.closed else self.take(self._timeout_s)
        if payload is None:
            raise StopIteration
        return payload

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_in(self, item: _Item, envelope: Envelope, topic: str, payload: bytes) -> None:
        model = self._kinds.get(envelope.schema_id)
        if model is None:
            return
        try:
            read = model.read(payload)
        except ValidationError as error:
            log.warning("payload refused", topic=topic, schema=envelope.schema_id, error=str(error))
            return
        if self._samples is None or getattr(read, "sample_id", None) in self._samples:
            item.payload = read

    def _is_news(self, payload: Schema) -> bool:
        """Several daemons have no common order: a summary older than one already given is left out."""
        if not isinstance(payload, SampleMorphology):
            return True
        if payload.sample_revision < self._revisions.get(payload.sample_id, 0):
            return False
        self._revisions[payload.sample_id] = payload.sample_revision
        return True
