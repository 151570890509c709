"""The inbox: each event once, the work that frames mean under leases, and what could not be processed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid5

from pydantic import ValidationError
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from labsem.store import clock, cursors
from labsem.store.errors import LeaseLostError
from labsem.store.tables import FrameRow, InboxRow, RejectedRow
from labsem.store.writing import insert_missing
from schemas.base import Schema
from schemas.envelope import Envelope
from schemas.image import ImageAcquired
from schemas.registry import UnsupportedSchemaError, event_model, schema_id

WAITING, LEASED, DONE, REJECTED = "waiting", "leased", "done", "rejected"
PENDING = (WAITING, LEASED)

_PLAIN_FRAMES = UUID("3f1f3a1e-5c9b-5f0e-9a64-0d9f7c1f2b10")


@dataclass(frozen=True)
class Taken:
    """What became of a message; act on ``payload`` only where the outcome is ``new``."""

    outcome: Literal["new", "known", "rejected"]
    payload: Schema | None
    inbox_id: int | None
    reason: str = ""


@dataclass(frozen=True)
class Leased:
    """A frame to be analysed, until the lease runs out."""

    inbox_id: int
    stream: str
    event: ImageAcquired
    payload: bytes
    attempts: int
    plain: bool


@dataclass(frozen=True)
class Counts:
    """Frames that wait, are leased and are done, and open rejected items."""

    waiting: int
    leased: int
    done: int
    rejected: int


class UnreadableError(ValueError):
    """A payload that this version cannot read."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


