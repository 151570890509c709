"""What the next frame is to be: checked as a whole, set in order, and put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from drivers.base import Microscope, MicroscopeState
from drivers.errors import OutOfRangeError, UnsupportedError
from schemas.acts import Capabilities

SCAN_TIMEOUT_FACTOR, SCAN_TIMEOUT_EXTRA_S = 3.0, 60.0
DWELL_USUAL_NS = 1000.0
"""Assumed of an instrument that does not tell it."""


@dataclass(frozen=True)
class Target:
    """What the next frame is to be; null leaves a setting as it is."""

    x_mm: float | None = None
    y_mm: float | None = None
    hfw_um: float | None = None
    detector: str | None = None
    voltage_kv: float | None = None
    charge_reduction: str | None = None
    dwell_time_ns: float | None = None
    frame_averages: int | None = None
    working_distance_mm: float | None = None
    autofocus: bool = False
    autostigmation: bool = False

    @property
    def moves(self) -> bool:
        """Whether the stage is to go anywhere."""
        return self.x_mm is not None or self.y_mm is not None


def check_range(device: str, command: str, name: str, value: float, bounds: tuple[float, float]) -> None:
    """Raise :class:`OutOfRangeError` where ``value`` is outside ``bounds`` or not finite."""
    if not bounds[0] <= value <= bounds[1]:
        raise OutOfRangeError(device, command, name, value, *bounds)


def check_choice(device: str, command: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise :class:`UnsupportedError` where ``value`` is none of ``choices``."""
    if value not in choices:
        there = ", ".join(choices) or "none"
        raise UnsupportedError(device, command, f"no {name} {value!r}; there are {there}")


def check_target(device: str, able: Capabilities, target: Target) -> None:
    """Refuse what an instrument cannot do, before anything is touched.

    Raises
    ------
    OutOfRangeError, UnsupportedError
        Naming the setting, the value and what would do.
    """
    command = "acquire"
    if not able.can_act:
        raise UnsupportedError(
            device, command, "this driver only reads frames; use the instrument's own software"
        )
    if target.moves and (able.stage_x_range_mm is None or able.stage_y_range_mm is None):
        raise UnsupportedError(device, command, "the stage cannot be moved; place the sample by hand")
    if target.dwell_time_ns is not None and not able.dwell_times_ns:
        raise UnsupportedError(device, command, "the dwell time cannot be set; ask for more frame averages")
    if target.voltage_kv is not None and able.voltage_range_kv is None:
        raise UnsupportedError(device, command, "the voltage cannot be set; set it by hand")
    if target.autofocus and not able.autofocus:
        raise UnsupportedError(device, command, "it has no autofocus; focus by hand")
    if target.autostigmation and not able.autostigmation:
        raise UnsupportedError(device, command, "it has no autostigmation; set the stigmator by hand")
    dwells_ns = able.dwell_times_ns
    limits = (
        ("x_mm", target.x_mm, able.stage_x_range_mm),
        ("y_mm", target.y_mm, able.stage_y_range_mm),
        ("hfw_um", target.hfw_um, (able.hfw_min_um or 0.0, able.hfw_max_um or np.inf)),
        ("voltage_kv", target.voltage_kv, able.voltage_range_kv),
        ("working_distance_mm", target.working_distance_mm, able.working_distance_range_mm),
        ("frame_averages", target.frame_averages, (1, able.frame_averages_max)),
        ("dwell_time_ns", target.dwell_time_ns, (min(dwells_ns), max(dwells_ns)) if dwells_ns else None),
    )
    for name, value, bounds in limits:
        if value is not None and bounds is not None:
            check_range(device, command, name, value, bounds)
    if target.detector is not None:
        check_choice(device, command, "detector", target.detector, able.detectors)
    if target.charge_reduction is not None:
        check_choice(device, command, "charge reduction", target.charge_reduction, able.charge_reductions)


