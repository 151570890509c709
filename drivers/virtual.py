"""A virtual microscope over :mod:`labsem.simulation`.

It is a stand-in: its frames are simulated, its latencies, stage errors and focus errors are models, and no
figure measured with it is a figure of any real instrument.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from drivers.base import (
    AcquiredFrame,
    BusyError,
    DisconnectedError,
    MicroscopeError,
    MicroscopeState,
    MicroscopeTimeoutError,
    NotConnectedError,
    StoppedError,
    Target,
    VacuumError,
    check_range,
    check_target,
)
from drivers.stub import StubHolder
from labsem.simulation import SimulatedFrame, View, render
from schemas.acts import Capabilities
from schemas.base import utc_now
from schemas.image import Acquisition

DISPLAY_WIDTH_UM: Final = 0.5e6
"""Width of the display to which the reported magnification refers."""

WORKING_DISTANCE_RANGE_MM: Final = (2.0, 30.0)
VOLTAGE_RANGE_KV: Final = (5.0, 15.0)

FaultKind = Literal["timeout", "disconnect", "vacuum", "busy"]


@dataclass(frozen=True)
class Latency:
    """Durations of a desktop instrument's commands, in seconds, before the factor ``latency``."""

    connect: float = 1.0
    move: float = 1.5
    hfw: float = 0.3
    autofocus: float = 4.0
    detector: float = 0.5
    voltage: float = 3.0


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
        Size of a frame.
    stage_error_um
        Standard deviation between the place reported and the place really reached.
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
    ) -> None:
        if latency < 0 or stage_error_um < 0:
            raise ValueError("latency and stage_error_um must not be negative")
        if min(width_px, height_px) < 64:
            raise ValueError(f"a frame has at least 64 x 64 px, not {width_px} x {height_px}")
        self.holder = StubHolder(seed, tuple(s.strip() for s in samples.split(",") if s.strip()))
        self.last_frame: SimulatedFrame | None = None
        """The frame acquired last with its ground truth, for tests and benchmarks."""
        self._width_px, self._height_px = width_px, height_px
        self._latency, self._stage_error_um = latency, stage_error_um
        self._rng = np.random.default_rng([seed, 71])
        self._connected = False
        self._faults: deque[tuple[str, FaultKind]] = deque()
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._scans = 0
        x_mm, y_mm = self.holder.centre_mm(self.holder.samples[0])
        self._state = MicroscopeState(
            x_mm=x_mm,
            y_mm=y_mm,
            hfw_um=250.0,
            working_distance_mm=self.holder.focus_mm(x_mm, y_mm),
            detector="bsd",
            voltage_kv=10.0,
            dwell_time_ns=400.0,
            frame_averages=4,
        )
        self._offset_um = (0.0, 0.0)

    @property
    def name(self) -> str:
        """Says that it is simulated."""
        return "virtual (simulated)"

    def capabilities(self) -> Capabilities:
        """Those of a desktop SEM with a motorised stage."""
        x_mm, y_mm = self.holder.range_mm
        return Capabilities(
            can_act=True,
            hfw_min_um=1.0,
            hfw_max_um=2000.0,
            stage_x_range_mm=x_mm,
            stage_y_range_mm=y_mm,
            detectors=("sed", "bsd"),
            dwell_times_ns=(50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0),
            frame_averages_max=64,
            width_px=self._width_px,
            height_px=self._height_px,
            cannot=("tilt the stage", "change the sample"),
        )

    def fail(self, command: str, kind: FaultKind) -> None:
        """Make the next call of ``command`` (a method's name) fail in this way; calls queue."""
        self._faults.append((command, kind))

    def connect(self, timeout_s: float) -> None:
        """Connect; see :class:`drivers.base.Microscope`."""
        self._fault("connect")
        if not self._connected:
            self._spend("connect", Latency.connect, timeout_s)
            self._connected = True

    def close(self) -> None:
        """Disconnect."""
        self._connected = False

    def state(self) -> MicroscopeState:
        """Where it stands."""
        self._ready("state")
        return self._state

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage; it comes to rest within ``stage_error_um``."""
        x_range_mm, y_range_mm = self.holder.range_mm
        check_range(self.name, "move_to", "x_mm", x_mm, x_range_mm)
        check_range(self.name, "move_to", "y_mm", y_mm, y_range_mm)
        with self._command("move_to"):
            self._spend("move_to", Latency.move, timeout_s)
            dx_um, dy_um = self._rng.normal(0, 1, 2) * self._stage_error_um
            self._offset_um = (float(dx_um), float(dy_um))
            self._state = replace(self._state, x_mm=round(x_mm, 4), y_mm=round(y_mm, 4))
        return self._state.x_mm, self._state.y_mm

    def set_hfw(self, hfw_um: float) -> float:
        """Set the field width."""
        check_target(self.name, self.capabilities(), Target(hfw_um=hfw_um))
        with self._command("set_hfw"):
            self._spend("set_hfw", Latency.hfw)
            self._state = replace(self._state, hfw_um=hfw_um)
        return hfw_um

    def set_working_distance(self, working_distance_mm: float) -> None:
        """Focus at a distance."""
        check_range(
            self.name,
            "set_working_distance",
            "working_distance_mm",
            working_distance_mm,
            WORKING_DISTANCE_RANGE_MM,
        )
        with self._command("set_working_distance"):
            self._state = replace(self._state, working_distance_mm=working_distance_mm)

    def autofocus(self, timeout_s: float) -> float:
        """Find the surface, within a few micrometres or a fifth of the pixel's depth of field."""
        with self._command("autofocus"):
            self._spend("autofocus", Latency.autofocus, timeout_s)
            depth_um = self._state.hfw_um / self._width_px / 8e-3
            error_um = float(self._rng.normal(0, 0.2 * depth_um))
            found_mm = self.holder.focus_mm(self._state.x_mm, self._state.y_mm) + error_um / 1000
            self._state = replace(self._state, working_distance_mm=found_mm)
        return found_mm

    def set_detector(self, detector: str) -> None:
        """Choose ``sed`` or ``bsd``."""
        check_target(self.name, self.capabilities(), Target(detector=detector))
        with self._command("set_detector"):
            self._spend("set_detector", Latency.detector)
            self._state = replace(self._state, detector=detector)

    def set_voltage(self, voltage_kv: float) -> None:
        """Set the voltage: the width of the probe follows it."""
        check_range(self.name, "set_voltage", "voltage_kv", voltage_kv, VOLTAGE_RANGE_KV)
        with self._command("set_voltage"):
            self._spend("set_voltage", Latency.voltage)
            self._state = replace(self._state, voltage_kv=voltage_kv)

    def set_scan(self, dwell_time_ns: float, frame_averages: int) -> None:
        """Set dwell time and averages."""
        target = Target(dwell_time_ns=dwell_time_ns, frame_averages=frame_averages)
        check_target(self.name, self.capabilities(), target)
        with self._command("set_scan"):
            self._state = replace(self._state, dwell_time_ns=dwell_time_ns, frame_averages=frame_averages)

    def acquire(self, timeout_s: float) -> AcquiredFrame:
        """Render the frame at the place really reached."""
        with self._command("acquire"):
            state = self._state
            pixels = self._width_px * self._height_px
            self._spend("acquire", pixels * state.dwell_time_ns * 1e-9 * state.frame_averages, timeout_s)
            frame = self._scan(state)
            self.last_frame = frame
            acquisition = Acquisition(
                hfw_um=state.hfw_um,
                pixel_size_nm=1000 * state.hfw_um / self._width_px,
                magnification=DISPLAY_WIDTH_UM / state.hfw_um,
                working_distance_mm=round(state.working_distance_mm, 5),
                accelerating_voltage_kv=state.voltage_kv,
                detector=state.detector,
                dwell_time_ns=state.dwell_time_ns,
                frame_averages=state.frame_averages,
            )
            return AcquiredFrame(frame.pixels, acquisition, state.x_mm, state.y_mm, 0.0, utc_now())

    def stop(self) -> None:
        """Cancel the running command."""
        self._stopping.set()

    def _scan(self, state: MicroscopeState) -> SimulatedFrame:
        world, x_mm, y_mm = self.holder.world_at(state.x_mm, state.y_mm)
        self._scans += 1
        defocus_um = 1000 * (state.working_distance_mm - self.holder.focus_mm(state.x_mm, state.y_mm))
        view = View(
            x_mm=x_mm + self._offset_um[0] / 1000,
            y_mm=y_mm + self._offset_um[1] / 1000,
            hfw_um=state.hfw_um,
            width_px=self._width_px,
            height_px=self._height_px,
            defocus_um=defocus_um,
            accelerating_voltage_kv=state.voltage_kv,
            dwell_time_ns=state.dwell_time_ns,
            frame_averages=state.frame_averages,
            detector="sed" if state.detector == "sed" else "bsd",
            noise_seed=self._scans,
        )
        return render(world, view)

    def _ready(self, command: str) -> None:
        self._fault(command)
        if not self._connected:
            raise NotConnectedError(self.name, command, "not connected; call connect first")

    def _command(self, command: str) -> _Command:
        self._ready(command)
        return _Command(self, command)

    def _fault(self, command: str) -> None:
        if not self._faults or self._faults[0][0] != command:
            return
        _, kind = self._faults.popleft()
        if kind == "disconnect":
            self._connected = False
            raise DisconnectedError(self.name, command, "the connection broke; connect again")
        errors: dict[FaultKind, MicroscopeError] = {
            "timeout": MicroscopeTimeoutError(self.name, command, "no answer in time; read the state anew"),
            "vacuum": VacuumError(self.name, command, "the chamber is vented; pump it down"),
            "busy": BusyError(self.name, command, "another user has the instrument; try again later"),
        }
        raise errors[kind]

    def _spend(self, command: str, duration_s: float, timeout_s: float = np.inf) -> None:
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


class _Command:
    """One command at a time; a new one ends an earlier stop."""

    def __init__(self, microscope: VirtualMicroscope, command: str) -> None:
        self._microscope, self._name = microscope, command

    def __enter__(self) -> None:
        if not self._microscope._busy.acquire(blocking=False):
            raise BusyError(self._microscope.name, self._name, "another command is running; wait for it")
        self._microscope._stopping.clear()

    def __exit__(self, *_: object) -> None:
        self._microscope._busy.release()
