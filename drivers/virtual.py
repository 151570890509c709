"""A virtual microscope over :mod:`labsem.simulation`.

It is a stand-in: its frames are simulated, its latencies, stage errors and focus errors are models, and no
figure measured with it is a figure of any real instrument.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from drivers.base import AcquiredFrame, MicroscopeState, MicroscopeStatus, Mode
from drivers.errors import (
    BusyError,
    MicroscopeTimeoutError,
    NotConnectedError,
    NotReadyError,
    StoppedError,
    UnsupportedError,
)
from drivers.faults import Fault, FaultKind, Faults
from drivers.stub import StubHolder
from drivers.targets import Target, check_choice, check_range, check_target
from drivers.virtual_optics import (
    CHARGE_LEFT,
    DISPLAY_WIDTH_UM,
    SPOT_RANGE,
    STIGMATOR_RANGE,
    VOLTAGE_RANGE_KV,
    WORKING_DISTANCE_RANGE_MM,
    Latency,
    VirtualOptics,
    able,
    draw_holder,
    first_state,
    remember,
    remembered,
)
from labsem.simulation import SimulatedFrame
from schemas.acts import Capabilities
from schemas.base import utc_now
from schemas.image import Acquisition


class VirtualMicroscope:
    """A simulated desktop SEM with several stubs on its holder.

    Parameters
    ----------
    seed
        Determines powders, stubs and all errors.
    samples
        Comma-separated sample ids; the stub of each is at :meth:`StubHolder.centre_mm`.
    latency
        Factor on the durations of :class:`Latency` and of the scan; 0 does everything at once.
    width_px, height_px
        Size of a frame at first.
    stage_error_um
        Standard deviation between the place reported and the place really reached.
    backlash_um
        How far behind the stage stays on either axis when it comes from the smaller side.
    hfw_shift
        By what share of the change in field width the image's centre moves when the width is changed.
    mode
        In which it is found when it is connected to.
    memory
        File in which it keeps where it stands, as an instrument outlives the programs that use it; none: it does not.
    holder
        Instead of one made of ``seed`` and ``samples``.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        samples: str = "demo-1,demo-2",
        latency: float = 1.0,
        width_px: int = 1920,
        height_px: int = 1200,
        stage_error_um: float = 0.5,
        backlash_um: float = 1.0,
        hfw_shift: float = 0.003,
        mode: str = "sem",
        memory: str = "",
        holder: StubHolder | None = None,
    ) -> None:
        if min(latency, stage_error_um, backlash_um) < 0:
            raise ValueError("latency, stage_error_um and backlash_um must not be negative")
        if min(width_px, height_px) < 64:
            raise ValueError(f"a frame has at least 64 x 64 px, not {width_px} x {height_px}")
        self.holder = holder or StubHolder(seed, tuple(s.strip() for s in samples.split(",") if s.strip()))
        self.last_frame: SimulatedFrame | None = None
        """The frame acquired last with its ground truth, for tests and benchmarks."""
        self._faults = Faults(self.name)
        self._optics = VirtualOptics(
            self.holder, seed, stage_error_um=stage_error_um, backlash_um=backlash_um, hfw_shift=hfw_shift
        )
        self._size_px = (width_px, height_px)
        self._sizes_px = tuple(dict.fromkeys([(width_px, height_px), (960, 600), (1920, 1200), (3840, 2400)]))
        self._latency = latency
        self._mode = Mode(mode)
        self._connected, self._blanked = False, True
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        x_mm, y_mm = self.holder.centre_mm(self.holder.samples[0])
        self._memory = Path(memory) if memory else None
        self._state = first_state(x_mm, y_mm, self.holder.focus_mm(x_mm, y_mm))

    @property
    def name(self) -> str:
        """Says that it is simulated."""
        return "virtual (simulated)"

    def capabilities(self) -> Capabilities:
        """Those of a desktop SEM with a motorised stage."""
        return able(self.holder, self._size_px, self._sizes_px)

    def fail(self, command: str, kind: FaultKind, times: int = 1) -> None:
        """Make the next calls of ``command`` (a method's name) fail in this way; calls queue."""
        self._faults.plan(command, kind, times)

    def misalign(self, *, defocus_um: float = 0.0, astigmatism_um: float = 0.0) -> None:
        """Put it out of focus and out of stigmation by so much, as a careless operator leaves it."""
        focus_mm = self.holder.focus_mm(self._state.x_mm, self._state.y_mm)
        self._state = replace(
            self._state,
            working_distance_mm=focus_mm + defocus_um / 1000,
            stigmator=self._optics.stigmator_for(astigmatism_um),
        )

    def connect(self, timeout_s: float) -> None:
        """Connect; see :class:`drivers.base.Microscope`."""
        fault = self._faults.take("connect")
        if fault is not None:
            self._strike(fault)
        if not self._connected:
            self._wait("connect", Latency.connect, timeout_s)
            self._connected = True
            self._state = remembered(self._memory) or self._state

    def close(self) -> None:
        """Disconnect."""
        self._connected = False

    def status(self) -> MicroscopeStatus:
        """Health, in any mode."""
        self._ready("status", self._faults.take("status"))
        ready = self._mode is Mode.SEM
        return MicroscopeStatus(
            mode=self._mode,
            ready=ready,
            vacuum_ready=self._mode in (Mode.SEM, Mode.STANDBY),
            beam_blanked=self._blanked,
            detail="" if ready else f"it is in {self._mode.value}; activate it",
        )

    def activate(self, timeout_s: float) -> None:
        """Load, pump and switch the beam on, as far as that is still to be done."""
        with self._command("activate", 0.0 if self._mode is Mode.SEM else Latency.activate, timeout_s):
            self._mode = Mode.SEM

    def standby(self, timeout_s: float) -> None:
        """Switch the beam off."""
        with self._command("standby", Latency.mode, timeout_s):
            self._mode, self._blanked = Mode.STANDBY, True

    def load(self, timeout_s: float) -> None:
        """Bring the holder under the navigation camera."""
        with self._command("load", Latency.mode, timeout_s):
            if self._mode is Mode.UNLOADED:
                self._mode = Mode.NAVIGATION

    def unload(self, timeout_s: float) -> None:
        """Vent, and bring the holder out."""
        with self._command("unload", Latency.mode, timeout_s):
            self._mode, self._blanked = Mode.UNLOADED, True

    def overview(self, timeout_s: float) -> NDArray[np.uint8]:
        """Draw the stubs under the navigation camera, where the sample then lies."""
        with self._command("overview", Latency.mode, timeout_s):
            self._mode = Mode.NAVIGATION
        return draw_holder(self.holder)

    def state(self) -> MicroscopeState:
        """Where it stands."""
        self._ready("state", self._faults.take("state"))
        return self._state

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage; it comes to rest within ``stage_error_um`` and its backlash."""
        return self._move("move_to", x_mm, y_mm, timeout_s)

    def move_by(self, dx_mm: float, dy_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage from where it stands."""
        return self._move("move_by", self._state.x_mm + dx_mm, self._state.y_mm + dy_mm, timeout_s)

    def set_hfw(self, hfw_um: float) -> float:
        """Set the field width."""
        check_target(self.name, self.capabilities(), Target(hfw_um=hfw_um))
        with self._command("set_hfw", Latency.hfw):
            self._state = replace(self._state, hfw_um=hfw_um)
        return hfw_um

    def set_scan_rotation(self, rotation_deg: float) -> None:
        """Turn the scan."""
        check_range(self.name, "set_scan_rotation", "rotation_deg", rotation_deg, (-180.0, 180.0))
        with self._command("set_scan_rotation"):
            self._state = replace(self._state, scan_rotation_deg=rotation_deg)

    def set_working_distance(self, working_distance_mm: float) -> None:
        """Focus at a distance."""
        command = "set_working_distance"
        check_range(self.name, command, "working_distance_mm", working_distance_mm, WORKING_DISTANCE_RANGE_MM)
        with self._command(command):
            self._state = replace(self._state, working_distance_mm=working_distance_mm)

    def autofocus(self, timeout_s: float) -> float:
        """Find the surface, within a few micrometres or a fifth of the pixel's depth of field."""
        with self._command("autofocus", Latency.autofocus, timeout_s):
            found_mm = self._optics.found_focus_mm(self._state, self._size_px[0])
            self._state = replace(self._state, working_distance_mm=found_mm)
        return found_mm

    def set_stigmator(self, x: float, y: float) -> None:
        """Set the stigmator: the distance between the foci grows with the distance from its true value."""
        for name, value in (("x", x), ("y", y)):
            check_range(self.name, "set_stigmator", name, value, STIGMATOR_RANGE)
        with self._command("set_stigmator"):
            self._state = replace(self._state, stigmator=(x, y))

    def autostigmate(self, timeout_s: float) -> tuple[float, float]:
        """Find the true value of the stigmator within what a pixel's depth of field hides."""
        with self._command("autostigmate", Latency.autofocus, timeout_s):
            found = self._optics.found_stigmator(self._state, self._size_px[0])
            self._state = replace(self._state, stigmator=found)
        return found

    def set_contrast_brightness(self, contrast: float, brightness: float) -> None:
        """Set the amplifier; at 0.5 and 0.5 it passes the signal on as it is."""
        for name, value in (("contrast", contrast), ("brightness", brightness)):
            check_range(self.name, "set_contrast_brightness", name, value, (0.0, 1.0))
        with self._command("set_contrast_brightness"):
            self._state = replace(self._state, contrast=contrast, brightness=brightness)

    def auto_contrast_brightness(self, timeout_s: float) -> None:
        """Spread the greys of a coarse scan over most of the range."""
        with self._command("auto_contrast_brightness", Latency.autofocus, timeout_s):
            contrast, brightness = self._optics.fitted_amplifier(self._state)
            self._state = replace(self._state, contrast=contrast, brightness=brightness)

    def set_detector(self, detector: str) -> None:
        """Choose ``sed`` or ``bsd``."""
        check_target(self.name, self.capabilities(), Target(detector=detector))
        with self._command("set_detector", Latency.detector):
            self._state = replace(self._state, detector=detector)

    def set_voltage(self, voltage_kv: float) -> None:
        """Set the voltage: probe and charging follow it."""
        check_range(self.name, "set_voltage", "voltage_kv", voltage_kv, VOLTAGE_RANGE_KV)
        with self._command("set_voltage", Latency.voltage):
            self._state = replace(self._state, voltage_kv=voltage_kv)

    def set_spot_size(self, spot_size: float) -> None:
        """Set the spot size: current grows with its square, the probe with it."""
        check_range(self.name, "set_spot_size", "spot_size", spot_size, SPOT_RANGE)
        with self._command("set_spot_size", Latency.detector):
            self._state = replace(self._state, spot_size=spot_size)

    def set_charge_reduction(self, level: str, timeout_s: float) -> None:
        """Let gas in: insulators keep less charge."""
        check_choice(self.name, "set_charge_reduction", "charge reduction", level, tuple(CHARGE_LEFT))
        with self._command("set_charge_reduction", Latency.voltage, timeout_s):
            self._state = replace(self._state, charge_reduction=level)

    def set_scan(self, dwell_time_ns: float | None, frame_averages: int) -> None:
        """Set dwell time and averages."""
        target = Target(dwell_time_ns=dwell_time_ns, frame_averages=frame_averages)
        check_target(self.name, self.capabilities(), target)
        with self._command("set_scan"):
            dwell_ns = self._state.dwell_time_ns if dwell_time_ns is None else dwell_time_ns
            self._state = replace(self._state, dwell_time_ns=dwell_ns, frame_averages=frame_averages)

    def set_scan_size(self, width_px: int, height_px: int) -> None:
        """Choose one of the sizes of the capabilities."""
        if (width_px, height_px) not in self._sizes_px:
            there = ", ".join(f"{width} x {height}" for width, height in self._sizes_px)
            raise UnsupportedError(
                self.name, "set_scan_size", f"no frame of {width_px} x {height_px} px; there are {there}"
            )
        with self._command("set_scan_size"):
            self._size_px = (width_px, height_px)

    def blank(self, *, on: bool) -> None:
        """Keep the beam from the sample, or let it through."""
        with self._command("blank"):
            self._blanked = on

    def acquire(self, timeout_s: float) -> AcquiredFrame:
        """Render the frame at the place really reached."""
        state, (width_px, height_px) = self._state, self._size_px
        scan_s = width_px * height_px * (state.dwell_time_ns or 0.0) * 1e-9 * state.frame_averages
        with self._command("acquire", scan_s, timeout_s):
            frame = self._optics.scan(state, width_px, height_px)
        self.last_frame = frame
        acquisition = Acquisition(
            hfw_um=state.hfw_um,
            pixel_size_nm=1000 * state.hfw_um / width_px,
            magnification=DISPLAY_WIDTH_UM / state.hfw_um,
            working_distance_mm=round(state.working_distance_mm, 5),
            accelerating_voltage_kv=state.voltage_kv,
            detector=state.detector,
            dwell_time_ns=state.dwell_time_ns,
            frame_averages=state.frame_averages,
        )
        rotation_deg = state.scan_rotation_deg
        return AcquiredFrame(frame.pixels, acquisition, state.x_mm, state.y_mm, rotation_deg, utc_now())

    def stop(self) -> None:
        """Cancel the running command and blank the beam."""
        self._stopping.set()
        self._blanked = True

    def _move(self, command: str, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        x_range_mm, y_range_mm = self.holder.range_mm
        check_range(self.name, command, "x_mm", x_mm, x_range_mm)
        check_range(self.name, command, "y_mm", y_mm, y_range_mm)
        begun = self._state
        halfway = replace(begun, x_mm=(begun.x_mm + x_mm) / 2, y_mm=(begun.y_mm + y_mm) / 2)
        with self._command(command, Latency.move, timeout_s, stuck_at=halfway):
            self._optics.moved((begun.x_mm, begun.y_mm), (x_mm, y_mm))
            self._state = replace(begun, x_mm=round(x_mm, 4), y_mm=round(y_mm, 4))
        return self._state.x_mm, self._state.y_mm

    def _strike(self, fault: Fault) -> NoReturn:
        self._connected = self._connected and not fault.disconnects
        raise fault.error

    def _ready(self, command: str, fault: Fault | None) -> None:
        if fault is not None:
            self._strike(fault)
        if not self._connected:
            raise NotConnectedError(self.name, command, "not connected; call connect first")
        below_camera = self._mode is Mode.NAVIGATION and command == "overview"
        if self._mode is not Mode.SEM and command not in _IN_ANY_MODE and not below_camera:
            raise NotReadyError(self.name, command, f"it is in {self._mode.value}; activate it first")

    @contextmanager
    def _command(
        self,
        command: str,
        duration_s: float = 0.0,
        timeout_s: float = np.inf,
        *,
        stuck_at: MicroscopeState | None = None,
    ) -> Iterator[None]:
        """One command at a time, for as long as it takes; a new one ends an earlier stop.

        A fault that strikes on the way does so when half of the time is over; a stage that sticks is left at
        ``stuck_at``.
        """
        fault = self._faults.take(command)
        midway = fault is not None and fault.midway
        self._ready(command, None if midway else fault)
        if not self._busy.acquire(blocking=False):
            raise BusyError(self.name, command, "another command is running; wait for it")
        self._stopping.clear()
        self._blanked = self._blanked and command != "acquire"
        try:
            self._wait(command, duration_s / 2 if midway else duration_s, timeout_s)
            if midway and fault is not None:
                self._state = stuck_at or self._state
                self._strike(fault)
            yield
        finally:
            self._blanked = self._blanked or command == "acquire"
            remember(self._memory, self._state)
            self._busy.release()

    def _wait(self, command: str, duration_s: float, timeout_s: float) -> None:
        duration_s *= self._latency
        deadline_s = time.monotonic() + min(duration_s, timeout_s)
        if self._stopping.wait(max(deadline_s - time.monotonic(), 0.0)):
            raise StoppedError(self.name, command, "stopped")
        if duration_s > timeout_s:
            raise MicroscopeTimeoutError(
                self.name,
                command,
                f"takes {duration_s:.3g} s, over the limit of {timeout_s:.3g} s; raise the limit",
            )


_IN_ANY_MODE: Final = frozenset({"status", "activate", "standby", "load", "unload"})