def read_payload(schema: str, payload: bytes) -> Schema:
    """Parse an event's payload.

    Raises
    ------
    UnreadableError
        ``unsupported_schema`` where its name or major version is unknown, ``malformed`` where it does not fit.
    """
    try:
        return event_model(schema).read(payload)
    except UnsupportedSchemaError as error:
        raise UnreadableError(
            "unsupported_schema", str(error), "upgrade labsem, then labsem frames retry"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "payload"
        raise UnreadableError(
            "malformed",
            f"{schema}: {field}: {first['msg']} ({error.error_count()} errors)",
            "correct the publisher; the message as it came is kept",
        ) from error


def take(session: Session, envelope: Envelope, payload: bytes, *, reader: str | None = None) -> Taken:
    """Store an event of a journalled stream once, whatever it is; it may come any number of times.

    A frame's event becomes waiting work; another event is stored as done, for the caller to act on. One that
    cannot be read is a rejected item. With ``reader``, that reader's cursor moves in the same transaction.

    An event is known by stream, epoch, sequence *and* event id: a journal that was put back by hand numbers new
    events as old ones, and they must not be lost.
    """
    if reader is not None:
        cursors.put(session, envelope.stream, envelope.epoch, envelope.sequence, reader=reader)
    key = f"{envelope.stream}/{envelope.epoch}/{envelope.sequence}/{envelope.event_id}"
    values: dict[str, object] = {
        "stream": envelope.stream,
        "epoch": envelope.epoch,
        "sequence": envelope.sequence,
        "event_id": envelope.event_id,
        "message_key": key,
        "schema_id": envelope.schema_id,
        "plain": False,
        "payload": payload,
    }
    try:
        event = read_payload(envelope.schema_id, payload)
    except UnreadableError as error:
        if not _insert(session, values, REJECTED):
            return _known(session, key)
        row = _by_key(session, key)
        _add_rejected(session, row, code=error.code, message=error.message, remedy=error.remedy)
        return Taken("rejected", None, row.inbox_id, error.message)
    return _take_event(session, values, event)


def take_plain(session: Session, *, source: str, raw: bytes, event: ImageAcquired) -> Taken:
    """Store the event that was made from a plain source's message.

    It is known by source, hash of the message and hash of the file: the same message about a file that was
    replaced since is new. Give the event the id that :func:`plain_frame_id` makes.
    """
    digest = hashlib.sha256(raw).hexdigest()
    values: dict[str, object] = {
        "stream": source,
        "epoch": None,
        "sequence": None,
        "event_id": None,
        "message_key": f"plain/{source}/{digest}/{event.sha256}",
        "schema_id": schema_id(event),
        "plain": True,
        "payload": event.to_bytes(),
    }
    return _take_event(session, values, event)


def plain_frame_id(source: str, raw: bytes, file_sha256: str) -> UUID:
    """Frame id of a plain source's message: the same for the same message about the same file."""
    return uuid5(_PLAIN_FRAMES, f"{source}/{hashlib.sha256(raw).hexdigest()}/{file_sha256}")


def lease(session: Session, *, owner: str, lease_s: float) -> Leased | None:
    """Take the oldest frame that waits, or whose lease ran out; commit before the work begins.

    No transaction stays open over the seconds of a network: the lease does it, renewed by :func:`renew`.
    """
    moment = clock.now(session)
    row = session.scalars(
        select(InboxRow)
        .where(
            or_(
                and_(
                    InboxRow.state == WAITING,
                    or_(InboxRow.not_before.is_(None), InboxRow.not_before <= moment),
                ),
                and_(InboxRow.state == LEASED, InboxRow.lease_until <= moment),
            )
        )
        .order_by(InboxRow.inbox_id)
        .limit(1)
        .with_for_update(skip_locked=True)  # on SQLite nothing is rendered, and nothing is needed
    ).one_or_none()
    if row is None:
        return None
    row.state, row.claimed_by = LEASED, owner
    row.lease_until = moment + timedelta(seconds=lease_s)
    row.attempts += 1
    session.flush()
    event = ImageAcquired.read(row.payload)
    return Leased(row.inbox_id, row.stream, event, row.payload, row.attempts, row.plain)


def renew(session: Session, inbox_id: int, owner: str, lease_s: float) -> None:
    """Lengthen a lease.

    Raises
    ------
    LeaseLostError
        Where it went to another.
    """
    _mine(session, inbox_id, owner).lease_until = clock.after(session, lease_s)
    session.flush()


def finish(session: Session, inbox_id: int, owner: str) -> None:
    """Mark the work done, in the transaction that stores its result.

    Raises
    ------
    LeaseLostError
        Where the lease went to another; the transaction must be rolled back.
    """
    row = _mine(session, inbox_id, owner)
    row.state, row.lease_until, row.done_at = DONE, None, clock.now(session)
    session.flush()


def release(session: Session, inbox_id: int, owner: str, *, delay_s: float = 0.0) -> None:
    """Give the work back, to be taken again after a delay.

    Raises
    ------
    LeaseLostError
        Where the lease went to another.
    """
    row = _mine(session, inbox_id, owner)
    row.state, row.claimed_by, row.lease_until = WAITING, None, None
    row.not_before = clock.after(session, delay_s) if delay_s > 0 else None
    session.flush()


def reject(session: Session, inbox_id: int, owner: str, *, code: str, message: str, remedy: str) -> int:
    """Set a frame aside that cannot be analysed; gives the rejected item's id.

    Raises
    ------
    LeaseLostError
        Where the lease went to another.
    """
    row = _mine(session, inbox_id, owner)
    row.state, row.lease_until, row.done_at = REJECTED, None, clock.now(session)
    return _add_rejected(session, row, code=code, message=message, remedy=remedy)


def requeue_owner(session: Session, owner_prefix: str) -> int:
    """Give back all leases of owners whose name begins so, which are known to be dead; gives how many."""
    given_back = session.execute(
        update(InboxRow)
        .where(InboxRow.state == LEASED, InboxRow.claimed_by.startswith(owner_prefix, autoescape=True))
        .values(state=WAITING, claimed_by=None, lease_until=None)
        .returning(InboxRow.inbox_id)
    ).all()
    return len(given_back)


def counts(session: Session) -> Counts:
    """How much there is."""
    found = session.execute(
        select(InboxRow.state, func.count()).where(InboxRow.frame_id.is_not(None)).group_by(InboxRow.state)
    )
    frames = {state: count for state, count in found}  # noqa: C416 - dict() of rows does not type-check
    rejected = session.scalar(select(func.count()).where(RejectedRow.closed_at.is_(None))) or 0
    return Counts(frames.get(WAITING, 0), frames.get(LEASED, 0), frames.get(DONE, 0), rejected)


def prune(session: Session, *, older_than_s: float) -> int:
    """Delete done events older than that, but frames and what was once rejected; gives how many."""
    oldest = clock.after(session, -older_than_s)
    told_of = select(RejectedRow.inbox_id).where(RejectedRow.inbox_id.is_not(None))
    pruned = session.execute(
        delete(InboxRow)
        .where(
            InboxRow.state == DONE,
            InboxRow.frame_id.is_(None),
            InboxRow.received_at < oldest,
            InboxRow.inbox_id.not_in(told_of),
        )
        .returning(InboxRow.inbox_id)
    ).all()
    return len(pruned)


def _take_event(session: Session, values: dict[str, object], event: Schema) -> Taken:
    key = str(values["message_key"])
    values["sample_id"] = getattr(event, "sample_id", None)
    state = DONE
    again = False
    if isinstance(event, ImageAcquired):
        values["frame_id"] = event.frame_id
        again = _frame_known(session, event.frame_id)
        state = DONE if again else WAITING
    if not _insert(session, values, state):
        return _known(session, key)
    inbox_id = _by_key(session, key).inbox_id
    if again:
        return Taken("known", event, inbox_id, "the frame came before under another event")
    return Taken("new", event, inbox_id)


def _insert(session: Session, values: dict[str, object], state: str) -> bool:
    moment = clock.now(session)
    return insert_missing(
        session,
        InboxRow,
        {
            "sample_id": None,
            "frame_id": None,
            **values,
            "state": state,
            "attempts": 0,
            "received_at": moment,
            "done_at": moment if state == DONE else None,
        },
    )


def _by_key(session: Session, key: str) -> InboxRow:
    return session.scalars(select(InboxRow).where(InboxRow.message_key == key)).one()


def _known(session: Session, key: str) -> Taken:
    return Taken("known", None, _by_key(session, key).inbox_id, "the same message came before")


def _frame_known(session: Session, frame_id: UUID) -> bool:
    waiting = select(InboxRow.inbox_id).where(InboxRow.frame_id == frame_id, InboxRow.state != REJECTED)
    stored = select(FrameRow.frame_id).where(FrameRow.frame_id == frame_id)
    return (
        session.execute(waiting.limit(1)).first() is not None or session.execute(stored).first() is not None
    )


def _mine(session: Session, inbox_id: int, owner: str) -> InboxRow:
    row = session.get(InboxRow, inbox_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != LEASED or row.claimed_by != owner:
        raise LeaseLostError(
            f"inbox item {inbox_id} is no longer leased to {owner}: its lease ran out and another took it; "
            "raise daemon.lease_s if this happens often"
        )
    return row


def _add_rejected(session: Session, row: InboxRow, *, code: str, message: str, remedy: str) -> int:
    place: ImageAcquired | None = None
    if row.frame_id is not None:
        place = ImageAcquired.read(row.payload)
    item = RejectedRow(
        inbox_id=row.inbox_id,
        source=row.stream,
        code=code,
        message=message,
        remedy=remedy,
        raw=row.payload,
        plain=False,
        sample_id=row.sample_id,
        image_root=place.image_root if place else None,
        path=place.path if place else None,
        frame_id=row.frame_id,
        at=clock.now(session),
    )
    session.add(item)
    session.flush()
    return item.rejected_id
