"""Where a subscriber keeps its cursors; a store's are in :mod:`labsem.streams.stored`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

from labsem.streams.errors import CursorFileError
from labsem.streams.sequencer import Gap, Position

S_co = TypeVar("S_co", covariant=True)

_TABLE = "CREATE TABLE IF NOT EXISTS cursor (stream TEXT PRIMARY KEY, epoch TEXT NOT NULL, sequence INTEGER NOT NULL)"
_PUT = "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)"
_BUSY_S = 5.0


class Cursors(Protocol[S_co]):
    """Keeps positions by stream; ``S_co`` is what a message's handler is given to store with."""

    @property
    def transient(self) -> tuple[type[Exception], ...]:
        """Errors that pass by themselves: the same message is tried again."""

    def load(self, stream: str) -> Position | None:
        """The position, None where the stream was never read."""

    def moving(self, stream: str, position: Position) -> AbstractContextManager[S_co]:
        """A transaction that moves the cursor, and commits at its end what was stored in it."""

    def gap(self, gap: Gap) -> None:
        """Record a gap and move the cursor to its end, in one transaction."""


class MemoryCursors:
    """Cursors that are forgotten at the end; their session is None."""

    transient: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}
        self.gaps: list[Gap] = []

    def load(self, stream: str) -> Position | None:
        """See :class:`Cursors`."""
        return self._positions.get(stream)

    @contextmanager
    def moving(self, stream: str, position: Position) -> Iterator[None]:
        """See :class:`Cursors`; the position stays where the handler raises."""
        yield None
        self._positions[stream] = position

    def gap(self, gap: Gap) -> None:
        """See :class:`Cursors`."""
        self.gaps.append(gap)
        self._positions[gap.stream] = gap.after


class SqliteCursors:
    """Cursors in a SQLite file, with whatever else the handler keeps there; the session is the connection.

    Parameters
    ----------
    path : Path
        The file, on a local disk; made with its folder where missing.

    Raises
    ------
    CursorFileError
        Where the file cannot be opened or is no SQLite database.
    """

    transient: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            # WAL with NORMAL: a power cut may take back the last commits, cursor and rows alike.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise CursorFileError(
                f"cursor file {path} cannot be used: {error}; name another file or remove it"
            ) from error

    def load(self, stream: str) -> Position | None:
        """See :class:`Cursors`."""
        with self._lock:
            row = self._connection.execute(
                "SELECT epoch, sequence FROM cursor WHERE stream = ?", (stream,)
            ).fetchone()
        return None if row is None else Position(UUID(row[0]), row[1])

    @contextmanager
    def moving(self, stream: str, position: Position) -> Iterator[sqlite3.Connection]:
        """See :class:`Cursors`."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute(_PUT, (stream, str(position.epoch), position.sequence))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def gap(self, gap: Gap) -> None:
        """See :class:`Cursors`; the file keeps the position only."""
        with self.moving(gap.stream, gap.after):
            return

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
