"""Why the daemon does not start, or does not go on."""

from __future__ import annotations


class DaemonError(RuntimeError):
    """A part of the daemon that cannot start or has ended; the message names it and the remedy."""
