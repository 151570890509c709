"""Samples: what of each is still expected, its revision, and its latest summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, select
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.errors import NotFoundError
from labsem.store.inbox import PENDING
from labsem.store.tables import ActRow, InboxRow, SampleRow, SummaryRow
from labsem.store.writing import ROW_LOCK, insert_missing
from schemas.acts import OPEN_STATES
from schemas.morphology import SampleMorphology, SampleState

LABELS_MAX = 16
OPEN = tuple(state.value for state in OPEN_STATES)


@dataclass(frozen=True)
class Condition:
    """What a summary of the sample must say beside its numbers."""

    sample_id: str
    sample_name: str | None
    labels: tuple[str, ...]
    revision: int
    state: SampleState
    frames_pending: int
    acts_open: int
    settle_at: datetime | None


def ensure(
    session: Session, sample_id: str, *, sample_name: str | None = None, labels: Sequence[str] = ()
) -> None:
    """Make a sample's row where it is missing; a name or labels that are new are kept."""
    values = {
        "sample_id": sample_id,
        "sample_name": sample_name,
        "labels": list(labels)[:LABELS_MAX],
        "revision": 0,
        "state": SampleState.COLLECTING.value,
        "settle_at": None,
        "created_at": clock.now(session),
    }
    if insert_missing(session, SampleRow, values):
        return
    if sample_name is None and not labels:
        return
    row = lock(session, sample_id)
    row.sample_name = sample_name or row.sample_name
    added = [label for label in labels if label not in row.labels]
    if added:
        row.labels = [*row.labels, *added][-LABELS_MAX:]
    session.flush()


def frame_came(
    session: Session,
    sample_id: str,
    *,
    settle_after_s: float,
    sample_name: str | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Note that a frame of the sample arrived: it collects again, and settles no sooner than that from now."""
    ensure(session, sample_id, sample_name=sample_name, labels=labels)
    row = lock(session, sample_id)
    row.state = SampleState.COLLECTING.value
    row.settle_at = clock.after(session, settle_after_s)
    session.flush()


def lock(session: Session, sample_id: str) -> SampleRow:
    """The sample's row, locked until the transaction ends.

    Raises
    ------
    NotFoundError
        Where the sample is unknown.
    """
    row = session.get(SampleRow, sample_id, with_for_update=ROW_LOCK, populate_existing=True)
    if row is None:
        raise unknown_sample(sample_id)
    return row


def bump_revision(session: Session, sample_id: str) -> int:
    """Take the sample's lock and its next revision: a summary with a higher one knows more.

    Raises
    ------
    NotFoundError
        Where the sample is unknown.
    """
    row = lock(session, sample_id)
    row.revision += 1
    session.flush()
    return row.revision


def condition(session: Session, sample_id: str) -> Condition:
    """What is still expected of a sample.

    Raises
    ------
    NotFoundError
        Where the sample is unknown.
    """
    found = session.execute(
        select(SampleRow, pending_frames(SampleRow.sample_id), open_acts(SampleRow.sample_id)).where(
            SampleRow.sample_id == sample_id
        )
    ).one_or_none()
    if found is None:
        raise unknown_sample(sample_id)
    row, pending, acts = found
    return Condition(
        sample_id=row.sample_id,
        sample_name=row.sample_name,
        labels=tuple(row.labels),
        revision=row.revision,
        state=SampleState(row.state),
        frames_pending=pending,
        acts_open=acts,
        settle_at=row.settle_at,
    )


def due_to_settle(session: Session) -> tuple[str, ...]:
    """Samples that collect, of which nothing is expected any more."""
    return tuple(session.scalars(select(SampleRow.sample_id).where(_due(clock.now(session)))))


def settle(session: Session, sample_id: str) -> bool:
    """Set a sample settled where it still is due; the caller then tells its summary."""
    lock(session, sample_id)
    row = session.scalars(
        select(SampleRow).where(SampleRow.sample_id == sample_id, _due(clock.now(session)))
    ).one_or_none()
    if row is None:
        return False
    row.state = SampleState.SETTLED.value
    session.flush()
    return True


def reopen(session: Session, sample_id: str) -> None:
    """Set a sample collecting, since an act of it is open."""
    moment = clock.now(session)
    row = lock(session, sample_id)
    row.state = SampleState.COLLECTING.value
    row.settle_at = row.settle_at or moment
    session.flush()


def record_summary(session: Session, summary: SampleMorphology) -> None:
    """Keep a sample's summary as its latest, unless a later revision is there."""
    moment = clock.now(session)
    row = session.get(SummaryRow, summary.sample_id, with_for_update=ROW_LOCK)
    if row is None:
        row = SummaryRow(sample_id=summary.sample_id, revision=0)
        session.add(row)
    if summary.sample_revision >= row.revision:
        row.revision, row.payload, row.at = summary.sample_revision, summary.to_bytes(), moment
    session.flush()


def pending_frames(sample_id: Any) -> ScalarSelect[int]:
    """Counts frames of a sample that wait or are being analysed."""
    return (
        select(func.count())
        .where(InboxRow.sample_id == sample_id, InboxRow.frame_id.is_not(None), InboxRow.state.in_(PENDING))
        .scalar_subquery()
    )


def open_acts(sample_id: Any) -> ScalarSelect[int]:
    """Counts open acts of a sample."""
    return select(func.count()).where(ActRow.sample_id == sample_id, ActRow.state.in_(OPEN)).scalar_subquery()


def unknown_sample(sample_id: str) -> NotFoundError:
    """The error for a sample without a row."""
    return NotFoundError(f"sample {sample_id!r} is not known; labsem samples lists those that are")


def _due(moment: datetime) -> ColumnElement[bool]:
    return and_(
        SampleRow.state == SampleState.COLLECTING.value,
        SampleRow.settle_at <= moment,
        pending_frames(SampleRow.sample_id) == 0,
        open_acts(SampleRow.sample_id) == 0,
    )
