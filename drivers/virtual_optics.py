"""What the virtual microscope's stage, lenses and amplifier do: models, with their errors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drivers.base import MicroscopeState
from drivers.stub import RADIUS_MM, StubHolder
from labsem.frames import write_atomically
from labsem.simulation import SimulatedFrame, View
from labsem.simulation.rotation import render_rotated
from schemas.acts import Capabilities

DISPLAY_WIDTH_UM: Final = 0.5e6
"""Width of the display to which the reported magnification refers."""

WORKING_DISTANCE_RANGE_MM: Final = (2.0, 30.0)
VOLTAGE_RANGE_KV: Final = (5.0, 15.0)
SPOT_RANGE: Final = (2.1, 5.1)
SPOT_USUAL: Final = SPOT_RANGE[0] * 1.5
STIGMATOR_RANGE: Final = (-1.0, 1.0)
ASTIGMATISM_UM: Final = 1000.0
"""Distance between the foci of the two axes when the stigmator is off by 1; it is right at 0."""

DEPTH_ANGLE_RAD: Final = 8e-3
"""Full angle of the beam: a pixel's width over it is the depth within which a blur cannot be seen."""

CHARGE_LEFT: Final = {"off": 1.0, "low": 0.5, "medium": 0.25, "high": 0.1}
"""Share of an insulator's charge that each level of gas leaves."""

OVERVIEW_WIDTH_PX: Final = 912
COARSE_PX: Final = (160, 100)
GREYS: Final = (0.05, 0.9)
"""Range over which the automatic amplifier spreads the darkest and brightest hundredth."""


@dataclass(frozen=True)
class Latency:
    """Durations of a desktop instrument's commands, in seconds, before the factor ``latency``."""

    connect: float = 1.0
    move: float = 1.5
    hfw: float = 0.3
    autofocus: float = 4.0
    detector: float = 0.5
    voltage: float = 3.0
    mode: float = 15.0
    activate: float = 30.0


def able(holder: StubHolder, size_px: tuple[int, int], sizes_px: tuple[tuple[int, int], ...]) -> Capabilities:
    """Capabilities of a desktop SEM with a motorised stage."""
    x_mm, y_mm = holder.range_mm
    return Capabilities(
        can_act=True,
        hfw_min_um=1.0,
        hfw_max_um=2000.0,
        stage_x_range_mm=x_mm,
        stage_y_range_mm=y_mm,
        detectors=("sed", "bsd"),
        dwell_times_ns=(5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0),
        frame_averages_max=64,
        width_px=size_px[0],
        height_px=size_px[1],
        scan_sizes_px=sizes_px,
        voltage_range_kv=VOLTAGE_RANGE_KV,
        working_distance_range_mm=WORKING_DISTANCE_RANGE_MM,
        spot_size_range=SPOT_RANGE,
        stigmator_range=STIGMATOR_RANGE,
        autofocus=True,
        autostigmation=True,
        scan_rotation=True,
        contrast_brightness=True,
        auto_contrast_brightness=True,
        blanking=True,
        navigation_camera=True,
        charge_reductions=tuple(CHARGE_LEFT),
        cannot=("tilt the stage", "change the sample"),
    )


def first_state(x_mm: float, y_mm: float, focus_mm: float) -> MicroscopeState:
    """As the instrument is found: in focus at the first stub."""
    return MicroscopeState(
        x_mm=x_mm,
        y_mm=y_mm,
        hfw_um=250.0,
        working_distance_mm=focus_mm,
        detector="bsd",
        voltage_kv=10.0,
        dwell_time_ns=400.0,
        frame_averages=4,
        scan_rotation_deg=0.0,
        stigmator=(0.0, 0.0),
        contrast=0.5,
        brightness=0.5,
        spot_size=SPOT_USUAL,
        charge_reduction="off",
    )


def draw_holder(holder: StubHolder) -> NDArray[np.uint8]:
    """What an optical camera would see from above: stubs with tape, on a dark holder."""
    (x0_mm, x1_mm), (y0_mm, y1_mm) = holder.range_mm
    pixel_mm = (x1_mm - x0_mm + 2) / OVERVIEW_WIDTH_PX
    x_mm = x0_mm - 1 + pixel_mm * np.arange(OVERVIEW_WIDTH_PX)
    y_mm = y0_mm - 1 + pixel_mm * np.arange(max(round((y1_mm - y0_mm + 2) / pixel_mm), 8))
    picture = np.full((len(y_mm), len(x_mm), 3), (38, 40, 46), np.uint8)
    for sample in holder.samples:
        centre_x_mm, centre_y_mm = holder.centre_mm(sample)
        away_mm = np.hypot(x_mm[None, :] - centre_x_mm, y_mm[:, None] - centre_y_mm)
        picture[away_mm <= RADIUS_MM] = (176, 174, 168)
        picture[away_mm <= RADIUS_MM - 0.4] = (92, 88, 84)
    return picture


def remember(file: Path | None, state: MicroscopeState) -> None:
    """Keep where the instrument stands."""
    if file is not None:
        write_atomically(file, json.dumps(asdict(state)).encode())


