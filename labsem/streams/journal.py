"""What a publisher needs to know of a journal, wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class Bounds:
    """A journal's epoch and the first and last sequence that it holds.

    Both are 0 where nothing was ever written; ``first`` is ``last + 1`` where all was pruned.
    """

    epoch: UUID
    first: int
    last: int


@dataclass(frozen=True)
class Entry:
    """One journalled message; envelope and payload are the JSON text that is sent."""

    sequence: int
    topic: str
    envelope: str
    payload: str


class JournalReader(Protocol):
    """The reading side of one stream's journal."""

    @property
    def stream(self) -> str:
        """The stream's id."""

    @property
    def transient(self) -> tuple[type[Exception], ...]:
        """Errors of :meth:`bounds` and :meth:`read` that pass by themselves (a busy or unreachable database)."""

    def bounds(self) -> Bounds:
        """Epoch, first and last, as of one moment."""

    def read(self, after: int, limit: int) -> Sequence[Entry]:
        """At most ``limit`` committed entries with a sequence over ``after``, in order."""
