"""Acts: each transition compares and sets the row, and journals ``ActChanged``, in the caller's transaction.

Asking for a rescan is in :mod:`labsem.store.asking`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, cast
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, or_, select
from sqlalchemy.orm import Session, aliased

from labsem.store import clock, instruments, journal
from labsem.store.errors import ConflictError, NotFoundError
from labsem.store.tables import ActRow, InstrumentRow
from labsem.store.writing import ROW_LOCK
from schemas.acts import (
    OPEN_STATES,
    Act,
    ActChanged,
    ActKind,
    ActOutcome,
    ActState,
    InstrumentState,
    RescanParameters,
    RescanReason,
)
from schemas.image import ImageAcquired
from schemas.plans import Plan

Requester = Literal["policy", "planner", "person"]

_COMMON = (
    "act_id",
    "kind",
    "sample_id",
    "instrument_id",
    "state",
    "revision",
    "reasons",
    "frames_planned",
    "frames_done",
    "frame_before",
    "frame_after",
    "outcome",
    "failure",
    "labels",
)


def get(session: Session, act_id: UUID) -> Act:
    """An act.

    Raises
    ------
    NotFoundError
        Where it is unknown.
    """
    row = session.get(ActRow, act_id)
    if row is None:
        raise _unknown(act_id)
    return to_schema(row)


def approve(session: Session, act_id: UUID) -> Act:
    """Let a requested act be claimed; of one that was approved before, nothing changes.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown, or was denied, cancelled or expired.
    """
    row = _locked(session, act_id)
    state = ActState(row.state)
    if state is ActState.REQUESTED:
        return move(session, row, ActState.APPROVED)
    if state in OPEN_STATES or state is ActState.RESOLVED:
        return to_schema(row)
    raise _conflict(row, "approved")


def deny(session: Session, act_id: UUID, reason: str = "") -> Act:
    """Refuse a requested act; of one that was denied before, nothing changes.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown, or no longer waits for an approval.
    """
    row = _locked(session, act_id)
    if row.state == ActState.DENIED.value:
        return to_schema(row)
    if row.state != ActState.REQUESTED.value:
        raise _conflict(row, "denied", "; cancel one that was approved")
    return move(session, row, ActState.DENIED, failure=reason or "denied")


def cancel(session: Session, act_id: UUID, reason: str = "") -> Act:
    """Take back an act that is not yet running, or a running acquisition: its gateway takes no further frame.

    Of one that was cancelled before, nothing changes.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown, or running or ended.
    """
    row = _locked(session, act_id)
    if row.state == ActState.CANCELLED.value:
        return to_schema(row)
    allowed = {ActState.REQUESTED, ActState.APPROVED}
    if row.kind == ActKind.ACQUISITION.value:
        allowed.add(ActState.RUNNING)
    if ActState(row.state) not in allowed:
        raise _conflict(row, "cancelled")
    return move(session, row, ActState.CANCELLED, failure=reason or "cancelled")


def claim(session: Session, instrument_id: str, claim_id: UUID, *, running_for_s: float) -> Act | None:
    """Give an instrument its next approved act, which is then running; None where there is none.

    The same ``claim_id`` gets the same act again, so that a gateway that heard no answer may ask again. Nothing
    is given while a person has the instrument, or asks for it. Rescans come before plans, and one plan runs at a
    time: rescans are given in between.
    """
    before = session.scalars(select(ActRow).where(ActRow.claim_id == claim_id)).one_or_none()
    if before is not None:
        if before.instrument_id != instrument_id:
            raise ConflictError(f"claim {claim_id} was made for instrument {before.instrument_id!r}")
        return to_schema(before) if before.state == ActState.RUNNING.value else None
    instrument = session.get(InstrumentRow, instrument_id, with_for_update=ROW_LOCK, populate_existing=True)
    if not instruments.answers_claims(instrument):
        return None
    moment = clock.now(session)
    row = session.scalars(
        select(ActRow)
        .where(
            ActRow.instrument_id == instrument_id,
            ActRow.state == ActState.APPROVED.value,
            or_(ActRow.expires_at.is_(None), ActRow.expires_at > moment),
            or_(ActRow.kind == ActKind.RESCAN.value, ~_plan_runs(instrument_id)),
        )
        .order_by(case((ActRow.kind == ActKind.RESCAN.value, 0), else_=1), ActRow.created_at, ActRow.act_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    row.claim_id = claim_id
    row.running_until = moment + timedelta(seconds=running_for_s)
    return move(session, row, ActState.RUNNING)


def held(session: Session, instrument_id: str) -> tuple[Act, ...]:
    """Running acts that an instrument has claimed."""
    rows = session.scalars(
        select(ActRow)
        .where(ActRow.instrument_id == instrument_id, ActRow.state == ActState.RUNNING.value)
        .order_by(ActRow.created_at)
    )
    return tuple(to_schema(row) for row in rows)


def report(session: Session, act_id: UUID, instrument_id: str, reason: str) -> Act:
    """Note that a running act failed at the instrument; of one that failed before, nothing changes.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown, or is not this instrument's to report.
    """
    row = _locked(session, act_id)
    if row.instrument_id != instrument_id:
        raise ConflictError(
            f"act {act_id} belongs to instrument {row.instrument_id!r}, not to {instrument_id!r}"
        )
    if row.state == ActState.RUNNING.value:
        return move(session, row, ActState.FAILED, failure=reason)
    if row.claim_id is None:
        raise _conflict(row, "reported")
    return to_schema(row)


def frame_arrived(
    session: Session, event: ImageAcquired, *, analysis_within_s: float, running_for_s: float = 300.0
) -> Act | None:
    """Take note of a frame that answers an act, when its event is taken; None where it answers none.

    A running rescan is acquired, and is to be resolved within that time. A running acquisition has one frame more,
    and is acquired with its last. A frame of an act that has ended, or of a rescan that another frame has answered,
    is noted on the row as late; it is analysed like any other.
    """
    if event.act_id is None:
        return None
    row = session.get(ActRow, event.act_id, with_for_update=True, populate_existing=True)
    if row is None or row.frame_after == event.frame_id or str(event.frame_id) in row.late_frames:
        return None if row is None else to_schema(row)
    if row.kind == ActKind.RESCAN.value and row.state in {ActState.RUNNING.value, ActState.APPROVED.value}:
        row.frame_after, row.frames_done = event.frame_id, 1
        row.analysis_until = clock.after(session, analysis_within_s)
        return move(session, row, ActState.ACQUIRED)
    if (
        row.kind == ActKind.ACQUISITION.value
        and row.state == ActState.RUNNING.value
        and event.index is not None
    ):
        row.running_until = clock.after(session, running_for_s)
        return _frame_of_plan(session, row, event.index, analysis_within_s)
    row.late_frames = [*row.late_frames, str(event.frame_id)]
    session.flush()
    return to_schema(row)


def resolve(session: Session, act_id: UUID, outcome: ActOutcome) -> Act:
    """Keep what an acquired act brought.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown, or was not acquired.
    """
    row = _locked(session, act_id)
    if row.state != ActState.ACQUIRED.value:
        raise _conflict(row, "resolved")
    row.outcome = outcome.model_dump(mode="json")
    return move(session, row, ActState.RESOLVED)


def fail(session: Session, act_id: UUID, reason: str) -> Act:
    """End an open act whose frame was rejected, or cannot be compared.

    Raises
    ------
    NotFoundError, ConflictError
        Where it is unknown or has ended.
    """
    row = _locked(session, act_id)
    if ActState(row.state) not in OPEN_STATES:
        raise _conflict(row, "failed")
    return move(session, row, ActState.FAILED, failure=reason)


def sweep(session: Session) -> tuple[Act, ...]:
    """End the acts whose deadline is over, by the database's clock; gives those that it ended."""
    moment = clock.now(session)
    rows = session.scalars(
        select(ActRow).where(_overdue(moment)).order_by(ActRow.act_id).with_for_update(skip_locked=True)
    ).all()
    return tuple(_end_overdue(session, row) for row in rows)


