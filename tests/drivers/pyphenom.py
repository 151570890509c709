"""A stand-in for the vendor's PyPhenom over the virtual microscope: the calls that labsem makes, and no others.

Its units are the vendor's (metres, radians, negative volts), settings are readable in SEM mode only, and it fails in
the ways that are known of the real one. It is no statement about how a Phenom images.
"""

from __future__ import annotations

import math
import types
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from drivers.base import Mode
from drivers.errors import MicroscopeError
from drivers.virtual import VirtualMicroscope

InstrumentMode = Enum("InstrumentMode", "Off Standby Operational")
OperationalMode = Enum("OperationalMode", "Loadpos LiveNavCam LiveSem")
DetectorMode = Enum("DetectorMode", "All NorthSouth EastWest A B C D Sed")
VacuumChargeReduction = Enum("VacuumChargeReduction", "Off Low Medium High")
BlankState = Enum("BlankState", "Blanked Unblanked")
PRESSURES_PA = {"off": 0.1, "low": 10.0, "medium": 30.0, "high": 60.0}
AWHILE_S = 60.0


class Error(Exception):
    """As the vendor's: one class for all failures, told apart by their words."""


class Range(SimpleNamespace):
    """``begin`` and ``end``."""


class Position(SimpleNamespace):
    """``x`` and ``y``."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__(x=x, y=y)


class Size(SimpleNamespace):
    """``width`` and ``height``."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width=width, height=height)


class ScanParams(SimpleNamespace):
    """Attributes are set one by one."""


class CamParams(ScanParams):
    """Of the navigation camera."""


class ScanParamsEx(ScanParams):
    """With ``dwellTime`` in seconds."""


class Quirks:
    """What is wrong with the instrument; tests set these.

    Attributes
    ----------
    busy_sem
        How often MoveToSem fails for being busy.
    slow_mode
        How often settings cannot be read although SEM mode is reported.
    move_raises
        Moves arrive, and raise all the same.
    stage_stuck
        Moves raise and do not arrive.
    focus_ends_at_m
        Where the autofocus ends, absurdly.
    torn
        Frames come with lines missing.
    accounts
        Users and passwords that are let in; None: everybody.
    """

    def __init__(self) -> None:
        self.busy_sem = self.slow_mode = 0
        self.move_raises = self.stage_stuck = self.torn = False
        self.focus_ends_at_m: float | None = None
        self.accounts: dict[str, str] | None = None


