"""A lock that one daemon holds on its SQLite file, on every platform, and loses with its life.

It is a small SQLite file of its own whose write lock is held: SQLite knows each platform's file locks, and the
system frees them when a process is killed. A reader may still see who holds it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Self

from labsem.store.errors import StoreLockedError


class FileLock:
    """Held from construction to :meth:`release`.

    Raises
    ------
    StoreLockedError
        Where another process, or another store of this one, holds it.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("CREATE TABLE IF NOT EXISTS holder (pid INTEGER)")
            self._connection.execute("DELETE FROM holder")
            self._connection.execute("INSERT INTO holder VALUES (?)", (os.getpid(),))
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            holder = self._holder()
            self._connection.close()
            raise StoreLockedError(
                f"{database} is in use by another daemon{holder}; stop that one, or give this one "
                "a data_dir or database_url of its own"
            ) from error

    def _holder(self) -> str:
        try:
            row = self._connection.execute("SELECT pid FROM holder").fetchone()
        except sqlite3.OperationalError:
            return ""
        return f" (process {row[0]})" if row else ""

    def release(self) -> None:
        """Give the lock back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
