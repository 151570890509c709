"""What can go wrong between two ends of a stream."""

from __future__ import annotations

from schemas.requests import ErrorCode


class StreamError(Exception):
    """Base of all errors of this package."""


class EndpointError(StreamError, ValueError):
    """An address that is not bound or connected to; the message names it and the remedy."""


class CursorFileError(StreamError):
    """A cursor file that cannot be used; the message names it and the remedy."""


class ServiceUnavailableError(StreamError):
    """Nobody answered at an endpoint.

    Attributes
    ----------
    endpoint : str
        Where it was asked.
    """

    def __init__(self, endpoint: str, request: str, attempts: int, timeout_s: float) -> None:
        self.endpoint = endpoint
        super().__init__(
            f"no answer from {endpoint} to {request!r} ({attempts} attempts of {timeout_s:g} s each); "
            "check that the service runs and that the address is that of its 'requests' setting"
        )


class RequestRefusedError(StreamError):
    """A request that was understood and not done; a handler raises it to refuse.

    Attributes
    ----------
    code : ErrorCode
        What kind of refusal.
    message : str
        Why, and what to do.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code.value}: {message}")