class Phenom:
    """One instrument."""

    def __init__(self, virtual: VirtualMicroscope, quirks: Quirks, arguments: tuple[str, ...]) -> None:
        if quirks.accounts is not None and (
            len(arguments) != 3 or quirks.accounts.get(arguments[1]) != arguments[2]
        ):
            raise Error("License check failed: user not authorised")
        self._virtual, self._quirks = virtual, quirks
        self._detector = DetectorMode.All
        self._sed_on = False
        virtual.connect(AWHILE_S)

    def GetInstrumentMode(self) -> InstrumentMode:
        modes = {Mode.OFF: InstrumentMode.Off, Mode.STANDBY: InstrumentMode.Standby}
        return modes.get(self._mode, InstrumentMode.Operational)

    def GetOperationalMode(self) -> OperationalMode:
        modes = {Mode.UNLOADED: OperationalMode.Loadpos, Mode.SEM: OperationalMode.LiveSem}
        return modes.get(self._mode, OperationalMode.LiveNavCam)

    def Activate(self) -> None:
        if self._mode in (Mode.OFF, Mode.STANDBY):
            self._virtual._mode = Mode.NAVIGATION

    def Standby(self) -> None:
        self._do(self._virtual.standby, AWHILE_S)

    def Load(self) -> None:
        self._do(self._virtual.load, AWHILE_S)

    def Unload(self) -> None:
        self._do(self._virtual.unload, AWHILE_S)

    def MoveToSem(self) -> None:
        if self._quirks.busy_sem > 0:
            self._quirks.busy_sem -= 1
            raise Error("Operation not allowed: instrument is busy")
        if self._mode is not Mode.NAVIGATION:
            raise Error("MoveToSem needs a loaded sample")
        self._do(self._virtual.activate, AWHILE_S)

    def MoveToNavCam(self) -> None:
        if self._mode not in (Mode.NAVIGATION, Mode.SEM):
            raise Error("MoveToNavCam needs a loaded sample")
        self._do(self._virtual.overview, AWHILE_S)

    def NavCamAcquireImage(self, parameters: CamParams) -> SimpleNamespace:
        if self._mode is not Mode.NAVIGATION:
            raise Error("the sample is not under the navigation camera")
        picture = self._do(self._virtual.overview, AWHILE_S)
        size = parameters.size
        fitted = np.zeros((size.height, size.width), [("r", "u1"), ("g", "u1"), ("b", "u1")])
        rows, columns = (min(pair) for pair in zip(fitted.shape, picture.shape, strict=False))
        for channel, name in enumerate("rgb"):
            fitted[name][:rows, :columns] = picture[:rows, :columns, channel]
        return SimpleNamespace(image=fitted, metadata=SimpleNamespace())

    def MoveTo(self, x: float, y: float) -> None:
        state = self._sem()
        if self._quirks.stage_stuck:
            raise Error("Stage did not reach its target")
        self._do(self._virtual.move_to, 1e3 * x, 1e3 * y, AWHILE_S)
        if self._quirks.move_raises:
            raise Error(f"Stage reports an error at {state.x_mm}")

    def GetStageModeAndPosition(self) -> SimpleNamespace:
        state = self._sem()
        return SimpleNamespace(position=Position(1e-3 * state.x_mm, 1e-3 * state.y_mm))

    def GetHFW(self) -> float:
        return 1e-6 * self._sem().hfw_um

    def SetHFW(self, width: float) -> None:
        self._do(self._virtual.set_hfw, 1e6 * width)

    def GetHFWRange(self) -> Range:
        self._sem()
        able = self._virtual.capabilities()
        return Range(begin=1e-6 * able.hfw_min_um, end=1e-6 * able.hfw_max_um)

    def SemAutoFocus(self) -> None:
        self._lit("autofocus")
        if self._quirks.focus_ends_at_m is not None:
            self._virtual._state = self._virtual._state.__class__(
                **{**vars(self._virtual._state), "working_distance_mm": 1e3 * self._quirks.focus_ends_at_m}
            )
            return
        self._do(self._virtual.autofocus, AWHILE_S)

    def GetSemWD(self) -> float:
        return 1e-3 * self._sem().working_distance_mm

    def SetSemWD(self, distance: float) -> None:
        self._do(self._virtual.set_working_distance, 1e3 * distance)

    def SemAutoStigmate(self) -> None:
        self._lit("autostigmate")
        self._do(self._virtual.autostigmate, AWHILE_S)

    def GetSemStigmate(self) -> Position:
        return Position(*self._sem().stigmator)

    def SetSemStigmate(self, value: Position) -> None:
        self._do(self._virtual.set_stigmator, value.x, value.y)

    def SetSemRotation(self, angle: float) -> None:
        self._do(self._virtual.set_scan_rotation, math.degrees(angle))

    def SemAutoContrastBrightness(self) -> None:
        self._lit("auto contrast")
        self._do(self._virtual.auto_contrast_brightness, AWHILE_S)

    def GetSemHighTension(self) -> float:
        return -1e3 * self._sem().voltage_kv

    def SetSemHighTension(self, volts: float) -> None:
        if volts > 0:
            raise ValueError("high tension must be negative")
        self._do(self._virtual.set_voltage, -1e-3 * volts)

    def GetSemSpotSize(self) -> float:
        return self._sem().spot_size

    def SetSemSpotSize(self, size: float) -> None:
        self._do(self._virtual.set_spot_size, size)

    def SemGetBlankBeamState(self) -> BlankState:
        self._sem()
        return BlankState.Blanked if self._virtual._blanked else BlankState.Unblanked

    def SemBlankBeam(self) -> None:
        self._do(lambda: self._virtual.blank(on=True))

    def SemUnblankBeam(self) -> None:
        self._do(lambda: self._virtual.blank(on=False))

    def SemGetVacuumChargeReductionState(self) -> SimpleNamespace:
        level = self._sem().charge_reduction
        return SimpleNamespace(
            target=VacuumChargeReduction[level.capitalize()], pressureEstimate=PRESSURES_PA[level]
        )

    def SemSetTargetVacuumChargeReduction(self, target: VacuumChargeReduction) -> None:
        self._do(self._virtual.set_charge_reduction, target.name.lower(), AWHILE_S)

    def GetSemViewingMode(self) -> SimpleNamespace:
        self._sem()
        return SimpleNamespace(scanParams=ScanParams(detector=self._detector))

    def SetSemViewingMode(self, mode: SimpleNamespace) -> None:
        if mode.scanParams.detector is DetectorMode.Sed and not self._sed_on:
            raise Error("SED is not enabled")
        self._detector = mode.scanParams.detector

    def SemEnableSed(self) -> None:
        if self.SemGetVacuumChargeReductionState().pressureEstimate >= 1.0:
            raise Error("Vacuum is not good enough for the SED")
        self._sed_on = True

    def SemAcquireImage(self, parameters: ScanParams) -> SimpleNamespace:
        return self._scan(parameters, self._sem().dwell_time_ns)

    def _scan(self, parameters: ScanParams, dwell_time_ns: float) -> SimpleNamespace:
        self._lit("acquire")
        virtual = self._virtual
        self._do(virtual.set_detector, "sed" if parameters.detector is DetectorMode.Sed else "bsd")
        self._do(virtual.set_scan, dwell_time_ns, min(parameters.nFrames, 64))
        virtual._size_px = (parameters.size.width, parameters.size.height)
        frame = self._do(virtual.acquire, AWHILE_S)
        virtual._blanked = False  # the vendor's call does not blank
        pixels = frame.pixels[: -40 if self._quirks.torn else None]
        width = 1e-6 * self._sem().hfw_um / parameters.size.width
        return SimpleNamespace(image=pixels, metadata=SimpleNamespace(pixelSize=SimpleNamespace(width=width)))

    @property
    def _mode(self) -> Mode:
        return self._virtual.status().mode

    def _sem(self) -> Any:
        if self._mode is not Mode.SEM:
            raise Error("This setting can be read in SEM mode only")
        if self._quirks.slow_mode > 0:
            self._quirks.slow_mode -= 1
            raise Error("The column is not ready")
        return self._virtual.state()

    def _lit(self, what: str) -> None:
        self._sem()
        if self._virtual._blanked:
            raise Error(f"{what}: the beam is blanked")

    def _do(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except MicroscopeError as error:
            raise Error(error.detail) from error


class PhenomEx(Phenom):
    """With the newer scan, which takes a dwell time."""

    def SemAcquireImageEx(self, parameters: ScanParamsEx) -> SimpleNamespace:
        return self._scan(parameters, 1e9 * parameters.dwellTime)


def pyphenom(virtual: VirtualMicroscope, quirks: Quirks, *, dwell_times: bool = True) -> types.ModuleType:
    """The module, with the older or newer way of scanning."""
    module = types.ModuleType("PyPhenom")
    kind = PhenomEx if dwell_times else Phenom
    module.Phenom = lambda *arguments: kind(virtual, quirks, arguments)
    module.MagnificationFromFieldWidth = lambda width, display: display / width
    for part in (Error, Position, Size, ScanParams, CamParams, DetectorMode, VacuumChargeReduction):
        setattr(module, part.__name__, part)
    if dwell_times:
        module.ScanParamsEx = ScanParamsEx
    return module
