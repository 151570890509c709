"""Statements that both databases know under different classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from labsem.store.tables import Base

ROW_LOCK: dict[str, Any] = {"key_share": True}
"""``with_for_update`` of a row that others refer to: FOR NO KEY UPDATE, since two transactions that had each
inserted a row below it would wait for each other's FOR UPDATE for ever."""


def insert_missing(session: Session, row: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row where none conflicts with it; gives whether it was inserted.

    Unlike a look before the insert, it holds against another process that does the same.
    """
    table = row.__table__
    assert isinstance(table, Table)  # noqa: S101 - for the type checker: no row maps a join
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return session.execute(statement).first() is not None
