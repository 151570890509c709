"""What :mod:`drivers.testing` asks of a driver: every command, values out of range, and settings to be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from drivers.base import Microscope, MicroscopeState
from schemas.acts import Capabilities

CHOICES = frozenset({"set_detector", "set_charge_reduction", "set_scan_size"})
"""Commands that :func:`commands` asks for something that no instrument has."""


def commands(microscope: Microscope, timeout_s: float) -> list[tuple[str, Callable[[], object]]]:
    """Every command but those that connect and activate, by name, asked for something harmless or impossible."""
    return [
        ("state", microscope.state),
        ("standby", lambda: microscope.standby(timeout_s)),
        ("load", lambda: microscope.load(timeout_s)),
        ("unload", lambda: microscope.unload(timeout_s)),
        ("overview", lambda: microscope.overview(timeout_s)),
        ("move_to", lambda: microscope.move_to(0.0, 0.0, timeout_s)),
        ("move_by", lambda: microscope.move_by(0.0, 0.0, timeout_s)),
        ("set_hfw", lambda: microscope.set_hfw(100.0)),
        ("set_scan_rotation", lambda: microscope.set_scan_rotation(0.0)),
        ("set_working_distance", lambda: microscope.set_working_distance(8.0)),
        ("autofocus", lambda: microscope.autofocus(timeout_s)),
        ("set_stigmator", lambda: microscope.set_stigmator(0.0, 0.0)),
        ("autostigmate", lambda: microscope.autostigmate(timeout_s)),
        ("set_contrast_brightness", lambda: microscope.set_contrast_brightness(0.5, 0.5)),
        ("auto_contrast_brightness", lambda: microscope.auto_contrast_brightness(timeout_s)),
        ("set_detector", lambda: microscope.set_detector("no such detector")),
        ("set_voltage", lambda: microscope.set_voltage(10.0)),
        ("set_spot_size", lambda: microscope.set_spot_size(3.0)),
        ("set_charge_reduction", lambda: microscope.set_charge_reduction("none such", timeout_s)),
        ("set_scan", lambda: microscope.set_scan(None, 1)),
        ("set_scan_size", lambda: microscope.set_scan_size(7, 7)),
        ("blank", lambda: microscope.blank(on=True)),
        ("acquire", lambda: microscope.acquire(timeout_s)),
    ]


def out_of_range(
    microscope: Microscope, able: Capabilities, timeout_s: float
) -> list[tuple[str, Callable[[], object]]]:
    """Calls of what the instrument has, each with a value that none has."""
    calls: list[tuple[str, Callable[[], object]]] = [
        ("set_hfw", lambda: microscope.set_hfw(1e9)),
        ("set_hfw of nan", lambda: microscope.set_hfw(float("nan"))),
        ("set_scan", lambda: microscope.set_scan(None, able.frame_averages_max + 1)),
    ]
    if able.stage_x_range_mm is not None:
        calls.append(("move_to", lambda: microscope.move_to(1e6, 0.0, timeout_s)))
        calls.append(("move_by", lambda: microscope.move_by(0.0, -1e6, timeout_s)))
    if able.working_distance_range_mm is not None:
        calls.append(("set_working_distance", lambda: microscope.set_working_distance(1e6)))
    if able.voltage_range_kv is not None:
        calls.append(("set_voltage", lambda: microscope.set_voltage(1e6)))
    if able.spot_size_range is not None:
        calls.append(("set_spot_size", lambda: microscope.set_spot_size(1e6)))
    if able.stigmator_range is not None:
        calls.append(("set_stigmator", lambda: microscope.set_stigmator(1e6, 0.0)))
    if able.contrast_brightness:
        calls.append(("set_contrast_brightness", lambda: microscope.set_contrast_brightness(7.0, 0.5)))
    if able.dwell_times_ns:
        calls.append(("set_scan's dwell", lambda: microscope.set_scan(1e12, 1)))
    return calls


def settings(
    microscope: Microscope, able: Capabilities, before: MicroscopeState, timeout_s: float
) -> list[tuple[str, str, Any, Callable[[], object]]]:
    """Name, field of the state, value to reach and the call, of each setting that the instrument has."""
    hfw_um = another(before.hfw_um, (able.hfw_min_um or 0.0, able.hfw_max_um or np.inf))
    averages = min(before.frame_averages + 1, able.frame_averages_max)
    found: list[tuple[str, str, Any, Callable[[], object]]] = [
        ("set_hfw", "hfw_um", hfw_um, lambda: microscope.set_hfw(hfw_um)),
        (
            "set_scan",
            "frame_averages",
            averages,
            lambda: microscope.set_scan(before.dwell_time_ns, averages),
        ),
    ]
    detector = next((name for name in able.detectors if name != before.detector), before.detector)
    if len(able.detectors) > 1:
        found.append(("set_detector", "detector", detector, lambda: microscope.set_detector(detector)))
    if able.dwell_times_ns:
        dwell_ns = next(
            d for d in (*able.dwell_times_ns[1:], able.dwell_times_ns[0]) if d != before.dwell_time_ns
        )
        found.append(
            (
                "set_scan's dwell",
                "dwell_time_ns",
                dwell_ns,
                lambda: microscope.set_scan(dwell_ns, averages),
            )
        )
    if able.voltage_range_kv is not None:
        voltage_kv = another(before.voltage_kv, able.voltage_range_kv)
        found.append(("set_voltage", "voltage_kv", voltage_kv, lambda: microscope.set_voltage(voltage_kv)))
    if able.working_distance_range_mm is not None:
        distance_mm = another(before.working_distance_mm, able.working_distance_range_mm)
        found.append(
            (
                "set_working_distance",
                "working_distance_mm",
                distance_mm,
                lambda: microscope.set_working_distance(distance_mm),
            )
        )
    if able.spot_size_range is not None:
        spot = another(before.spot_size or able.spot_size_range[0], able.spot_size_range)
        found.append(("set_spot_size", "spot_size", spot, lambda: microscope.set_spot_size(spot)))
    if able.stigmator_range is not None:
        low, high = able.stigmator_range
        pair = (low + 0.6 * (high - low), low + 0.4 * (high - low))
        found.append(("set_stigmator", "stigmator", pair, lambda: microscope.set_stigmator(*pair)))
    if able.scan_rotation:
        found.append(
            ("set_scan_rotation", "scan_rotation_deg", 3.0, lambda: microscope.set_scan_rotation(3.0))
        )
    if able.contrast_brightness:
        found.append(
            (
                "set_contrast_brightness",
                "contrast",
                0.45,
                lambda: microscope.set_contrast_brightness(0.45, 0.5),
            )
        )
    if able.charge_reductions:
        level = able.charge_reductions[-1]
        found.append(
            (
                "set_charge_reduction",
                "charge_reduction",
                level,
                lambda: microscope.set_charge_reduction(level, timeout_s),
            )
        )
    return found


def offers(able: Capabilities, command: str) -> bool:
    """Whether the capabilities name the function; those that each acting instrument has count as named."""
    if not able.can_act:
        return False
    named = {
        "move_to": able.stage_x_range_mm is not None,
        "move_by": able.stage_x_range_mm is not None,
        "set_scan_rotation": able.scan_rotation,
        "set_working_distance": able.working_distance_range_mm is not None,
        "autofocus": able.autofocus,
        "set_stigmator": able.stigmator_range is not None,
        "autostigmate": able.autostigmation,
        "set_contrast_brightness": able.contrast_brightness,
        "auto_contrast_brightness": able.auto_contrast_brightness,
        "set_voltage": able.voltage_range_kv is not None,
        "set_spot_size": able.spot_size_range is not None,
        "blank": able.blanking,
        "overview": able.navigation_camera,
    }
    return command not in CHOICES and named.get(command, True)


def another(value: float, bounds: tuple[float, float]) -> float:
    """A value a tenth away from ``value``, within bounds."""
    return value * 0.9 if bounds[0] <= value * 0.9 else value * 1.1
