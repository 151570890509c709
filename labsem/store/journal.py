"""Journals: messages that are numbered without gaps, kept, sent by one sender, and read again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import ScalarSelect, delete, func, insert, select, update
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.errors import NotFoundError
from labsem.store.tables import JournalRow, StreamRow
from labsem.store.writing import insert_missing
from schemas.base import Schema
from schemas.envelope import Envelope, Heartbeat, topic
from schemas.registry import event_name, schema_id

DAY_S = 86_400.0
_QUEUE = "labsem.journal"


@dataclass(frozen=True)
class Head:
    """A journal's epoch, and the first and last sequence that it holds.

    Both are 0 before the first message; ``first`` is ``last + 1`` where all messages were pruned.
    """

    stream: str
    epoch: UUID
    first: int
    last: int

    def heartbeat(self) -> Heartbeat:
        """The message that tells of it."""
        return Heartbeat(stream=self.stream, epoch=self.epoch, first=self.first, last=self.last)


@dataclass(frozen=True)
class Message:
    """A journalled message as it goes on the wire."""

    sequence: int
    topic: str
    envelope: bytes
    payload: bytes


@dataclass(frozen=True)
class _Queued:
    event_id: UUID
    payload: Schema
    sample_id: str | None


def ensure(session: Session, stream: str) -> Head:
    """Make the journal of a stream where it is missing, with a new epoch."""
    insert_missing(
        session, StreamRow, {"stream": stream, "epoch": uuid4(), "last": 0, "created_at": clock.now(session)}
    )
    return head(session, stream)


def append(session: Session, stream: str, payload: Schema, *, sample_id: str | None = None) -> UUID:
    """Journal a message with this transaction; gives its event id.

    Its number is taken when :meth:`labsem.store.Store.write` commits, after every other statement: a stream's row
    is then the last lock of each transaction, so that commit order is sequence order and no two transactions
    wait for each other. ``sample_id`` is by default the payload's own.
    """
    event_id = uuid4()
    sample = sample_id if sample_id is not None else getattr(payload, "sample_id", None)
    queue: dict[str, list[_Queued]] = session.info.setdefault(_QUEUE, defaultdict(list))
    queue[stream].append(_Queued(event_id, payload, sample))
    return event_id


def write_queued(session: Session) -> None:
    """Number and insert what :func:`append` queued; the store calls it before it commits.

    Raises
    ------
    NotFoundError
        Where a stream has no journal.
    """
    queue: dict[str, list[_Queued]] = session.info.pop(_QUEUE, {})
    for stream in sorted(queue):
        messages = queue[stream]
        at = clock.now(session)
        taken = session.execute(
            update(StreamRow)
            .where(StreamRow.stream == stream)
            .values(last=StreamRow.last + len(messages))
            .returning(StreamRow.last, StreamRow.epoch)
        ).one_or_none()
        if taken is None:
            raise _no_journal(stream)
        first = taken.last - len(messages) + 1
        rows = []
        for sequence, message in enumerate(messages, first):
            envelope = Envelope(
                schema_id=schema_id(message.payload),
                stream=stream,
                epoch=taken.epoch,
                sequence=sequence,
                event_id=message.event_id,
                sent_at=at,
            )
            rows.append(
                {
                    "stream": stream,
                    "sequence": sequence,
                    "event_id": message.event_id,
                    "topic": topic(event_name(message.payload), message.sample_id),
                    "envelope": envelope.to_bytes(),
                    "payload": message.payload.to_bytes(),
                    "sample_id": message.sample_id,
                    "at": at,
                }
            )
        session.execute(insert(JournalRow), rows)


def head(session: Session, stream: str) -> Head:
    """Epoch and bounds of a journal.

    Raises
    ------
    NotFoundError
        Where the stream has none.
    """
    row = session.execute(
        select(StreamRow.epoch, StreamRow.last, _first(stream)).where(StreamRow.stream == stream)
    ).one_or_none()
    if row is None:
        raise _no_journal(stream)
    epoch, last, first = row
    return Head(stream, epoch, _lowest(first, last), last)


def streams(session: Session) -> tuple[Head, ...]:
    """All journals that are written here."""
    names = session.scalars(select(StreamRow.stream).order_by(StreamRow.stream)).all()
    return tuple(head(session, name) for name in names)


def unsent(session: Session, stream: str, after: int, limit: int = 500) -> list[Message]:
    """Messages with a sequence over ``after``, in order."""
    rows = session.execute(
        select(JournalRow.sequence, JournalRow.topic, JournalRow.envelope, JournalRow.payload)
        .where(JournalRow.stream == stream, JournalRow.sequence > after)
        .order_by(JournalRow.sequence)
        .limit(limit)
    )
    return [Message(*row) for row in rows]


def prune(session: Session, stream: str, *, older_than_s: float, keep_s: float = DAY_S) -> int:
    """Delete messages older than both ages; gives how many. Numbers are never used again."""
    oldest = clock.now(session) - timedelta(seconds=max(older_than_s, keep_s))
    # By sequence, not by time alone: a clock that was set back must not leave a hole in the middle.
    last = session.scalar(
        select(func.max(JournalRow.sequence)).where(JournalRow.stream == stream, JournalRow.at < oldest)
    )
    kept = session.scalar(
        select(func.min(JournalRow.sequence)).where(JournalRow.stream == stream, JournalRow.at >= oldest)
    )
    if last is None:
        return 0
    end = min(last, kept - 1) if kept is not None else last
    pruned = session.execute(
        delete(JournalRow)
        .where(JournalRow.stream == stream, JournalRow.sequence <= end)
        .returning(JournalRow.sequence)
    ).all()
    return len(pruned)


def renew(session: Session, stream: str) -> Head:
    """Empty a journal and give it a new epoch, as after a restored backup.

    Raises
    ------
    NotFoundError
        Where the stream has none.
    """
    row = session.get(StreamRow, stream, with_for_update=True)
    if row is None:
        raise _no_journal(stream)
    session.execute(delete(JournalRow).where(JournalRow.stream == stream))
    row.epoch, row.last = uuid4(), 0
    session.flush()
    return head(session, stream)


def _first(stream: str) -> ScalarSelect[int | None]:
    return select(func.min(JournalRow.sequence)).where(JournalRow.stream == stream).scalar_subquery()


def _lowest(first: int | None, last: int) -> int:
    if first is not None:
        return first
    return last + 1 if last else 0


def _no_journal(stream: str) -> NotFoundError:
    return NotFoundError(
        f"stream {stream!r} has no journal in this database; its publisher makes it at start"
    )
