"""A Phenom desktop SEM through the vendor's PyPhenom (Phenom Programming Interface 2.x), which the lab installs.

The vendor counts in metres, radians and negative volts; here, as everywhere in labsem, lengths are mm and um and
voltages kV. Settings can be read in SEM mode only, and a mode is reported before it is ready.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final

import numpy as np
import structlog

from drivers.base import AcquiredFrame, MicroscopeState
from drivers.errors import (
    FocusError,
    MicroscopeError,
    MicroscopeTimeoutError,
    StageError,
    StoppedError,
    TransferError,
    UnsupportedError,
    VacuumError,
)
from drivers.phenom_link import PhenomLink
from drivers.targets import Target, check_choice, check_range, check_target
from schemas.acts import Capabilities
from schemas.base import utc_now
from schemas.image import Acquisition

log = structlog.get_logger(__name__)

DISPLAY_WIDTH_M: Final = 0.5
SIZES_PX: Final = ((960, 600), (1920, 1200), (3840, 2400), (7680, 4800))
DETECTORS: Final = {
    "bsd": "All",
    "bsd-topo-ns": "NorthSouth",
    "bsd-topo-ew": "EastWest",
    "bsd-a": "A",
    "bsd-b": "B",
    "bsd-c": "C",
    "bsd-d": "D",
    "sed": "Sed",
}
"""Names here and in the vendor's DetectorMode."""

CHARGE_REDUCTIONS: Final = {"off": "Off", "low": "Low", "medium": "Medium", "high": "High"}
DWELL_TIMES_NS: Final = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)
SPOT_RANGE: Final = (2.1, 5.1)
VOLTAGE_RANGE_KV: Final = (4.8, 20.5)
WORKING_DISTANCE_RANGE_MM: Final = (2.0, 30.0)
FOCUS_STEP_MAX_MM: Final = 3.0
"""An autofocus that ends further away than this has lost the sample."""

ARRIVED_MM: Final = 0.01
SED_PRESSURE_MAX_PA: Final = 1.0


