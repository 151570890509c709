"""Cursors: how far each reader has come in another's stream, and what it never received."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.tables import CursorRow, GapRow

DEFAULT_READER = "default"


@dataclass(frozen=True)
class Cursor:
    """The last message that a reader has stored."""

    stream: str
    epoch: UUID
    sequence: int
    reader: str = DEFAULT_READER


@dataclass(frozen=True)
class Gap:
    """Messages ``first`` to ``last`` that were not received."""

    stream: str
    epoch: UUID
    first: int
    last: int
    reason: str
    at: datetime
    reader: str = DEFAULT_READER


def get(session: Session, stream: str, *, reader: str = DEFAULT_READER) -> Cursor | None:
    """Cursor of a reader in a stream; None before its first message."""
    row = session.get(CursorRow, (reader, stream))
    return None if row is None else Cursor(stream, row.epoch, row.sequence, reader)


def all_cursors(session: Session) -> tuple[Cursor, ...]:
    """All cursors, by reader and stream."""
    rows = session.scalars(select(CursorRow).order_by(CursorRow.reader, CursorRow.stream))
    return tuple(Cursor(row.stream, row.epoch, row.sequence, row.reader) for row in rows)


def put(session: Session, stream: str, epoch: UUID, sequence: int, *, reader: str = DEFAULT_READER) -> None:
    """Move a cursor, in the transaction that stores the message; it may move back."""
    moment = clock.now(session)
    row = session.get(CursorRow, (reader, stream))
    if row is None:
        row = CursorRow(reader=reader, stream=stream)
        session.add(row)
    row.epoch, row.sequence, row.moved_at = epoch, sequence, moment
    session.flush()


def record_gap(
    session: Session,
    stream: str,
    *,
    epoch: UUID,
    first: int,
    last: int,
    reason: str,
    reader: str = DEFAULT_READER,
) -> None:
    """Note messages that will never come, so that ``labsem doctor`` shows them."""
    session.add(
        GapRow(
            reader=reader,
            stream=stream,
            epoch=epoch,
            first=first,
            last=last,
            reason=reason,
            at=clock.now(session),
        )
    )
    session.flush()


def gaps(session: Session, *, limit: int = 100) -> tuple[Gap, ...]:
    """Gaps, the latest first."""
    rows = session.scalars(select(GapRow).order_by(GapRow.gap_id.desc()).limit(limit))
    return tuple(
        Gap(row.stream, row.epoch, row.first, row.last, row.reason, row.at, row.reader) for row in rows
    )
