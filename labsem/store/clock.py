"""The database's clock, by which all deadlines are kept: several daemons share one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

_SQLITE = text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
_POSTGRESQL = text("SELECT clock_timestamp()")


def now(session: Session) -> datetime:
    """The time now, in UTC."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.fromisoformat(session.scalars(_SQLITE).one()).replace(tzinfo=UTC)
    moment: datetime = session.scalars(_POSTGRESQL).one()
    return moment.astimezone(UTC)


def after(session: Session, seconds: float) -> datetime:
    """The time so many seconds from now."""
    return now(session) + timedelta(seconds=seconds)
