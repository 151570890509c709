"""Scheduled sweeps: what is due is a row's matter, so that one of several daemons runs it, once, after any restart."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.errors import LeaseLostError, NotFoundError
from labsem.store.tables import JobRow
from labsem.store.writing import insert_missing


def register(session: Session, name: str, every_s: float) -> None:
    """Make a job known, due at once where it is new; a new interval counts from its last run."""
    moment = clock.now(session)
    values = {"name": name, "every_s": every_s, "next_due_at": moment}
    if insert_missing(session, JobRow, values):
        return
    row = session.get_one(JobRow, name, with_for_update=True, populate_existing=True)
    if row.every_s != every_s:
        row.every_s = every_s
        if row.last_run_at is not None:
            row.next_due_at = row.last_run_at + timedelta(seconds=every_s)
        session.flush()


def due(session: Session) -> tuple[str, ...]:
    """Jobs that are to run now and that nobody runs."""
    moment = clock.now(session)
    return tuple(
        session.scalars(
            select(JobRow.name)
            .where(
                JobRow.next_due_at <= moment,
                or_(JobRow.lease_until.is_(None), JobRow.lease_until <= moment),
            )
            .order_by(JobRow.next_due_at, JobRow.name)
        )
    )


def take(session: Session, name: str, owner: str, lease_s: float) -> bool:
    """Take a due job, until the lease runs out; False where it is not due, or another runs it.

    Raises
    ------
    NotFoundError
        Where no such job is registered.
    """
    row = session.get(JobRow, name, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFoundError(f"job {name!r} is not registered")
    moment = clock.now(session)
    if row.next_due_at > moment or (row.lease_until is not None and row.lease_until > moment):
        return False
    row.leased_by, row.lease_until = owner, moment + timedelta(seconds=lease_s)
    session.flush()
    return True


def finish(session: Session, name: str, owner: str) -> None:
    """Note that a job has run; it is due again after its interval.

    Raises
    ------
    LeaseLostError
        Where its lease went to another.
    """
    row = session.get(JobRow, name, with_for_update=True, populate_existing=True)
    if row is None or row.leased_by != owner:
        raise LeaseLostError(f"job {name!r} is no longer leased to {owner}; it ran for longer than its lease")
    moment = clock.now(session)
    row.last_run_at, row.next_due_at = moment, moment + timedelta(seconds=row.every_s)
    row.leased_by, row.lease_until = None, None
    session.flush()
