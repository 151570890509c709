"""Instruments, as their gateways tell of them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.tables import InstrumentRow
from labsem.store.writing import insert_missing
from schemas.acts import InstrumentState, InstrumentStatus

UNKNOWN = "unknown"
"""State of an instrument whose gateway has told nothing yet; a plain source stays so."""


def ensure(
    session: Session, instrument_id: str, *, scale_relative_uncertainty: float | None = None
) -> InstrumentRow:
    """The instrument's row, made where it is missing; a scale uncertainty that is given is kept."""
    insert_missing(
        session,
        InstrumentRow,
        {
            "instrument_id": instrument_id,
            "state": UNKNOWN,
            "can_act": False,
            "scale_relative_uncertainty": scale_relative_uncertainty,
            "scale_verified": False,
            "created_at": clock.now(session),
        },
    )
    row = session.get_one(InstrumentRow, instrument_id)
    if scale_relative_uncertainty is not None and not row.scale_verified:
        row.scale_relative_uncertainty = scale_relative_uncertainty
        session.flush()
    return row


def update(session: Session, status: InstrumentStatus) -> None:
    """Keep what a gateway tells of its instrument."""
    row = ensure(session, status.instrument_id)
    row.state, row.driver = status.state.value, status.driver
    row.can_act = status.capabilities.can_act
    row.status, row.status_at = status.to_bytes(), clock.now(session)
    row.held_by, row.held_until = status.held_by, status.held_until
    session.flush()


def get(session: Session, instrument_id: str) -> InstrumentRow | None:
    """The instrument's row; None where it is unknown."""
    return session.get(InstrumentRow, instrument_id)


def status(session: Session, instrument_id: str) -> InstrumentStatus | None:
    """What its gateway told last; None before that."""
    row = session.get(InstrumentRow, instrument_id)
    return None if row is None or row.status is None else InstrumentStatus.read(row.status)


def all_instruments(session: Session) -> tuple[InstrumentRow, ...]:
    """All, by name."""
    return tuple(session.scalars(select(InstrumentRow).order_by(InstrumentRow.instrument_id)))


def answers_claims(row: InstrumentRow | None) -> bool:
    """Whether a claim of this instrument may be answered: no person has it or asks for it, and it works."""
    return row is None or row.state in {InstrumentState.AVAILABLE.value, UNKNOWN}