def remembered(file: Path | None) -> MicroscopeState | None:
    """Where the instrument was left; None where nothing was kept."""
    if file is None or not file.exists():
        return None
    kept = json.loads(file.read_bytes())
    return MicroscopeState(**{**kept, "stigmator": tuple(kept["stigmator"])})


class VirtualOptics:
    """Where the stage really stands, and what is seen there.

    Parameters
    ----------
    seed
        Of the errors: two microscopes of one seed make the same ones.
    stage_error_um, backlash_um, hfw_shift
        As of :class:`drivers.virtual.VirtualMicroscope`.
    """

    def __init__(
        self, holder: StubHolder, seed: int, *, stage_error_um: float, backlash_um: float, hfw_shift: float
    ) -> None:
        self._holder = holder
        self._rng = np.random.default_rng([seed, 71])
        self._stage_error_um, self._backlash_um = stage_error_um, backlash_um
        fixed = np.random.default_rng([seed, 72])
        angle = fixed.uniform(0, 2 * np.pi)
        self._shift = hfw_shift * np.array([np.cos(angle), np.sin(angle)])
        self._offset_um = np.zeros(2)
        self._scans = 0

    def moved(self, begun_mm: tuple[float, float], wanted_mm: tuple[float, float]) -> None:
        """Come to rest: with an error, and behind by the backlash on an axis that came from the smaller side."""
        way_mm = np.subtract(wanted_mm, begun_mm)
        error_um = self._rng.normal(0, 1, 2) * self._stage_error_um
        self._offset_um = error_um - np.where(way_mm > 0, self._backlash_um, 0.0)

    def depth_um(self, state: MicroscopeState, width_px: int) -> float:
        """Depth of field of a pixel."""
        return state.hfw_um / width_px / DEPTH_ANGLE_RAD

    def found_focus_mm(self, state: MicroscopeState, width_px: int) -> float:
        """Working distance that the autofocus finds."""
        error_um = float(self._rng.normal(0, 0.2 * self.depth_um(state, width_px)))
        return self._holder.focus_mm(state.x_mm, state.y_mm) + error_um / 1000

    def found_stigmator(self, state: MicroscopeState, width_px: int) -> tuple[float, float]:
        """Stigmator that the automatic correction finds."""
        off = self._rng.normal(0, 0.2 * self.depth_um(state, width_px) / ASTIGMATISM_UM, 2)
        return float(off[0]), float(off[1])

    def stigmator_for(self, astigmatism_um: float) -> tuple[float, float]:
        """The setting that parts the foci of the two axes by so much."""
        return float(np.clip(astigmatism_um / ASTIGMATISM_UM, *STIGMATOR_RANGE)), 0.0

    def fitted_amplifier(self, state: MicroscopeState) -> tuple[float, float]:
        """Contrast and brightness that spread the greys of a coarse scan over :data:`GREYS`."""
        width_px, height_px = COARSE_PX
        open_wide = View(width_px=width_px, height_px=height_px, contrast=0.25, brightness=0.25, bits=16)
        frame = self._render(state, open_wide, dwell_time_ns=1e5)
        low, high = (np.percentile(frame.pixels, [1, 99]) / (2**16 - 1) - 0.25) / 0.25
        gain = float(np.clip((GREYS[1] - GREYS[0]) / max(high - low, 1e-3), 0.0, 2.0))
        return gain / 2, float(np.clip(GREYS[0] - gain * low + 0.5, 0.0, 1.0))

    def scan(self, state: MicroscopeState, width_px: int, height_px: int) -> SimulatedFrame:
        """The frame that is seen at the place really reached."""
        self._scans += 1
        view = View(
            width_px=width_px,
            height_px=height_px,
            contrast=2 * (0.5 if state.contrast is None else state.contrast),
            brightness=(0.5 if state.brightness is None else state.brightness) - 0.5,
        )
        return self._render(state, view, dwell_time_ns=state.dwell_time_ns or 400.0)

    def _render(self, state: MicroscopeState, amplifier: View, *, dwell_time_ns: float) -> SimulatedFrame:
        world, x_mm, y_mm = self._holder.world_at(state.x_mm, state.y_mm)
        focus_mm = self._holder.focus_mm(state.x_mm, state.y_mm)
        dx_um, dy_um = self._offset_um + self._shift * (state.hfw_um - 250.0)
        view = View(
            x_mm=x_mm + dx_um / 1000,
            y_mm=y_mm + dy_um / 1000,
            hfw_um=state.hfw_um,
            width_px=amplifier.width_px,
            height_px=amplifier.height_px,
            defocus_um=1000 * (state.working_distance_mm - focus_mm),
            astigmatism_um=ASTIGMATISM_UM * float(np.hypot(*(state.stigmator or (0.0, 0.0)))),
            accelerating_voltage_kv=state.voltage_kv,
            spot=(state.spot_size or SPOT_USUAL) / SPOT_USUAL,
            charging=CHARGE_LEFT[state.charge_reduction or "off"],
            dwell_time_ns=dwell_time_ns,
            frame_averages=state.frame_averages,
            detector="sed" if state.detector == "sed" else "bsd",
            contrast=amplifier.contrast,
            brightness=amplifier.brightness,
            bits=amplifier.bits,
            noise_seed=self._scans,
        )
        return render_rotated(world, view, state.scan_rotation_deg or 0.0)