def nearest_dwell_time_ns(capabilities: Capabilities, wanted_ns: float) -> float:
    """The dwell time on offer that is nearest from above, or the longest."""
    longer = [d for d in capabilities.dwell_times_ns if d >= wanted_ns * 0.999]
    return min(longer) if longer else max(capabilities.dwell_times_ns, default=wanted_ns)


def scan_timeout_s(microscope: Microscope) -> float:
    """How long the next frame may take at most."""
    state, able = microscope.state(), microscope.capabilities()
    pixels = (able.width_px or 4096) * (able.height_px or 4096)
    scan_s = pixels * state.frame_averages * (state.dwell_time_ns or DWELL_USUAL_NS) * 1e-9
    return SCAN_TIMEOUT_EXTRA_S + SCAN_TIMEOUT_FACTOR * scan_s


def beam_of(state: MicroscopeState, now: MicroscopeState) -> MicroscopeState:
    """Detector, voltage, gas, spot, amplifier and scan of ``state``; place, field, focus and stigmator as they are."""
    kept = ("x_mm", "y_mm", "hfw_um", "working_distance_mm", "stigmator", "scan_rotation_deg")
    return replace(state, **{name: getattr(now, name) for name in kept})


def go_to(microscope: Microscope, target: Target, timeout_s: float) -> None:
    """Check a target, then set what it names: place, field width, beam, detector, scan, and last the focus.

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
    if target.voltage_kv is not None:
        microscope.set_voltage(target.voltage_kv)
    if target.charge_reduction is not None:
        microscope.set_charge_reduction(target.charge_reduction, timeout_s)
    if target.dwell_time_ns is not None or target.frame_averages is not None:
        wanted_ns = before.dwell_time_ns if target.dwell_time_ns is None else target.dwell_time_ns
        dwell_ns = None if wanted_ns is None else nearest_dwell_time_ns(capabilities, wanted_ns)
        averages = before.frame_averages if target.frame_averages is None else target.frame_averages
        microscope.set_scan(dwell_ns, averages)
    if target.working_distance_mm is not None:
        microscope.set_working_distance(target.working_distance_mm)
    if target.autofocus:
        microscope.autofocus(timeout_s)
    if target.autostigmation:
        microscope.autostigmate(timeout_s)


def restore(microscope: Microscope, state: MicroscopeState, timeout_s: float) -> None:
    """Put back everything that differs from ``state``; what either side does not know stays as it is.

    Raises
    ------
    MicroscopeError
        Where a step fails; what came before it is restored.
    """
    now = microscope.state()

    def differs(*names: str) -> bool:
        pairs = [(getattr(now, name), getattr(state, name)) for name in names]
        return all(None not in pair for pair in pairs) and any(is_now != was for is_now, was in pairs)

    steps: list[tuple[bool, Callable[[], object]]] = [
        (differs("x_mm", "y_mm"), lambda: microscope.move_to(state.x_mm, state.y_mm, timeout_s)),
        (differs("hfw_um"), lambda: microscope.set_hfw(state.hfw_um)),
        (differs("scan_rotation_deg"), lambda: microscope.set_scan_rotation(state.scan_rotation_deg or 0.0)),
        (differs("detector"), lambda: microscope.set_detector(state.detector)),
        (differs("voltage_kv"), lambda: microscope.set_voltage(state.voltage_kv)),
        (
            differs("charge_reduction"),
            lambda: microscope.set_charge_reduction(state.charge_reduction or "", timeout_s),
        ),
        (differs("spot_size"), lambda: microscope.set_spot_size(state.spot_size or 0.0)),
        (
            differs("dwell_time_ns") or differs("frame_averages"),
            lambda: microscope.set_scan(state.dwell_time_ns, state.frame_averages),
        ),
        (differs("working_distance_mm"), lambda: microscope.set_working_distance(state.working_distance_mm)),
        (differs("stigmator"), lambda: microscope.set_stigmator(*(state.stigmator or (0.0, 0.0)))),
        (
            differs("contrast", "brightness"),
            lambda: microscope.set_contrast_brightness(state.contrast or 0.0, state.brightness or 0.0),
        ),
    ]
    for wanted, step in steps:
        if wanted:
            step()
