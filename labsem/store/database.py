"""Opening a database and its transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Self

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from labsem.store import journal, migration
from labsem.store.engines import make_engines, reason
from labsem.store.errors import StoreUnavailableError
from labsem.store.location import parse_url, redacted, refuse_network_share, sqlite_path
from labsem.store.locking import FileLock

Upgrade = Literal["empty", "always", "never"]


class Store:
    """One database, with transactions for writers and for readers.

    Use :meth:`open`; a store may be shared between threads.
    """

    def __init__(self, writer: Engine, reader: Engine, *, url: str, lock: FileLock | None) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = lock
        # A SQLite database in memory is one connection, which threads must take in turns.
        self._turn: AbstractContextManager[object] = threading.RLock() if reader is writer else nullcontext()
        self.url = url
        self.dialect: str = writer.dialect.name

    @classmethod
    def open(cls, url: str, *, lock: bool = False, upgrade: Upgrade = "empty") -> Self:
        """Open a database, making its tables where it is empty.

        Parameters
        ----------
        url
            ``sqlite:///FILE``, ``sqlite://`` (in memory) or ``postgresql://…``.
        lock
            Refuse a second store with a lock on the same SQLite file (several daemons may share a PostgreSQL).
        upgrade
            ``empty``: make the tables of an empty database, refuse an older one; ``always``: upgrade an older one
            too; ``never``: refuse both.

        Raises
        ------
        StoreUnavailableError
            Where it cannot be reached, or a SQLite file lies on a network share.
        StoreLockedError
            Where another daemon has it.
        StoreVersionError
            Where its tables are of another version.
        """
        parsed = parse_url(url)
        shown = redacted(parsed)
        path = sqlite_path(parsed)
        held: FileLock | None = None
        try:
            if path is not None:
                parsed = parsed.set(database=str(path))
                refuse_network_share(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                held = FileLock(path) if lock else None
            writer, reader = make_engines(parsed)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot open {shown}: {error}; set data_dir or database_url to a place that can be written"
            ) from error
        try:
            migration.prepare(writer, shown, upgrade)
        except DBAPIError as error:
            _close(writer, reader, held)
            raise StoreUnavailableError(
                f"cannot open {shown}: {reason(error)}; check database_url and that the server runs"
            ) from error
        except BaseException:
            _close(writer, reader, held)
            raise
        return cls(writer, reader, url=shown, lock=held)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Session of a transaction that commits at the end, and rolls back where an exception leaves it.

        Messages given to :func:`labsem.store.journal.append` are numbered last, so that commit order is
        sequence order and no other lock is taken under a stream's.
        """
        with self._turn, Session(self._writer, expire_on_commit=False) as session:
            yield session
            session.flush()
            journal.write_queued(session)
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Session of a transaction that sees one state of the database and changes nothing."""
        with self._turn, Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    def ping(self) -> None:
        """Check that the database answers.

        Raises
        ------
        StoreUnavailableError
            Where it does not.
        """
        try:
            with self._reader.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        except OperationalError as error:
            raise StoreUnavailableError(f"{self.url} does not answer: {reason(error)}") from error

    def close(self) -> None:
        """Close all connections and give the lock back."""
        _close(self._writer, self._reader, self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(writer: Engine, reader: Engine, lock: FileLock | None) -> None:
    reader.dispose()
    writer.dispose()
    if lock is not None:
        lock.release()
