"""What a microscope can be asked.

A driver is a class whose construction does no I/O; :meth:`Microscope.connect` opens the instrument. Every call
that waits takes a timeout. A call that cannot be done raises (:mod:`drivers.errors`); nothing returns ``False``.
A driver of an instrument that lacks some of the functions derives from :class:`BasicMicroscope`, which refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from drivers.errors import UnsupportedError
from schemas.acts import Capabilities
from schemas.image import Acquisition


class Mode(StrEnum):
    """What the instrument is set up for; frames are taken in :attr:`SEM`."""

    OFF = "off"
    STANDBY = "standby"
    UNLOADED = "unloaded"
    NAVIGATION = "navigation"
    SEM = "sem"


@dataclass(frozen=True)
class MicroscopeStatus:
    """Health at a glance; readable in every mode.

    Attributes
    ----------
    ready
        Whether a frame could be taken now.
    vacuum_ready, beam_blanked
        None where the instrument does not say.
    detail
        What stands in the way, in words.
    """

    mode: Mode
    ready: bool
    vacuum_ready: bool | None = None
    beam_blanked: bool | None = None
    detail: str = ""


@dataclass(frozen=True)
class MicroscopeState:
    """Where the instrument stands; everything that an act may change and must restore.

    None is a setting that the instrument does not have or does not tell; it is neither set nor restored.
    """

    x_mm: float
    y_mm: float
    hfw_um: float
    working_distance_mm: float
    detector: str
    voltage_kv: float
    dwell_time_ns: float | None
    frame_averages: int
    scan_rotation_deg: float | None = None
    stigmator: tuple[float, float] | None = None
    contrast: float | None = None
    brightness: float | None = None
    spot_size: float | None = None
    charge_reduction: str | None = None


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
class FoundFrame:
    """A file that other software saved, complete, and what it says of itself.

    Attributes
    ----------
    path
        Under the folder, POSIX style.
    problem
        Why it cannot be read, where it is complete by its size for long and cannot.
    """

    path: str
    size_bytes: int
    sha256: str
    acquired_at: datetime
    sample_id: str
    sample_name: str
    acquisition: Acquisition
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    scan_rotation_deg: float | None = None
    problem: str | None = None


@runtime_checkable
class FrameSource(Protocol):
    """What a driver has besides that takes no frames itself but finds those that other software saves."""

    @property
    def folder(self) -> Path:
        """Under which the frames lie."""
        ...

    def found(self, known: Mapping[str, int], limit: int = 50) -> list[FoundFrame]:
        """Complete files not yet told of, oldest first; ``known`` are those that earlier processes told of."""
        ...


@runtime_checkable
class Microscope(Protocol):
    """The one protocol of all drivers.

    All methods but :meth:`capabilities` and :meth:`close` raise :class:`~drivers.errors.NotConnectedError` before
    :meth:`connect`, :class:`~drivers.errors.UnsupportedError` where the instrument has no such function, and any
    other :class:`~drivers.errors.MicroscopeError` as their work requires. Limits are checked before anything is
    touched. Methods that set a value return what was reached where that can differ.
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

    def status(self) -> MicroscopeStatus:
        """Health, in any mode."""
        ...

    def activate(self, timeout_s: float) -> None:
        """Bring it to where frames can be taken; harmless where it is there."""
        ...

    def standby(self, timeout_s: float) -> None:
        """Rest: the source off or dimmed."""
        ...

    def load(self, timeout_s: float) -> None:
        """Bring the sample holder from where a person puts it to where it can be seen."""
        ...

    def unload(self, timeout_s: float) -> None:
        """Bring the sample holder to where a person can take it."""
        ...

    def overview(self, timeout_s: float) -> NDArray[np.uint8]:
        """Picture of the holder by the navigation camera, (H, W, 3); :meth:`activate` brings the sample back."""
        ...

    def state(self) -> MicroscopeState:
        """Read anew where it stands."""
        ...

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage to an absolute place; the place reached."""
        ...

    def move_by(self, dx_mm: float, dy_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage by so much; the place reached."""
        ...

    def set_hfw(self, hfw_um: float) -> float:
        """Set the horizontal field width; the width reached."""
        ...

    def set_scan_rotation(self, rotation_deg: float) -> None:
        """Turn the scanned field about its centre, counted clockwise as the image turns against the stage."""
        ...

    def set_working_distance(self, working_distance_mm: float) -> None:
        """Focus at a distance."""
        ...

    def autofocus(self, timeout_s: float) -> float:
        """Focus on what is seen; the working distance found, in mm. An absurd one is undone and raised."""
        ...

    def set_stigmator(self, x: float, y: float) -> None:
        """Set the stigmator, in the instrument's own units."""
        ...

    def autostigmate(self, timeout_s: float) -> tuple[float, float]:
        """Correct astigmatism on what is seen; the stigmator found."""
        ...

    def set_contrast_brightness(self, contrast: float, brightness: float) -> None:
        """Set the amplifier, each from 0 to 1."""
        ...

    def auto_contrast_brightness(self, timeout_s: float) -> None:
        """Fit the amplifier to what is seen."""
        ...

    def set_detector(self, detector: str) -> None:
        """Choose a detector by its name in the capabilities."""
        ...

    def set_voltage(self, voltage_kv: float) -> None:
        """Set the accelerating voltage."""
        ...

    def set_spot_size(self, spot_size: float) -> None:
        """Set the spot size, in the instrument's own units: larger is more current and a wider probe."""
        ...

    def set_charge_reduction(self, level: str, timeout_s: float) -> None:
        """Let gas into the chamber, to a level named in the capabilities, so that insulators charge less."""
        ...

    def set_scan(self, dwell_time_ns: float | None, frame_averages: int) -> None:
        """Set how many frames are averaged and, where it can be set, the dwell time for a pixel."""
        ...

    def set_scan_size(self, width_px: int, height_px: int) -> None:
        """Set the size of the next frames, to one of the capabilities."""
        ...

    def blank(self, *, on: bool) -> None:
        """Keep the beam from the sample, or let it through."""
        ...

    def acquire(self, timeout_s: float) -> AcquiredFrame:
        """Scan one frame; the beam is blanked before and after it where the instrument can."""
        ...

    def stop(self) -> None:
        """Cancel the running command and blank the beam; may be called from any thread."""
        ...


