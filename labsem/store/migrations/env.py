"""Alembic's environment: one transaction that is undone as a whole, alone in the database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine, text

from labsem.store.errors import StoreVersionError
from labsem.store.tables import Base

ADVISORY_LOCK = 7_240_181
"""Any number, the same in all versions: two upgrades of one PostgreSQL database follow each other."""


def _pragma(connection: Connection, statement: str) -> None:
    """Run a PRAGMA outside any transaction: inside one, foreign_keys cannot be switched."""
    driver_connection = connection.connection.driver_connection
    if driver_connection is not None:
        driver_connection.execute(statement)


def _migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    with connection.begin():
        if not sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        if sqlite:
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise StoreVersionError(
                    f"the upgrade would leave {len(broken)} rows without the row they belong to "
                    f"(first in table {broken[0][0]}); nothing was changed, please report this"
                )


def _run(engine: Engine) -> None:
    with engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            _migrate(connection)
            return
        # A batch step copies a table and drops the old one; with foreign keys on, that deletes every child row.
        _pragma(connection, "PRAGMA foreign_keys = OFF")
        try:
            _migrate(connection)
        finally:
            _pragma(connection, "PRAGMA foreign_keys = ON")


_run(context.config.attributes["engine"])
