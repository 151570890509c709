"""How a microscope fails: one exception for each kind of failure, each saying whether trying again may help."""

from __future__ import annotations

from typing import ClassVar


class MicroscopeError(RuntimeError):
    """A command failed.

    Attributes
    ----------
    device, command
        Which instrument, and what it was asked.
    retryable
        Whether the same command may succeed later without a person's help.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, device: str, command: str, detail: str) -> None:
        super().__init__(f"{device}: {command}: {detail}")
        self.device = device
        self.command = command
        self.detail = detail


class NotConnectedError(MicroscopeError):
    """The driver is not connected; call ``connect`` first."""

    retryable = True


class DisconnectedError(MicroscopeError):
    """The connection broke while the command ran; connect again."""

    retryable = True


class BusyError(MicroscopeError):
    """Another command, or a person at the instrument, has it."""

    retryable = True


class NotReadyError(MicroscopeError):
    """The instrument is in a mode in which it cannot do that; activate it first."""

    retryable = True


class MicroscopeTimeoutError(MicroscopeError):
    """The instrument did not finish in time; where it stands is unknown until it is read anew."""

    retryable = True


class TransferError(MicroscopeError):
    """A frame was scanned but arrived incomplete; scan it again."""

    retryable = True


class FocusError(MicroscopeError):
    """The automatic focus lost the sample; the old working distance was put back."""

    retryable = True


class StoppedError(MicroscopeError):
    """The command was cancelled by ``stop``."""


class OutOfRangeError(MicroscopeError):
    """A value lies outside the instrument's limits; nothing was touched."""

    def __init__(self, device: str, command: str, name: str, value: float, low: float, high: float) -> None:
        super().__init__(
            device, command, f"{name} {value:g} is outside {low:g} to {high:g}; choose a value within"
        )
        self.name, self.value, self.low, self.high = name, value, low, high


class UnsupportedError(MicroscopeError):
    """The instrument has no such function or choice; nothing was touched."""


class VacuumError(MicroscopeError):
    """The column or chamber is not under vacuum; a person must look."""


class StageError(MicroscopeError):
    """The stage did not arrive where it was sent; a person must look before it is moved again."""


class LicenceError(MicroscopeError):
    """The vendor's software is missing, or its licence or account does not allow the command."""