def open_for_sample(session: Session, sample_id: str) -> tuple[Act, ...]:
    """Acts of a sample that still expect something."""
    states = [state.value for state in OPEN_STATES]
    rows = session.scalars(
        select(ActRow)
        .where(ActRow.sample_id == sample_id, ActRow.state.in_(states))
        .order_by(ActRow.created_at)
    )
    return tuple(to_schema(row) for row in rows)


def announce(session: Session, row: ActRow) -> Act:
    """Store the row as it stands and journal that it changed."""
    session.flush()
    act = to_schema(row)
    journal.append(session, row.stream, ActChanged(**{name: getattr(act, name) for name in _COMMON}))
    return act


def to_schema(row: ActRow) -> Act:
    """The row as it crosses boundaries."""
    return Act(
        act_id=row.act_id,
        kind=ActKind(row.kind),
        sample_id=row.sample_id,
        instrument_id=row.instrument_id,
        state=ActState(row.state),
        revision=row.revision,
        reasons=tuple(RescanReason(reason) for reason in row.reasons),
        parameters=RescanParameters.model_validate(row.parameters),
        plan=None if row.plan is None else Plan.model_validate(row.plan),
        requested_by=cast(Requester, row.requested_by),
        frame_before=row.frame_before,
        frame_after=row.frame_after,
        frames_planned=row.frames_planned,
        frames_done=row.frames_done,
        created_at=row.created_at,
        expires_at=row.expires_at,
        running_until=row.running_until,
        ended_at=row.ended_at,
        outcome=None if row.outcome is None else ActOutcome.model_validate(row.outcome),
        failure=row.failure,
        late_frames=tuple(UUID(frame) for frame in row.late_frames),
        labels=tuple(row.labels),
    )


