"""Why a frame is not enough, each reason with the numbers that say so."""

from __future__ import annotations

from schemas.acts import RescanReason
from schemas.settings import RegimeThresholds
from services.policy.evidence import FrameEvidence

Findings = dict[RescanReason, str]


def findings(evidence: FrameEvidence, limits: RegimeThresholds) -> Findings:
    """Reasons in the order in which they explain one another: the first is the one to mend.

    What spoils the signal comes first, except that a field too small for its particles also looks blurred.
    ``uncertain`` is found only where nothing else explains the frame.
    """
    found: Findings = {}
    if evidence.charging > limits.charging_max:
        found[RescanReason.CHARGED] = (
            f"streaks of charge are {evidence.charging:.2f} of the contrast, over {limits.charging_max:g}"
        )
    _size_near_field(found, evidence, limits)
    ratio = evidence.signal_to_noise
    noisy = ratio is not None and ratio < limits.signal_to_noise_min
    if not noisy:  # noise has specks too
        _too_small(found, evidence, limits)
    if evidence.focus is not None and evidence.focus < limits.focus_min:
        found[RescanReason.BLURRED] = f"focus {evidence.focus:.2f} is under {limits.focus_min:g}"
    if noisy:
        found[RescanReason.NOISY] = f"signal to noise {ratio:.1f} is under {limits.signal_to_noise_min:g}"
    _arrangement(found, evidence, limits)
    fraction = evidence.uncertain_fraction
    if not found and fraction.lower_95 > limits.uncertain_fraction:
        share = "" if fraction.value is None else f" ({fraction.value:.0%} of {fraction.n})"
        found[RescanReason.UNCERTAIN] = (
            f"at least {fraction.lower_95:.0%} of the particles are uncertain{share}, "
            f"over {limits.uncertain_fraction:.0%}"
        )
    return found


def _size_near_field(found: Findings, evidence: FrameEvidence, limits: RegimeThresholds) -> None:
    if evidence.width_px <= 0:
        return
    share = evidence.largest_px / evidence.width_px
    whole = evidence.uncertain_fraction.n
    few = whole < limits.particles_few and share > limits.size_share_max_of_few
    if few or (evidence.d90_px or 0.0) / evidence.width_px > limits.size_share_max:
        found[RescanReason.SIZE_NEAR_FIELD] = (
            f"{whole} particles lie whole in the field, and the largest reach over {share:.0%} of its width"
        )


def _too_small(found: Findings, evidence: FrameEvidence, limits: RegimeThresholds) -> None:
    floor_px, specks = evidence.detection_floor_px, evidence.specks
    if evidence.d50_px is not None and floor_px is not None:
        least_px = limits.size_over_floor_min * floor_px
        if evidence.d50_px < least_px:
            found[RescanReason.TOO_SMALL] = (
                f"half of the particles are under {evidence.d50_px:.1f} px, and under {least_px:.1f} px many are missed"
            )
            return
    if (
        specks is not None
        and specks.count >= limits.specks_min
        and specks.area_fraction > max(limits.specks_share_min, 2 * evidence.area_coverage)
    ):
        found[RescanReason.TOO_SMALL] = (
            f"{specks.count} specks of about {specks.ecd_px:.1f} px cover {specks.area_fraction:.1%} of the ground, "
            "more than the particles that were found"
        )


def _arrangement(found: Findings, evidence: FrameEvidence, limits: RegimeThresholds) -> None:
    if evidence.area_coverage > limits.area_coverage_max:
        found[RescanReason.CROWDED] = (
            f"particles cover {evidence.area_coverage:.0%} of the frame, over {limits.area_coverage_max:.0%}, "
            "and hide one another"
        )
    elif evidence.solidity is not None and evidence.solidity < limits.solidity_min:
        found[RescanReason.AGGLOMERATED] = (
            f"half of the outlines have a solidity under {evidence.solidity:.2f}, less than {limits.solidity_min:g}: "
            "clusters, not particles"
        )
    whole = evidence.uncertain_fraction.n
    no_size_reason = not {RescanReason.SIZE_NEAR_FIELD, RescanReason.TOO_SMALL} & found.keys()
    if whole < limits.particles_min and no_size_reason:
        found[RescanReason.TOO_FEW] = (
            "no particle lies whole in the frame"
            if whole == 0
            else f"{whole} particles lie whole in the frame, under {limits.particles_min}"
        )
