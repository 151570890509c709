"""What a microscope can be asked, and how it fails.

A driver is a class whose construction does no I/O; :meth:`Microscope.connect` opens the instrument. Every call
that waits takes a timeout. A call that cannot be done raises; nothing returns ``False``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.acts import Capabilities
from schemas.image import Acquisition


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


class MicroscopeTimeoutError(MicroscopeError):
    """The instrument did not finish in time; where it stands is unknown until it is read anew."""

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


@dataclass(frozen=True)
class MicroscopeState:
    """Where the instrument stands; everything that a rescan may change and must restore."""

    x_mm: float
    y_mm: float
    hfw_um: float
    working_distance_mm: float
    detector: str
    voltage_kv: float
    dwell_time_ns: float
    frame_averages: int


@dataclass(frozen=True)
class AcquiredFrame:
    """Pixels, and the parameters and place that were really reached."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    acquisition: Acquisition
    position_x_mm: float | None
    position_y_mm: float | None
    scan_rotation_deg: float | None
    acquired_at: datetime


@dataclass(frozen=True)
class Target:
    """What the next frame is to be; null leaves a setting as it is."""

    x_mm: float | None = None
    y_mm: float | None = None
    hfw_um: float | None = None
    detector: str | None = None
    dwell_time_ns: float | None = None
    frame_averages: int | None = None
    working_distance_mm: float | None = None
    autofocus: bool = False

    @property
    def moves(self) -> bool:
        """Whether the stage is to go anywhere."""
        return self.x_mm is not None or self.y_mm is not None


