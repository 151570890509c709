"""Why a file is not a frame."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class FrameError(ValueError):
    """A file that cannot be analysed; the message names file, reason and remedy.

    Attributes
    ----------
    code
        A short stable word for the kind of error.
    path, reason, remedy
        The parts of the message.
    """

    code: ClassVar[str] = "frame"

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[FrameError], tuple[Path, str, str]]:
        # Errors cross from the inference workers to the daemon.
        return type(self), (self.path, self.reason, self.remedy)


class MissingFrameError(FrameError):
    """Nothing there, or a folder."""

    code = "missing"


class EmptyFrameError(FrameError):
    """No bytes, or an image of no pixels."""

    code = "empty"


class TruncatedFrameError(FrameError):
    """The file ends, or breaks, before its image does."""

    code = "truncated"


class UnsupportedFrameError(FrameError):
    """A format or a kind of pixel that is not read."""

    code = "unsupported"


class FrameTooLargeError(FrameError):
    """More bytes or pixels than the limits allow; nothing was decoded."""

    code = "too_large"


class InvalidFrameError(FrameError):
    """What the file, its sidecar or the caller says cannot be true."""

    code = "invalid"
