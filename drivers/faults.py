"""Failures on demand of the virtual microscope: what a real instrument does now and then, when a test asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from drivers.errors import (
    BusyError,
    DisconnectedError,
    LicenceError,
    MicroscopeError,
    MicroscopeTimeoutError,
    StageError,
    TransferError,
    VacuumError,
)

FaultKind = Literal["timeout", "disconnect", "vacuum", "busy", "stuck", "torn", "licence"]

_Make = Callable[[str, str, str], MicroscopeError]
_KINDS: dict[FaultKind, tuple[_Make, str]] = {
    "timeout": (MicroscopeTimeoutError, "no answer in time; read the state anew"),
    "disconnect": (DisconnectedError, "the connection broke; connect again"),
    "vacuum": (VacuumError, "the chamber is vented; pump it down"),
    "busy": (BusyError, "another user has the instrument; try again later"),
    "stuck": (StageError, "the stage stands still on its way; look whether something is in it"),
    "torn": (TransferError, "the frame arrived with lines missing; scan it again"),
    "licence": (LicenceError, "the licence does not cover this; ask the vendor"),
}
_MIDWAY: frozenset[FaultKind] = frozenset({"timeout", "disconnect", "stuck", "torn"})


@dataclass(frozen=True)
class Fault:
    """One failure: its error, whether it strikes on the way, and whether the connection is lost with it."""

    error: MicroscopeError
    midway: bool
    disconnects: bool


class Faults:
    """A queue of failures, each for a command."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._planned: deque[tuple[str, FaultKind]] = deque()

    def plan(self, command: str, kind: FaultKind, times: int = 1) -> None:
        """Let the next ``times`` calls of a command fail so, after the failures planned before."""
        self._planned.extend([(command, kind)] * times)

    def take(self, command: str) -> Fault | None:
        """The failure of this call, where the next one planned is of this command."""
        if not self._planned or self._planned[0][0] != command:
            return None
        _, kind = self._planned.popleft()
        make, detail = _KINDS[kind]
        return Fault(make(self._device, command, detail), kind in _MIDWAY, kind == "disconnect")