class PhenomMicroscope(PhenomLink):
    """A Phenom.

    Parameters
    ----------
    phenom_id
        Its id or address; ``Simulator`` is the vendor's own simulator; empty: the one found with an installed licence.
    credentials_file
        TOML file with ``user`` and ``password``; ``LABSEM_PHENOM_USER`` and ``LABSEM_PHENOM_PASSWORD`` win over it.
    width_px, height_px
        Size of a frame, one of :data:`SIZES_PX`.
    stage_half_range_mm
        How far from the middle the stage may be sent on either axis; as the sample holder allows.
    poll_s
        Pause between looks at an instrument that is changing its mode.
    """

    def __init__(
        self,
        *,
        phenom_id: str = "",
        credentials_file: str = "",
        width_px: int = 1920,
        height_px: int = 1200,
        stage_half_range_mm: float = 25.0,
        poll_s: float = 1.0,
    ) -> None:
        if (width_px, height_px) not in SIZES_PX:
            raise ValueError(f"no frame of {width_px} x {height_px} px; there are {_sizes()}")
        if stage_half_range_mm <= 0 or poll_s <= 0:
            raise ValueError("stage_half_range_mm and poll_s must be over 0")
        super().__init__(phenom_id=phenom_id, credentials_file=credentials_file, poll_s=poll_s)
        self._stage_mm = stage_half_range_mm
        self._size_px = (width_px, height_px)
        self._dwell_ns: float | None = None
        self._averages = 4
        self._detector = "bsd"
        self._rotation_deg: float | None = None
        self._level: str | None = None
        self._hfw_range_um = (1.0, 2000.0)

    def capabilities(self) -> Capabilities:
        """What a Phenom can do; whether the dwell time can be set is known once it is connected."""
        return Capabilities(
            can_act=True,
            hfw_min_um=self._hfw_range_um[0],
            hfw_max_um=self._hfw_range_um[1],
            stage_x_range_mm=(-self._stage_mm, self._stage_mm),
            stage_y_range_mm=(-self._stage_mm, self._stage_mm),
            detectors=tuple(DETECTORS),
            dwell_times_ns=DWELL_TIMES_NS if self._sets_dwell() else (),
            frame_averages_max=255,
            width_px=self._size_px[0],
            height_px=self._size_px[1],
            scan_sizes_px=SIZES_PX,
            voltage_range_kv=VOLTAGE_RANGE_KV,
            working_distance_range_mm=WORKING_DISTANCE_RANGE_MM,
            spot_size_range=SPOT_RANGE,
            stigmator_range=(-1.0, 1.0),
            autofocus=True,
            autostigmation=True,
            scan_rotation=True,
            auto_contrast_brightness=True,
            blanking=True,
            navigation_camera=True,
            charge_reductions=tuple(CHARGE_REDUCTIONS),
            cannot=("tilt the stage", "change the sample", "set contrast and brightness to a value"),
        )

    def connect(self, timeout_s: float) -> None:
        """Open the instrument; whether the dwell time can be set is known then."""
        super().connect(timeout_s)
        if self._sets_dwell() and self._dwell_ns is None:
            self._dwell_ns = DWELL_TIMES_NS[3]

    def activate(self, timeout_s: float) -> None:
        """Bring it to SEM mode, and read the range of its field width."""
        super().activate(timeout_s)
        reach = self._call("activate", self._device("activate").GetHFWRange)
        self._hfw_range_um = (1e6 * reach.begin, 1e6 * reach.end)

    def state(self) -> MicroscopeState:
        """Where it stands; readable in SEM mode only."""
        phenom = self._in_sem("state")

        def read() -> MicroscopeState:
            position = phenom.GetStageModeAndPosition().position
            stigmator = phenom.GetSemStigmate()
            return MicroscopeState(
                x_mm=round(1e3 * position.x, 6),
                y_mm=round(1e3 * position.y, 6),
                hfw_um=round(1e6 * phenom.GetHFW(), 6),
                working_distance_mm=round(1e3 * phenom.GetSemWD(), 6),
                detector=self._detector,
                voltage_kv=round(-1e-3 * phenom.GetSemHighTension(), 6),
                dwell_time_ns=self._dwell_ns,
                frame_averages=self._averages,
                scan_rotation_deg=self._rotation_deg,
                stigmator=(stigmator.x, stigmator.y),
                spot_size=phenom.GetSemSpotSize(),
                charge_reduction=self._reduction(phenom.SemGetVacuumChargeReductionState().target),
            )

        return self._call("state", read)

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage; one that raises and still arrives has arrived."""
        return self._move("move_to", (x_mm, y_mm), timeout_s)

    def move_by(self, dx_mm: float, dy_mm: float, timeout_s: float) -> tuple[float, float]:
        """Move the stage from where it stands."""
        phenom = self._in_sem("move_by")
        begun = self._call("move_by", lambda: phenom.GetStageModeAndPosition().position)
        return self._move("move_by", (1e3 * begun.x + dx_mm, 1e3 * begun.y + dy_mm), timeout_s)

    def set_hfw(self, hfw_um: float) -> float:
        """Set the field width."""
        check_target(self.name, self.capabilities(), Target(hfw_um=hfw_um))
        phenom = self._in_sem("set_hfw")
        self._call("set_hfw", lambda: phenom.SetHFW(1e-6 * hfw_um))
        return 1e6 * float(self._call("set_hfw", phenom.GetHFW))

    def set_scan_rotation(self, rotation_deg: float) -> None:
        """Turn the scan."""
        check_range(self.name, "set_scan_rotation", "rotation_deg", rotation_deg, (-180.0, 180.0))
        phenom = self._in_sem("set_scan_rotation")
        self._call("set_scan_rotation", lambda: phenom.SetSemRotation(math.radians(rotation_deg)))
        self._rotation_deg = rotation_deg

    def set_working_distance(self, working_distance_mm: float) -> None:
        """Focus at a distance."""
        command = "set_working_distance"
        check_range(self.name, command, "working_distance_mm", working_distance_mm, WORKING_DISTANCE_RANGE_MM)
        phenom = self._in_sem(command)
        self._call(command, lambda: phenom.SetSemWD(1e-3 * working_distance_mm))

    def autofocus(self, timeout_s: float) -> float:
        """Focus on what is seen; where it ends at an absurd distance the old one is put back."""
        phenom = self._in_sem("autofocus")
        before_mm = 1e3 * float(self._call("autofocus", phenom.GetSemWD))
        self._with_beam("autofocus", phenom.SemAutoFocus, timeout_s)
        found_mm = 1e3 * float(self._call("autofocus", phenom.GetSemWD))
        low, high = WORKING_DISTANCE_RANGE_MM
        if not (low <= found_mm <= high and abs(found_mm - before_mm) <= FOCUS_STEP_MAX_MM):
            self._call("autofocus", lambda: phenom.SetSemWD(1e-3 * before_mm))
            raise FocusError(
                self.name, "autofocus", f"ended at {found_mm:.3f} mm; put back to {before_mm:.3f} mm"
            )
        return found_mm

    def set_stigmator(self, x: float, y: float) -> None:
        """Set the stigmator."""
        for name, value in (("x", x), ("y", y)):
            check_range(self.name, "set_stigmator", name, value, (-1.0, 1.0))
        phenom = self._in_sem("set_stigmator")
        self._call("set_stigmator", lambda: phenom.SetSemStigmate(self._ppi.Position(x, y)))

    def autostigmate(self, timeout_s: float) -> tuple[float, float]:
        """Correct astigmatism on what is seen."""
        phenom = self._in_sem("autostigmate")
        self._with_beam("autostigmate", phenom.SemAutoStigmate, timeout_s)
        found = self._call("autostigmate", phenom.GetSemStigmate)
        return float(found.x), float(found.y)

    def auto_contrast_brightness(self, timeout_s: float) -> None:
        """Fit the amplifier to what is seen."""
        phenom = self._in_sem("auto_contrast_brightness")
        self._with_beam("auto_contrast_brightness", phenom.SemAutoContrastBrightness, timeout_s)

    def set_detector(self, detector: str) -> None:
        """Choose a detector; the secondary electron detector needs a good vacuum and is switched on first."""
        check_choice(self.name, "set_detector", "detector", detector, tuple(DETECTORS))
        phenom = self._in_sem("set_detector")

        def choose() -> None:
            if detector == "sed":
                pressure_pa = phenom.SemGetVacuumChargeReductionState().pressureEstimate
                if pressure_pa >= SED_PRESSURE_MAX_PA:
                    raise VacuumError(
                        self.name,
                        "set_detector",
                        f"sed needs under {SED_PRESSURE_MAX_PA:g} Pa, there are {pressure_pa:.2g}; "
                        "switch charge reduction off and wait",
                    )
                phenom.SemEnableSed()
            viewing = phenom.GetSemViewingMode()
            viewing.scanParams.detector = self._detector_mode(detector)
            phenom.SetSemViewingMode(viewing)

        self._call("set_detector", choose)
        self._detector = detector

    def set_voltage(self, voltage_kv: float) -> None:
        """Set the accelerating voltage."""
        check_range(self.name, "set_voltage", "voltage_kv", voltage_kv, VOLTAGE_RANGE_KV)
        phenom = self._in_sem("set_voltage")
        self._call("set_voltage", lambda: phenom.SetSemHighTension(-1e3 * voltage_kv))

    def set_spot_size(self, spot_size: float) -> None:
        """Set the spot size."""
        check_range(self.name, "set_spot_size", "spot_size", spot_size, SPOT_RANGE)
        phenom = self._in_sem("set_spot_size")
        self._call("set_spot_size", lambda: phenom.SetSemSpotSize(spot_size))

    def set_charge_reduction(self, level: str, timeout_s: float) -> None:
        """Set the target of the vacuum, and wait until the pressure rests."""
        command = "set_charge_reduction"
        check_choice(self.name, command, "charge reduction", level, tuple(CHARGE_REDUCTIONS))
        phenom = self._in_sem(command)
        target = getattr(self._ppi.VacuumChargeReduction, CHARGE_REDUCTIONS[level])
        self._call(command, lambda: phenom.SemSetTargetVacuumChargeReduction(target), timeout_s)
        self._level = level
        seen_pa = [math.inf]

        def rests() -> bool:
            pressure_pa = self._call(command, phenom.SemGetVacuumChargeReductionState).pressureEstimate
            seen_pa.append(pressure_pa)
            return abs(seen_pa[-1] - seen_pa[-2]) <= 0.05 * max(abs(seen_pa[-1]), 1e-3)

        self._until(time.monotonic() + timeout_s, command, rests)

    def set_scan(self, dwell_time_ns: float | None, frame_averages: int) -> None:
        """For the next frames; the dwell time where this software version takes one."""
        target = Target(dwell_time_ns=dwell_time_ns, frame_averages=frame_averages)
        check_target(self.name, self.capabilities(), target)
        self._in_sem("set_scan")
        self._dwell_ns = self._dwell_ns if dwell_time_ns is None else dwell_time_ns
        self._averages = frame_averages

    def set_scan_size(self, width_px: int, height_px: int) -> None:
        """For the next frames."""
        if (width_px, height_px) not in SIZES_PX:
            detail = f"no frame of {width_px} x {height_px} px; there are {_sizes()}"
            raise UnsupportedError(self.name, "set_scan_size", detail)
        self._in_sem("set_scan_size")
        self._size_px = (width_px, height_px)

    def blank(self, *, on: bool) -> None:
        """Keep the beam from the sample, or let it through."""
        phenom = self._in_sem("blank")
        self._call("blank", phenom.SemBlankBeam if on else phenom.SemUnblankBeam)

    def acquire(self, timeout_s: float) -> AcquiredFrame:
        """Scan one frame, with the beam unblanked for it."""
        phenom = self._in_sem("acquire")
        parameters = self._parameters()
        scan = phenom.SemAcquireImageEx if self._dwell_ns is not None else phenom.SemAcquireImage
        taken = self._with_beam("acquire", lambda: scan(parameters), timeout_s)
        acquired_at = utc_now()
        pixels = np.asarray(taken.image)
        width_px, height_px = self._size_px
        if pixels.shape != (height_px, width_px) or pixels.dtype not in (np.uint8, np.uint16):
            raise TransferError(
                self.name, "acquire", f"{pixels.dtype} {pixels.shape} came for {width_px} x {height_px} px"
            )
        state = self.state()
        pixel_nm = 1e9 * float(taken.metadata.pixelSize.width)
        hfw_um = pixel_nm * width_px / 1000
        acquisition = Acquisition(
            hfw_um=hfw_um,
            pixel_size_nm=pixel_nm,
            magnification=float(self._ppi.MagnificationFromFieldWidth(1e-6 * hfw_um, DISPLAY_WIDTH_M)),
            working_distance_mm=state.working_distance_mm,
            accelerating_voltage_kv=state.voltage_kv,
            detector=self._detector,
            dwell_time_ns=self._dwell_ns,
            frame_averages=self._averages,
        )
        return AcquiredFrame(pixels, acquisition, state.x_mm, state.y_mm, self._rotation_deg, acquired_at)

    def _move(self, command: str, place_mm: tuple[float, float], timeout_s: float) -> tuple[float, float]:
        for name, value in zip(("x_mm", "y_mm"), place_mm, strict=True):
            check_range(self.name, command, name, value, (-self._stage_mm, self._stage_mm))
        phenom = self._in_sem(command)
        failure: MicroscopeError | None = None
        try:
            self._call(command, lambda: phenom.MoveTo(1e-3 * place_mm[0], 1e-3 * place_mm[1]), timeout_s)
        except (MicroscopeTimeoutError, StoppedError):
            raise
        except MicroscopeError as error:
            failure = error
        reached = self._call(command, lambda: phenom.GetStageModeAndPosition().position)
        x_mm, y_mm = 1e3 * float(reached.x), 1e3 * float(reached.y)
        away_mm = math.hypot(x_mm - place_mm[0], y_mm - place_mm[1])
        if away_mm <= ARRIVED_MM:
            if failure is not None:
                log.warning("move_raised_and_arrived", error=str(failure), away_mm=away_mm)
            return x_mm, y_mm
        if failure is not None and type(failure) is not MicroscopeError:
            raise failure
        detail = f"the stage stands at {x_mm:.4f}, {y_mm:.4f} mm, {away_mm:.4f} mm from where it was sent"
        raise StageError(self.name, command, detail + (f" ({failure.detail})" if failure else ""))

    def _sets_dwell(self) -> bool:
        return hasattr(self._ppi, "ScanParamsEx") and hasattr(self._phenom, "SemAcquireImageEx")

    def _parameters(self) -> Any:
        ppi = self._ppi
        parameters = ppi.ScanParams() if self._dwell_ns is None else ppi.ScanParamsEx()
        parameters.size = ppi.Size(*self._size_px)
        parameters.detector = self._detector_mode(self._detector)
        parameters.nFrames = self._averages
        parameters.hdr = False
        parameters.scale = 1.0
        parameters.center = ppi.Position(0.0, 0.0)
        if self._dwell_ns is not None:
            parameters.dwellTime = 1e-9 * self._dwell_ns
        return parameters

    def _detector_mode(self, detector: str) -> Any:
        return getattr(self._ppi.DetectorMode, DETECTORS[detector])

    def _reduction(self, target: Any) -> str | None:
        levels = self._ppi.VacuumChargeReduction
        known = [level for level, name in CHARGE_REDUCTIONS.items() if getattr(levels, name) == target]
        # What the target counts in is not documented; where it is no level, the level set last stands.
        return next(iter(known), self._level)


def _sizes() -> str:
    return ", ".join(f"{width} x {height}" for width, height in SIZES_PX)