class BasicMicroscope:
    """Refusals of every function that not all instruments have; a driver overrides those that its own has.

    What is left to write: ``name``, ``connect``, ``close``, ``capabilities``, ``status``, ``state``, ``set_hfw``,
    ``set_scan``, ``acquire`` and ``stop``. See docs/drivers.md.
    """

    @property
    def name(self) -> str:
        """The driver, for messages and status."""
        return type(self).__name__

    def activate(self, timeout_s: float) -> None:
        """Nothing to do: an instrument without modes is always ready."""

    def standby(self, timeout_s: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("standby", "it has no such mode")

    def load(self, timeout_s: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("load", "load the sample by hand")

    def unload(self, timeout_s: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("unload", "unload the sample by hand")

    def overview(self, timeout_s: float) -> NDArray[np.uint8]:  # noqa: ARG002
        """Refused."""
        self._refuse("overview", "it has no navigation camera")

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:  # noqa: ARG002
        """Refused."""
        self._refuse("move_to", "the stage cannot be moved; place the sample by hand")

    def move_by(self, dx_mm: float, dy_mm: float, timeout_s: float) -> tuple[float, float]:  # noqa: ARG002
        """Refused."""
        self._refuse("move_by", "the stage cannot be moved; place the sample by hand")

    def set_scan_rotation(self, rotation_deg: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_scan_rotation", "the scan cannot be turned")

    def set_working_distance(self, working_distance_mm: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_working_distance", "focus by hand")

    def autofocus(self, timeout_s: float) -> float:  # noqa: ARG002
        """Refused."""
        self._refuse("autofocus", "focus by hand")

    def set_stigmator(self, x: float, y: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_stigmator", "set the stigmator by hand")

    def autostigmate(self, timeout_s: float) -> tuple[float, float]:  # noqa: ARG002
        """Refused."""
        self._refuse("autostigmate", "set the stigmator by hand")

    def set_contrast_brightness(self, contrast: float, brightness: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_contrast_brightness", "set contrast and brightness by hand")

    def auto_contrast_brightness(self, timeout_s: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("auto_contrast_brightness", "set contrast and brightness by hand")

    def set_detector(self, detector: str) -> None:
        """Refused."""
        self._refuse("set_detector", f"no detector {detector!r} can be chosen")

    def set_voltage(self, voltage_kv: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_voltage", "set the voltage by hand")

    def set_spot_size(self, spot_size: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_spot_size", "set the spot size by hand")

    def set_charge_reduction(self, level: str, timeout_s: float) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_charge_reduction", f"it has no charge reduction {level!r}")

    def set_scan_size(self, width_px: int, height_px: int) -> None:
        """Refused."""
        self._refuse("set_scan_size", f"frames of {width_px} x {height_px} px cannot be chosen")

    def blank(self, *, on: bool) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("blank", "the beam cannot be blanked")

    def _refuse(self, command: str, detail: str) -> NoReturn:
        raise UnsupportedError(self.name, command, detail)
