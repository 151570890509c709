"""Engines: on SQLite one for writers and one for readers, since they begin a transaction in different ways."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

BUSY_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 10


def make_engines(url: URL) -> tuple[Engine, Engine]:
    """Writer and reader of a database; the same engine where a SQLite database lies in memory."""
    if url.drivername.startswith("sqlite"):
        if not url.database or url.database == ":memory:":
            engine = sqlite_engine(url, begin="BEGIN IMMEDIATE")
            return engine, engine
        return (
            sqlite_engine(url, begin="BEGIN IMMEDIATE"),
            sqlite_engine(url, begin="BEGIN", read_only=True),
        )
    writer = create_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "options": "-c synchronous_commit=on -c timezone=UTC",
        },
    )
    # A page of several queries sees one state of the database, as it does on SQLite.
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return writer, reader


def reason(error: DBAPIError) -> str:
    """What the database's driver says, in one line."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


def sqlite_engine(url: URL, *, begin: str, read_only: bool = False) -> Engine:
    """Engine whose transactions begin with the statement given.

    The driver's own way begins one only at the first change, which lets two writers read the same number; and a
    writer's BEGIN IMMEDIATE on a reader's connection would lock writers out while a page is read.
    """
    in_memory = not url.database or url.database == ":memory:"
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
    engine = create_engine(
        url,
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        **options,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
