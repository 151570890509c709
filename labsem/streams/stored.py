"""Journals and cursors in a :class:`labsem.store.Store`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session

from labsem.store import Store, StoreUnavailableError, cursors, journal
from labsem.streams.journal import Bounds, Entry
from labsem.streams.sequencer import Gap, Position

_TRANSIENT: tuple[type[Exception], ...] = (
    OperationalError,
    InterfaceError,
    TimeoutError,
    StoreUnavailableError,
)


class StoreJournal:
    """A stream's journal in a store; made, with a new epoch, where it is missing.

    Parameters
    ----------
    store : Store
        Where it is kept.
    stream : str
        Its id.
    """

    transient = _TRANSIENT

    def __init__(self, store: Store, stream: str) -> None:
        self.stream = stream
        self._store = store
        with store.write() as session:
            journal.ensure(session, stream)

    def bounds(self) -> Bounds:
        """See :class:`~labsem.streams.JournalReader`."""
        with self._store.read() as session:
            head = journal.head(session, self.stream)
        return Bounds(head.epoch, head.first, head.last)

    def read(self, after: int, limit: int) -> list[Entry]:
        """See :class:`~labsem.streams.JournalReader`."""
        with self._store.read() as session:
            messages = journal.unsent(session, self.stream, after, limit)
        return [
            Entry(message.sequence, message.topic, message.envelope.decode(), message.payload.decode())
            for message in messages
        ]


class StoreCursors:
    """Cursors in a store; a handler's session is the store's own, so that what it writes is written once.

    Parameters
    ----------
    store : Store
        Where they are kept.
    reader : str
        Whose cursors: several readers of one store keep them apart.
    """

    transient = _TRANSIENT

    def __init__(self, store: Store, reader: str = cursors.DEFAULT_READER) -> None:
        self._store = store
        self._reader = reader

    def load(self, stream: str) -> Position | None:
        """See :class:`~labsem.streams.Cursors`."""
        with self._store.read() as session:
            cursor = cursors.get(session, stream, reader=self._reader)
        return None if cursor is None else Position(cursor.epoch, cursor.sequence)

    @contextmanager
    def moving(self, stream: str, position: Position) -> Iterator[Session]:
        """See :class:`~labsem.streams.Cursors`."""
        with self._store.write() as session:
            yield session
            cursors.put(session, stream, position.epoch, position.sequence, reader=self._reader)

    def gap(self, gap: Gap) -> None:
        """See :class:`~labsem.streams.Cursors`.

        Of a renewed journal it is not known how many messages were missed: the gap names the first.
        """
        first, last = gap.before.sequence + 1, gap.after.sequence
        if gap.kind == "wrong_epoch":
            last = first
        elif gap.kind == "put_back":
            first, last = gap.after.sequence + 1, gap.before.sequence
        with self._store.write() as session:
            cursors.record_gap(
                session,
                gap.stream,
                epoch=gap.before.epoch,
                first=first,
                last=last,
                reason="journal_put_back" if gap.kind == "put_back" else gap.kind,
                reader=self._reader,
            )
            cursors.put(session, gap.stream, gap.after.epoch, gap.after.sequence, reader=self._reader)
