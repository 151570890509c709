"""Ids by their beginning, as tables show them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from labsem.store.errors import NotFoundError, RefusedError
from labsem.store.tables import ActRow, FrameRow

HEX_DIGITS = 32

_COLUMNS: dict[str, InstrumentedAttribute[UUID]] = {"frame": FrameRow.frame_id, "rescan": ActRow.act_id}


def identify(session: Session, kind: Literal["frame", "rescan"], beginning: str) -> UUID:
    """The only id of its kind that begins so.

    Parameters
    ----------
    beginning
        One to 32 hexadecimal digits; hyphens are overlooked.

    Raises
    ------
    NotFoundError
        Where none begins so.
    RefusedError
        Where several do.
    """
    digits = beginning.replace("-", "")
    lowest, highest = (UUID(digits.ljust(HEX_DIGITS, filler)) for filler in "0f")
    column = _COLUMNS[kind]
    found = session.scalars(
        select(column).where(column.between(lowest, highest)).order_by(column).limit(2)
    ).all()
    if not found:
        raise NotFoundError(
            f"no {kind} has an id that begins with {beginning}; list them: labsem {kind}s list"
        )
    if len(found) > 1:
        raise RefusedError(
            f"several ids of {kind}s begin with {beginning}, {found[0]} and {found[1]} among them; give more of it"
        )
    return found[0]
