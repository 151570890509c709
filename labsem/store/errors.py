"""Errors of the store; each message names what failed and the remedy."""

from __future__ import annotations

from schemas.requests import ErrorCode


class StoreError(Exception):
    """Base of the store's errors."""


class StoreUnavailableError(StoreError):
    """The database cannot be opened, or may not lie where it lies."""


class StoreLockedError(StoreError):
    """Another daemon has this SQLite file."""


class StoreVersionError(StoreError):
    """The tables are of another version than this program's."""


class LeaseLostError(StoreError):
    """A lease ran out and the work went to another; what was done under it is to be rolled back."""


class RefusedError(StoreError):
    """A request that is not done; ``code`` is the one that answers it."""

    code = ErrorCode.REFUSED


class NotFoundError(RefusedError):
    """What was asked for is not in the database."""

    code = ErrorCode.NOT_FOUND


class ConflictError(RefusedError):
    """The row's state does not allow what was asked."""

    code = ErrorCode.CONFLICT
