"""Why the daemon does not start, or does not go on."""

from __future__ import annotations

from labsem.streams.stored import StoreCursors

TRANSIENT: tuple[type[Exception], ...] = StoreCursors.transient
"""A database that is busy or away: what was begun is tried again."""


class DaemonError(RuntimeError):
    """A part of the daemon that cannot start or has ended; the message names it and the remedy."""
