"""What to do about each reason, within what the instrument can do."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from schemas.acts import Capabilities, RescanParameters, RescanReason
from schemas.image import Acquisition
from schemas.settings import RegimeThresholds, RescanSettings
from services.policy.evidence import Attempts, FrameEvidence

SIGNAL: Final = (RescanReason.CHARGED, RescanReason.BLURRED, RescanReason.NOISY)
"""Mended at the same place; until then nothing else that the frame shows is to be trusted, but its sizes."""

FIELD: Final = (RescanReason.SIZE_NEAR_FIELD, RescanReason.TOO_SMALL)
ELSEWHERE: Final = (RescanReason.CROWDED, RescanReason.AGGLOMERATED, RescanReason.TOO_FEW)

MARGIN = 2.0
"""Aim so far over the signal-to-noise threshold: a frame that just reaches it is still harmed."""

DOSE_FACTOR_MAX = 64.0
"""No single step asks for more; a frame that needs it has another fault."""

TARGET_PX = 40.0
"""Wanted diameter of the median particle where the particles were too small: four times what is found half the time."""

TARGET_SHARE = 1 / 20
"""Wanted diameter of the largest particles over the field width where they were too large."""

HFW_FACTOR_MAX = 10.0
CLOSER = 0.5
"""Field width of the repeat of an uncertain frame over its own."""

VOLTAGE_STEP = 0.6
GOLDEN_ANGLE_RAD = math.pi * (3 - math.sqrt(5))
_DIRECTIONS = 8


class NoRemedyError(ValueError):
    """Nothing can be done by the instrument; the message says why, and what a person can do."""


def remedy(
    evidence: FrameEvidence,
    reasons: Collection[RescanReason],
    *,
    settings: RescanSettings,
    limits: RegimeThresholds,
    capabilities: Capabilities,
    attempts: Attempts,
) -> RescanParameters:
    """Parameters of the next frame.

    Raises
    ------
    NoRemedyError
        Where the instrument can do nothing (more) about it.
    """
    taken = evidence.acquisition
    wanted: dict[str, Any] = {
        "position_x_mm": evidence.position_x_mm,
        "position_y_mm": evidence.position_y_mm,
        "hfw_um": taken.hfw_um,
        "dwell_time_ns": taken.dwell_time_ns,
        "frame_averages": taken.frame_averages,
        "detector": taken.detector if taken.detector in capabilities.detectors else None,
    }
    signal, field = _of(SIGNAL, reasons), _of(FIELD, reasons)
    if RescanReason.CHARGED in signal:
        wanted |= _discharged(evidence, limits, capabilities, attempts)
    if RescanReason.BLURRED in signal:
        wanted |= _refocused(capabilities)
    if RescanReason.NOISY in signal:
        wanted |= _longer(evidence, settings, limits, capabilities)
    if field:
        wanted |= {"hfw_um": _other_field_um(evidence, field[0], capabilities)} | _focused(capabilities)
    elif not signal and _of(ELSEWHERE, reasons):
        wanted |= _elsewhere(evidence, settings, capabilities, attempts) | _focused(capabilities)
    elif not signal:
        wanted |= {"hfw_um": _closer_um(evidence, limits, capabilities, attempts)} | _focused(capabilities)
    _check_reach(wanted, capabilities)
    return RescanParameters(**wanted)


def in_words(parameters: RescanParameters, evidence: FrameEvidence) -> str:
    """What is asked for, where it differs from the frame before."""
    taken = evidence.acquisition
    moved = (parameters.position_x_mm, parameters.position_y_mm) != (
        evidence.position_x_mm,
        evidence.position_y_mm,
    )
    steps = ["another place"] if moved else ["rescan of the same place"]
    if parameters.hfw_um != taken.hfw_um and parameters.hfw_um is not None:
        steps.append(f"field of {parameters.hfw_um:.4g} um")
    if parameters.charge_reduction is not None:
        steps.append(f"charge reduction {parameters.charge_reduction}")
    if parameters.accelerating_voltage_kv is not None:
        steps.append(f"{parameters.accelerating_voltage_kv:g} kV")
    if parameters.detector != taken.detector and parameters.detector is not None:
        steps.append(f"detector {parameters.detector}")
    if parameters.autofocus:
        steps.append("refocus")
    if parameters.autostigmation:
        steps.append("correct astigmatism")
    if parameters.dwell_time_ns not in (None, taken.dwell_time_ns):
        steps.append(f"dwell {parameters.dwell_time_ns:g} ns")
    if parameters.frame_averages not in (None, taken.frame_averages):
        steps.append(f"{parameters.frame_averages} averages")
    return ", ".join(steps)


def _of(kinds: Iterable[RescanReason], reasons: Collection[RescanReason]) -> list[RescanReason]:
    return [kind for kind in kinds if kind in reasons]


def _focused(capabilities: Capabilities) -> dict[str, Any]:
    """At another width or place the focus is another one; an instrument without autofocus keeps the old one."""
    return {"autofocus": True} if capabilities.autofocus else {}


def _refocused(capabilities: Capabilities) -> dict[str, Any]:
    if not (capabilities.autofocus or capabilities.autostigmation):
        raise NoRemedyError("it has no autofocus; focus by hand")
    return {"autofocus": capabilities.autofocus, "autostigmation": capabilities.autostigmation}


def _longer(
    evidence: FrameEvidence, settings: RescanSettings, limits: RegimeThresholds, capabilities: Capabilities
) -> dict[str, Any]:
    # The signal-to-noise ratio grows with the square root of dwell time x averages.
    ratio = MARGIN * limits.signal_to_noise_min / max(evidence.signal_to_noise or 0.0, 1e-3)
    taken = evidence.acquisition
    factor = min(ratio**2, DOSE_FACTOR_MAX)
    scan_s = _scan_s(taken, capabilities)
    if scan_s is not None:
        factor = min(factor, max(settings.longest_scan_s / scan_s, 1.0))
    dwell_ns, averages = dose(taken, capabilities, factor)
    if dwell_ns == taken.dwell_time_ns and averages == taken.frame_averages:
        raise NoRemedyError(
            "dwell time and averages are at the instrument's most already, or at that of rescans.longest_scan_s "
            f"({settings.longest_scan_s:g} s); raise the beam current or voltage"
        )
    return {"dwell_time_ns": dwell_ns, "frame_averages": averages}


def _scan_s(taken: Acquisition, capabilities: Capabilities) -> float | None:
    if taken.dwell_time_ns is None or capabilities.width_px is None or capabilities.height_px is None:
        return None
    return (
        capabilities.width_px
        * capabilities.height_px
        * taken.dwell_time_ns
        * 1e-9
        * (taken.frame_averages or 1)
    )


def dose(
    acquisition: Acquisition, capabilities: Capabilities, factor: float
) -> tuple[float | None, int | None]:
    """Dwell time (ns) and averages for ``factor`` times the electrons, never less of either than before."""
    before_ns, before_averages = acquisition.dwell_time_ns, acquisition.frame_averages
    dwell_ns = before_ns
    if before_ns is not None and factor > 1:
        longer = sorted(value for value in capabilities.dwell_times_ns if value > before_ns)
        enough = [value for value in longer if value >= before_ns * factor]
        if longer:
            dwell_ns = enough[0] if enough else longer[-1]
            factor *= before_ns / dwell_ns
    averages = before_averages
    if factor > 1.0 + 1e-9:
        base = before_averages or 1
        most = max(capabilities.frame_averages_max, base)
        wanted = min(math.ceil(base * factor - 1e-9), most)
        averages = wanted if wanted > base or before_averages is not None else before_averages
    return dwell_ns, averages


def _discharged(
    evidence: FrameEvidence, limits: RegimeThresholds, capabilities: Capabilities, attempts: Attempts
) -> dict[str, Any]:
    """Gas first, half of it where the charge is mild; then a lower voltage; then another detector."""
    levels = capabilities.charge_reductions
    tried = [r.charge_reduction for r in attempts.remedies if r.charge_reduction in levels]
    last = max((levels.index(level) for level in tried if level is not None), default=0)
    if last + 1 < len(levels):
        mild = evidence.charging <= 2 * limits.charging_max and not tried
        return {"charge_reduction": levels[len(levels) // 2 if mild else -1]}
    taken = evidence.acquisition
    voltage_kv, range_kv = taken.accelerating_voltage_kv, capabilities.voltage_range_kv
    kept: dict[str, Any] = {"charge_reduction": levels[-1]} if len(levels) > 1 else {}
    if voltage_kv is not None and range_kv is not None and voltage_kv > range_kv[0] * 1.01:
        return kept | {"accelerating_voltage_kv": round(max(voltage_kv * VOLTAGE_STEP, range_kv[0]), 2)}
    others = [detector for detector in capabilities.detectors if detector != taken.detector]
    known = {remedy.detector for remedy in attempts.remedies}
    for detector in others:
        if detector not in known:
            return kept | {"detector": detector}
    raise NoRemedyError(
        "charge reduction, voltage and detectors are tried or cannot be set; coat the sample, or spread it thinner"
    )


def _other_field_um(evidence: FrameEvidence, reason: RescanReason, capabilities: Capabilities) -> float:
    hfw_um = evidence.acquisition.hfw_um
    if hfw_um is None:
        raise NoRemedyError("its field width is not known; set another one by hand")
    if reason is RescanReason.SIZE_NEAR_FIELD:
        factor = min(evidence.largest_px / (evidence.width_px * TARGET_SHARE), HFW_FACTOR_MAX)
        found_um = min(hfw_um * factor, capabilities.hfw_max_um or math.inf)
        if found_um < 1.2 * hfw_um:
            raise NoRemedyError(
                "the field is the instrument's largest already; use an instrument with a larger one"
            )
        return found_um
    sizes_px = [evidence.d50_px] if evidence.specks is None else [evidence.d50_px, evidence.specks.ecd_px]
    size_px = min((size for size in sizes_px if size), default=TARGET_PX / 4)
    factor = max(size_px / TARGET_PX, 1 / HFW_FACTOR_MAX)
    found_um = max(hfw_um * factor, capabilities.hfw_min_um or 0.0)
    if found_um > hfw_um / 1.2:
        raise NoRemedyError(
            "the field is the instrument's smallest already; use an instrument that sees finer"
        )
    return found_um


def _closer_um(
    evidence: FrameEvidence, limits: RegimeThresholds, capabilities: Capabilities, attempts: Attempts
) -> float:
    hfw_um = evidence.acquisition.hfw_um
    if hfw_um is None:
        raise NoRemedyError("its field width is not known; look closer by hand")
    if RescanReason.UNCERTAIN in attempts.reasons:
        raise NoRemedyError("a closer look did not explain it; a person should look at the overlay")
    room = math.inf
    if evidence.width_px > 0 and evidence.d90_px:
        room = limits.size_share_max * evidence.width_px / evidence.d90_px
    least_um = max(hfw_um * CLOSER, capabilities.hfw_min_um or 0.0, hfw_um / max(room, 1e-9))
    if least_um > hfw_um / 1.2:
        raise NoRemedyError("no closer look is possible; a person should look at the overlay")
    return least_um


def _elsewhere(
    evidence: FrameEvidence, settings: RescanSettings, capabilities: Capabilities, attempts: Attempts
) -> dict[str, Any]:
    """A place some fields away in a direction that only counts the attempts: chosen without looking."""
    x_mm, y_mm, hfw_um = evidence.position_x_mm, evidence.position_y_mm, evidence.acquisition.hfw_um
    if x_mm is None or y_mm is None or hfw_um is None:
        raise NoRemedyError("its place or field width is not known; look at another place by hand")
    if capabilities.stage_x_range_mm is None or capabilities.stage_y_range_mm is None:
        raise NoRemedyError("its stage cannot be moved; move the sample by hand and take another frame")
    way_mm = settings.elsewhere_fields * hfw_um / 1000
    first = GOLDEN_ANGLE_RAD * attempts.sample
    for turn in range(_DIRECTIONS):
        angle = first + turn * 2 * math.pi / _DIRECTIONS
        place = {
            "position_x_mm": round(x_mm + way_mm * math.cos(angle), 4),
            "position_y_mm": round(y_mm + way_mm * math.sin(angle), 4),
        }
        if not _outside(place, capabilities):
            return place
    raise NoRemedyError("no other place lies within the stage's range; look with a larger field")


def _check_reach(wanted: Mapping[str, Any], capabilities: Capabilities) -> None:
    outside = _outside(wanted, capabilities)
    if outside:
        raise NoRemedyError(outside)
    hfw_um = wanted["hfw_um"]
    smallest, largest = capabilities.hfw_min_um, capabilities.hfw_max_um
    if hfw_um is not None and smallest is not None and hfw_um < smallest:
        raise NoRemedyError(f"its field of {hfw_um:g} um is under the instrument's smallest, {smallest:g} um")
    if hfw_um is not None and largest is not None and hfw_um > largest:
        raise NoRemedyError(f"its field of {hfw_um:g} um is over the instrument's largest, {largest:g} um")


def _outside(place: Mapping[str, Any], capabilities: Capabilities) -> str:
    for name, reach in (("x", capabilities.stage_x_range_mm), ("y", capabilities.stage_y_range_mm)):
        value = place[f"position_{name}_mm"]
        if value is not None and reach is not None and not reach[0] <= value <= reach[1]:
            return f"its place {name} = {value:g} mm lies outside the stage's {reach[0]:g} to {reach[1]:g} mm"
    return ""
