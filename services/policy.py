"""The rescan policy: a pure function of a frame's numbers, what was tried, what can be done, and the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from schemas.acts import Capabilities, RescanParameters, RescanReason
from schemas.image import Acquisition
from schemas.morphology import Regime, UncertainFraction
from schemas.settings import RegimeThresholds, RescanSettings

DOSE_FACTOR_UNCERTAIN = 4.0
"""Times dwell x averages of the frame before: twice its signal-to-noise ratio."""

DOSE_FACTOR_MAX = 16.0
"""No single step asks for more; a frame that needs it has another fault."""

MARGIN = 1.2
"""Aim this far over the signal-to-noise threshold, so that the new frame does not fall short by its own noise."""


@dataclass(frozen=True)
class FrameEvidence:
    """What the policy knows of a frame.

    Attributes
    ----------
    focus, signal_to_noise
        As of :mod:`labsem.morphology.quality`; None where they could not be measured.
    acquisition
        How the frame was taken; unknown settings limit what can be recommended.
    position_x_mm, position_y_mm
        Where the stage stood; None where the instrument did not say.
    """

    regime: Regime
    uncertain_fraction: UncertainFraction
    focus: float | None
    signal_to_noise: float | None
    acquisition: Acquisition
    position_x_mm: float | None = None
    position_y_mm: float | None = None


@dataclass(frozen=True)
class Attempts:
    """Rescans already asked for by the policy: at this site, on this sample, and in the last hour."""

    site: int = 0
    sample: int = 0
    hour: int = 0


@dataclass(frozen=True)
class PolicyDecision:
    """``rescan`` with its parameters, ``advised`` where a person must act, or ``none``; with the numbers in words."""

    kind: Literal["none", "rescan", "advised"]
    reasons: tuple[RescanReason, ...] = ()
    detail: str = ""
    parameters: RescanParameters = field(default_factory=RescanParameters)


def thresholds(settings: RescanSettings, regime: Regime) -> RegimeThresholds:
    """Thresholds of a regime; a frame without a scale is judged by those of the low one, the stricter."""
    return settings.high if regime is Regime.HIGH else settings.low


def decide(
    evidence: FrameEvidence,
    *,
    settings: RescanSettings,
    capabilities: Capabilities | None,
    attempts: Attempts = Attempts(),
) -> PolicyDecision:
    """Decide what follows from a frame.

    Parameters
    ----------
    evidence : FrameEvidence
        The frame's numbers and how it was taken.
    settings : RescanSettings
        Thresholds of each regime, limits of attempts, approval.
    capabilities : Capabilities or None
        Of the instrument that took the frame; None where it told of none (a plain source).
    attempts : Attempts
        What the policy has asked for already.

    Returns
    -------
    PolicyDecision
        Reasons in order of their remedies: ``blurred`` (refocus), ``noisy`` and ``uncertain`` (longer dwell,
        more averages; the latter refocuses too), ``too_few`` (no remedy at the same place). A rescan keeps
        place and field width, so that before and after can be compared.
    """
    limits = thresholds(settings, evidence.regime)
    found = _findings(evidence, limits)
    if not found:
        return PolicyDecision("none")
    reasons = tuple(found)
    words = "; ".join(found.values())
    if reasons == (RescanReason.TOO_FEW,):
        return PolicyDecision("advised", reasons, f"{words}: look at another place or with a larger field")
    parameters, obstacle = _remedy(evidence, reasons, limits, capabilities)
    obstacle = _off(settings) or obstacle or _exhausted(settings, attempts)
    if obstacle or parameters is None:
        return PolicyDecision("advised", reasons, f"{words}; no rescan: {obstacle}")
    return PolicyDecision("rescan", reasons, f"{words}; {_in_words(parameters)}", parameters)


def _findings(evidence: FrameEvidence, limits: RegimeThresholds) -> dict[RescanReason, str]:
    found: dict[RescanReason, str] = {}
    focus, ratio, fraction = evidence.focus, evidence.signal_to_noise, evidence.uncertain_fraction
    if focus is not None and focus < limits.focus_min:
        found[RescanReason.BLURRED] = f"focus {focus:.2f} is under {limits.focus_min:g}"
    if ratio is not None and ratio < limits.signal_to_noise_min:
        found[RescanReason.NOISY] = f"signal to noise {ratio:.1f} is under {limits.signal_to_noise_min:g}"
    if fraction.n == 0:
        found[RescanReason.TOO_FEW] = "no particle lies whole in the frame"
    elif fraction.lower_95 > limits.uncertain_fraction:
        share = "" if fraction.value is None else f" ({fraction.value:.0%} of {fraction.n})"
        found[RescanReason.UNCERTAIN] = (
            f"at least {fraction.lower_95:.0%} of the particles are uncertain{share}, "
            f"over {limits.uncertain_fraction:.0%}"
        )
    return found


def _off(settings: RescanSettings) -> str:
    return "approval is off in the settings (rescans.approval)" if settings.approval == "off" else ""


def _exhausted(settings: RescanSettings, attempts: Attempts) -> str:
    for done, limit, where in (
        (attempts.site, settings.attempts_per_site, "at this place"),
        (attempts.sample, settings.attempts_per_sample, "on this sample"),
        (attempts.hour, settings.attempts_per_hour, "in the last hour"),
    ):
        if done >= limit:
            return f"{done} of {limit} attempts {where} are used up"
    return ""


def _remedy(
    evidence: FrameEvidence,
    reasons: tuple[RescanReason, ...],
    limits: RegimeThresholds,
    capabilities: Capabilities | None,
) -> tuple[RescanParameters | None, str]:
    """Parameters within the capabilities, or the obstacle in words."""
    if capabilities is None:
        return None, "the source of this frame tells of no instrument that could take another"
    if not capabilities.can_act:
        return None, "its instrument cannot be told to act (" + (
            "; ".join(capabilities.cannot) or "no remote control"
        ) + ")"
    outside = _out_of_reach(evidence, capabilities)
    if outside:
        return None, outside
    factor = 1.0
    if RescanReason.UNCERTAIN in reasons:
        factor = DOSE_FACTOR_UNCERTAIN
    if RescanReason.NOISY in reasons and evidence.signal_to_noise is not None:
        # The signal-to-noise ratio grows with the square root of dwell time x averages.
        ratio = MARGIN * limits.signal_to_noise_min / max(evidence.signal_to_noise, 1e-3)
        factor = max(factor, ratio**2)
    dwell_ns, averages = _dose(evidence.acquisition, capabilities, min(factor, DOSE_FACTOR_MAX))
    autofocus = RescanReason.BLURRED in reasons or RescanReason.UNCERTAIN in reasons
    longer = dwell_ns != evidence.acquisition.dwell_time_ns or averages != evidence.acquisition.frame_averages
    if not autofocus and not longer:
        return (
            None,
            "dwell time and averages are at the instrument's most already; raise the beam current or voltage",
        )
    return (
        RescanParameters(
            position_x_mm=evidence.position_x_mm,
            position_y_mm=evidence.position_y_mm,
            hfw_um=evidence.acquisition.hfw_um,
            autofocus=autofocus,
            dwell_time_ns=dwell_ns,
            frame_averages=averages,
            detector=evidence.acquisition.detector
            if evidence.acquisition.detector in capabilities.detectors
            else None,
        ),
        "",
    )


def _out_of_reach(evidence: FrameEvidence, capabilities: Capabilities) -> str:
    for name, value, reach in (
        ("x", evidence.position_x_mm, capabilities.stage_x_range_mm),
        ("y", evidence.position_y_mm, capabilities.stage_y_range_mm),
    ):
        if value is not None and reach is not None and not reach[0] <= value <= reach[1]:
            return f"its place {name} = {value:g} mm lies outside the stage's {reach[0]:g} to {reach[1]:g} mm"
    hfw_um = evidence.acquisition.hfw_um
    smallest, largest = capabilities.hfw_min_um, capabilities.hfw_max_um
    if hfw_um is not None and smallest is not None and hfw_um < smallest:
        return f"its field of {hfw_um:g} um is under the instrument's smallest, {smallest:g} um"
    if hfw_um is not None and largest is not None and hfw_um > largest:
        return f"its field of {hfw_um:g} um is over the instrument's largest, {largest:g} um"
    return ""


def _dose(
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


def _in_words(parameters: RescanParameters) -> str:
    steps = ["refocus"] if parameters.autofocus else []
    if parameters.dwell_time_ns is not None:
        steps.append(f"dwell {parameters.dwell_time_ns:g} ns")
    if parameters.frame_averages is not None:
        steps.append(f"{parameters.frame_averages} averages")
    return "rescan of the same place: " + ", ".join(steps)