def _frame_of_plan(session: Session, row: ActRow, index: int, analysis_within_s: float) -> Act:
    """Count a frame of a running acquisition; a frame that came before changes nothing."""
    if index < row.frames_done:
        return to_schema(row)
    row.frames_done = index + 1
    if row.frames_done < row.frames_planned:
        row.revision += 1
        return announce(session, row)
    row.analysis_until = clock.after(session, analysis_within_s)
    return move(session, row, ActState.ACQUIRED)


def _plan_runs(instrument_id: str) -> ColumnElement[bool]:
    running = aliased(ActRow)
    return (
        select(running.act_id)
        .where(
            running.instrument_id == instrument_id,
            running.kind == ActKind.ACQUISITION.value,
            running.state == ActState.RUNNING.value,
        )
        .exists()
    )


def _overdue(moment: datetime) -> ColumnElement[bool]:
    in_a_persons_hands = (
        select(InstrumentRow.instrument_id)
        .where(
            InstrumentRow.instrument_id == ActRow.instrument_id,
            InstrumentRow.state.in_([InstrumentState.HELD.value, InstrumentState.HOLD_REQUESTED.value]),
        )
        .exists()
    )
    return or_(
        and_(
            ActRow.state.in_([ActState.REQUESTED.value, ActState.APPROVED.value]),
            ActRow.expires_at <= moment,
        ),
        and_(ActRow.state == ActState.RUNNING.value, ActRow.running_until <= moment, ~in_a_persons_hands),
        and_(ActRow.state == ActState.ACQUIRED.value, ActRow.analysis_until <= moment),
    )


def _end_overdue(session: Session, row: ActRow) -> Act:
    if row.state == ActState.RUNNING.value:
        return move(session, row, ActState.FAILED, failure="no frame came in time")
    if row.state == ActState.ACQUIRED.value:
        return move(session, row, ActState.FAILED, failure="the frame was not analysed in time")
    return move(session, row, ActState.EXPIRED, failure="not begun in time")


def _locked(session: Session, act_id: UUID) -> ActRow:
    """The row as it stands now, and nobody else's until the transaction ends: what is compared is what is set."""
    row = session.get(ActRow, act_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise _unknown(act_id)
    return row


def move(session: Session, row: ActRow, state: ActState, *, failure: str | None = None) -> Act:
    """Set a locked row's state, and tell of it."""
    row.state = state.value
    row.revision += 1
    if state not in OPEN_STATES:
        row.ended_at = clock.now(session)
    if failure is not None:
        row.failure = failure
    return announce(session, row)


def _unknown(act_id: UUID) -> NotFoundError:
    return NotFoundError(f"act {act_id} is not known; labsem rescans list shows those that are")


def _conflict(row: ActRow, wanted: str, remedy: str = "") -> ConflictError:
    return ConflictError(f"act {row.act_id} is {row.state} and cannot be {wanted}{remedy}")
