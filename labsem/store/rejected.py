"""What could not be processed: messages without an envelope, and trying an item again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.errors import NotFoundError, RefusedError
from labsem.store.inbox import DONE, WAITING, UnreadableError, read_payload
from labsem.store.tables import InboxRow, RejectedRow, SampleRow
from schemas.image import ImageAcquired
from schemas.morphology import SampleState

RAW_LIMIT = 65_536
"""Bytes of a message without an envelope that are kept."""


@dataclass(frozen=True)
class PlainRetry:
    """A plain source's message that a person wants read again."""

    rejected_id: int
    source: str
    raw: bytes


def reject_message(
    session: Session,
    *,
    source: str,
    raw: bytes,
    code: str,
    message: str,
    remedy: str,
    sample_id: str | None = None,
    image_root: str | None = None,
    path: str | None = None,
    plain: bool = False,
) -> int:
    """Keep a message that is no event: garbage, or a plain one (``plain``) whose file cannot be read.

    The same message of the same source is kept once while its item is open. Gives the rejected item's id.
    """
    kept = raw[:RAW_LIMIT]
    same = session.scalars(
        select(RejectedRow).where(
            RejectedRow.source == source,
            RejectedRow.code == code,
            RejectedRow.closed_at.is_(None),
            RejectedRow.inbox_id.is_(None),
            RejectedRow.raw == kept,
        )
    ).first()
    if same is not None:
        same.message, same.remedy, same.at, same.retry_at = message, remedy, clock.now(session), None
        session.flush()
        return same.rejected_id
    item = RejectedRow(
        source=source,
        code=code,
        message=message,
        remedy=remedy,
        raw=kept,
        plain=plain,
        sample_id=sample_id,
        image_root=image_root,
        path=path,
        at=clock.now(session),
    )
    session.add(item)
    session.flush()
    return item.rejected_id


def retry(session: Session, rejected_id: int | None) -> int:
    """Put an item, or all open ones (None), back to work; gives how many.

    Raises
    ------
    NotFoundError
        Where there is no such open item.
    RefusedError
        Where the item named can still not be read, or was never an event.
    """
    query = select(RejectedRow).where(RejectedRow.closed_at.is_(None)).order_by(RejectedRow.rejected_id)
    if rejected_id is None:
        return sum(_retried(session, item) is None for item in session.scalars(query).all())
    chosen = session.scalars(query.where(RejectedRow.rejected_id == rejected_id)).one_or_none()
    if chosen is None:
        raise NotFoundError(f"rejected item {rejected_id} is not open; see labsem frames rejected")
    problem = _retried(session, chosen)
    if problem is not None:
        raise RefusedError(f"rejected item {rejected_id} cannot be tried again: {problem}")
    return 1


def plain_retries(session: Session) -> list[PlainRetry]:
    """Plain messages to be read again; the daemon takes each and closes its item."""
    rows = session.scalars(
        select(RejectedRow)
        .where(RejectedRow.closed_at.is_(None), RejectedRow.retry_at.is_not(None))
        .order_by(RejectedRow.rejected_id)
    )
    return [PlainRetry(row.rejected_id, row.source, row.raw) for row in rows]


def close_rejected(session: Session, rejected_id: int) -> None:
    """Close an item whose message was taken after all."""
    session.execute(
        update(RejectedRow).where(RejectedRow.rejected_id == rejected_id).values(closed_at=clock.now(session))
    )


def _retried(session: Session, item: RejectedRow) -> str | None:
    """Put one item back to work; gives the reason where that cannot be."""
    moment = clock.now(session)
    if item.inbox_id is None:
        if not item.plain:
            return "it is no event; correct its publisher"
        item.retry_at = moment
        session.flush()
        return None
    row = session.get_one(InboxRow, item.inbox_id, with_for_update=True)
    try:
        event = read_payload(row.schema_id, row.payload)
    except UnreadableError as error:
        item.message, item.remedy = error.message, error.remedy
        session.flush()
        return error.message
    row.attempts, row.not_before, row.claimed_by, row.done_at = 0, None, None, None
    if isinstance(event, ImageAcquired):
        row.state, row.sample_id, row.frame_id = WAITING, event.sample_id, event.frame_id
        session.execute(
            update(SampleRow)
            .where(SampleRow.sample_id == event.sample_id)
            .values(state=SampleState.COLLECTING.value)
        )
    else:
        row.state, row.done_at = DONE, moment
    item.closed_at = moment
    session.flush()
    return None