@runtime_checkable
class Microscope(Protocol):
    """The one protocol of all drivers.

    All methods but :meth:`capabilities` and :meth:`close` raise :class:`NotConnectedError` before
    :meth:`connect`, and any other :class:`MicroscopeError` as their work requires. Limits are checked before
    anything is touched.
    """

    @property
    def name(self) -> str:
        """The driver and, where it knows, the device, for messages and status."""
        ...

    def connect(self, timeout_s: float) -> None:
        """Open the instrument; connecting twice is harmless."""
        ...

    def close(self) -> None:
        """Let go of the instrument, leaving it as it stands; closing twice is harmless."""
        ...

    def capabilities(self) -> Capabilities:
        """What it can do. Needs no connection where that is the same for all devices of the kind."""
        ...

    def state(self) -> MicroscopeState:
        """Read anew where it stands."""
        ...

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage to an absolute place; the place reached."""
        ...

    def set_hfw(self, hfw_um: float) -> float:
        """Set the horizontal field width; the width reached."""
        ...

    def set_working_distance(self, working_distance_mm: float) -> None:
        """Focus at a distance."""
        ...

    def autofocus(self, timeout_s: float) -> float:
        """Focus on what is seen; the working distance found, in mm."""
        ...

    def set_detector(self, detector: str) -> None:
        """Choose a detector by its name in the capabilities."""
        ...

    def set_voltage(self, voltage_kv: float) -> None:
        """Set the accelerating voltage."""
        ...

    def set_scan(self, dwell_time_ns: float, frame_averages: int) -> None:
        """Set the dwell time for a pixel and how many frames are averaged."""
        ...

    def acquire(self, timeout_s: float) -> AcquiredFrame:
        """Scan one frame."""
        ...

    def stop(self) -> None:
        """Cancel the running command and blank the beam; may be called from any thread."""
        ...


def check_target(device: str, capabilities: Capabilities, target: Target) -> None:
    """Refuse what an instrument cannot do, before anything is touched.

    Raises
    ------
    OutOfRangeError, UnsupportedError
        Naming the setting, the value and what would do.
    """
    command = "acquire"
    if not capabilities.can_act:
        raise UnsupportedError(
            device, command, "this driver only reads frames; use the instrument's own software"
        )
    limits = (
        ("x_mm", target.x_mm, capabilities.stage_x_range_mm),
        ("y_mm", target.y_mm, capabilities.stage_y_range_mm),
        ("hfw_um", target.hfw_um, (capabilities.hfw_min_um or 0.0, capabilities.hfw_max_um or np.inf)),
        ("frame_averages", target.frame_averages, (1, capabilities.frame_averages_max)),
    )
    for name, value, bounds in limits:
        if value is not None and bounds is not None:
            check_range(device, command, name, value, bounds)
    if target.moves and (capabilities.stage_x_range_mm is None or capabilities.stage_y_range_mm is None):
        raise UnsupportedError(device, command, "the stage cannot be moved; place the sample by hand")
    if target.detector is not None and target.detector not in capabilities.detectors:
        raise UnsupportedError(
            device, command, f"no detector {target.detector!r}; there are {', '.join(capabilities.detectors)}"
        )
    if target.dwell_time_ns is not None:
        if not capabilities.dwell_times_ns:
            raise UnsupportedError(device, command, "the dwell time cannot be set")
        bounds = (min(capabilities.dwell_times_ns), max(capabilities.dwell_times_ns))
        check_range(device, command, "dwell_time_ns", target.dwell_time_ns, bounds)


def check_range(device: str, command: str, name: str, value: float, bounds: tuple[float, float]) -> None:
    """Raise :class:`OutOfRangeError` where ``value`` is outside ``bounds`` or not finite."""
    if not bounds[0] <= value <= bounds[1]:
        raise OutOfRangeError(device, command, name, value, *bounds)


def nearest_dwell_time_ns(capabilities: Capabilities, wanted_ns: float) -> float:
    """The dwell time on offer that is nearest from above, or the longest."""
    longer = [d for d in capabilities.dwell_times_ns if d >= wanted_ns * 0.999]
    return min(longer) if longer else max(capabilities.dwell_times_ns, default=wanted_ns)


def go_to(microscope: Microscope, target: Target, timeout_s: float) -> None:
    """Check a target, then set what it names: place, field width, detector, scan, and last the focus.

    Raises
    ------
    MicroscopeError
        Where it is refused (nothing touched) or a step fails (restore the state read before).
    """
    capabilities = microscope.capabilities()
    check_target(microscope.name, capabilities, target)
    before = microscope.state()
    if target.moves:
        x_mm = before.x_mm if target.x_mm is None else target.x_mm
        y_mm = before.y_mm if target.y_mm is None else target.y_mm
        microscope.move_to(x_mm, y_mm, timeout_s)
    if target.hfw_um is not None:
        microscope.set_hfw(target.hfw_um)
    if target.detector is not None:
        microscope.set_detector(target.detector)
    if target.dwell_time_ns is not None or target.frame_averages is not None:
        wanted_ns = before.dwell_time_ns if target.dwell_time_ns is None else target.dwell_time_ns
        averages = before.frame_averages if target.frame_averages is None else target.frame_averages
        microscope.set_scan(nearest_dwell_time_ns(capabilities, wanted_ns), averages)
    if target.working_distance_mm is not None:
        microscope.set_working_distance(target.working_distance_mm)
    if target.autofocus:
        microscope.autofocus(timeout_s)


def restore(microscope: Microscope, state: MicroscopeState, timeout_s: float) -> None:
    """Put back everything that differs from ``state``.

    Raises
    ------
    MicroscopeError
        Where a step fails; what came before it is restored.
    """
    now = microscope.state()
    steps: list[tuple[bool, Any]] = [
        (
            (now.x_mm, now.y_mm) != (state.x_mm, state.y_mm),
            lambda: microscope.move_to(state.x_mm, state.y_mm, timeout_s),
        ),
        (now.hfw_um != state.hfw_um, lambda: microscope.set_hfw(state.hfw_um)),
        (now.detector != state.detector, lambda: microscope.set_detector(state.detector)),
        (now.voltage_kv != state.voltage_kv, lambda: microscope.set_voltage(state.voltage_kv)),
        (
            (now.dwell_time_ns, now.frame_averages) != (state.dwell_time_ns, state.frame_averages),
            lambda: microscope.set_scan(state.dwell_time_ns, state.frame_averages),
        ),
        (
            now.working_distance_mm != state.working_distance_mm,
            lambda: microscope.set_working_distance(state.working_distance_mm),
        ),
    ]
    for differs, step in steps:
        if differs:
            step()
