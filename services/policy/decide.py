"""From a frame's numbers to a decision."""

from __future__ import annotations

from typing import Final

from schemas.acts import Capabilities
from schemas.settings import RescanSettings
from services.policy.evidence import Attempts, FrameEvidence, PolicyDecision, thresholds
from services.policy.findings import findings
from services.policy.remedies import ELSEWHERE, NoRemedyError, in_words, remedy

NOTHING_TRIED: Final = Attempts()


def decide(
    evidence: FrameEvidence,
    *,
    settings: RescanSettings,
    capabilities: Capabilities | None,
    attempts: Attempts = NOTHING_TRIED,
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
        Reasons, the one to mend first (:func:`services.policy.findings.findings`), and their remedies:
        ``charged`` (gas, then a lower voltage, then another detector), ``size_near_field`` and ``too_small`` (a larger
        or smaller field), ``blurred`` (autofocus, then autostigmation), ``noisy`` (longer dwell, more averages),
        ``crowded``, ``agglomerated`` and ``too_few`` (an additional place, chosen without looking), ``uncertain``
        (repeat closer, then a person). Remedies of the signal make no move.
    """
    limits = thresholds(settings, evidence.regime)
    found = findings(evidence, limits)
    if not found:
        return PolicyDecision("none")
    reasons, words = tuple(found), "; ".join(found.values())
    if evidence.plan_goes_on and all(reason in ELSEWHERE for reason in reasons):
        return PolicyDecision("none", reasons, f"{words}; its plan goes on to other places")
    obstacle = _source(capabilities, settings) or _exhausted(settings, attempts)
    if not obstacle and capabilities is not None:
        try:
            parameters = remedy(
                evidence,
                reasons,
                settings=settings,
                limits=limits,
                capabilities=capabilities,
                attempts=attempts,
            )
        except NoRemedyError as error:
            obstacle = str(error)
        else:
            return PolicyDecision("rescan", reasons, f"{words}; {in_words(parameters, evidence)}", parameters)
    return PolicyDecision("advised", reasons, f"{words}; no rescan: {obstacle}")


def _source(capabilities: Capabilities | None, settings: RescanSettings) -> str:
    if settings.approval == "off":
        return "approval is off in the settings (rescans.approval)"
    if capabilities is None:
        return "the source of this frame tells of no instrument that could take another"
    if not capabilities.can_act:
        cannot = "; ".join(capabilities.cannot) or "no remote control"
        return f"its instrument cannot be told to act ({cannot})"
    return ""


def _exhausted(settings: RescanSettings, attempts: Attempts) -> str:
    for done, limit, where in (
        (attempts.site, settings.attempts_per_site, "at this place"),
        (attempts.sample, settings.attempts_per_sample, "on this sample"),
        (attempts.hour, settings.attempts_per_hour, "in the last hour"),
    ):
        if done >= limit:
            return f"{done} of {limit} attempts {where} are used up"
    if attempts.cooling_s > 0:
        return f"the instrument failed a rescan; it is asked again in {attempts.cooling_s:.0f} s"
    return ""
