"""What the policy knows, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from labsem.morphology import FrameNumbers
from schemas.acts import RescanParameters, RescanReason
from schemas.image import Acquisition
from schemas.morphology import FrameMorphology, Regime, Specks, UncertainFraction
from schemas.settings import RegimeThresholds, RescanSettings


@dataclass(frozen=True)
class FrameEvidence:
    """What the policy knows of a frame.

    Attributes
    ----------
    focus, signal_to_noise, charging
        As of :mod:`labsem.morphology.quality`; None where they could not be measured.
    acquisition
        How the frame was taken; unknown settings limit what can be recommended.
    position_x_mm, position_y_mm
        Where the stage stood; None where the instrument did not say.
    width_px
        Of the frame.
    d50_px, d90_px
        Of all particles not cut by the edge, by number.
    largest_cut_px
        Equivalent circular diameter of what is seen of the largest particle that the edge cuts; 0 without any.
    solidity
        Median over the particles not cut by the edge.
    specks
        What looks like particles and is too small to be one.
    plan_goes_on
        Whether the frame belongs to a plan that has places left.
    """

    regime: Regime
    uncertain_fraction: UncertainFraction
    focus: float | None
    signal_to_noise: float | None
    acquisition: Acquisition
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    charging: float = 0.0
    width_px: int = 0
    d50_px: float | None = None
    d90_px: float | None = None
    largest_cut_px: float = 0.0
    area_coverage: float = 0.0
    solidity: float | None = None
    specks: Specks | None = None
    detection_floor_px: float | None = None
    plan_goes_on: bool = False

    @classmethod
    def of(
        cls,
        numbers: FrameNumbers | FrameMorphology,
        *,
        regime: Regime,
        acquisition: Acquisition,
        position_x_mm: float | None,
        position_y_mm: float | None,
        plan_goes_on: bool = False,
    ) -> FrameEvidence:
        """From a frame's numbers, how it was taken, and where the stage stood."""
        sizes, solidity = numbers.sizes.number.all, numbers.shapes.solidity
        return cls(
            regime=regime,
            uncertain_fraction=numbers.uncertain_fraction,
            focus=numbers.focus,
            signal_to_noise=numbers.signal_to_noise,
            acquisition=acquisition,
            position_x_mm=position_x_mm,
            position_y_mm=position_y_mm,
            charging=numbers.charging or 0.0,
            width_px=numbers.width_px,
            d50_px=sizes.d50_px,
            d90_px=sizes.d90_px,
            largest_cut_px=numbers.largest_cut_px or 0.0,
            area_coverage=numbers.area_coverage,
            solidity=None if solidity is None else solidity.p50,
            specks=numbers.specks,
            detection_floor_px=numbers.detection_floor_px,
            plan_goes_on=plan_goes_on,
        )

    @property
    def largest_px(self) -> float:
        """D90, or the largest particle that is cut."""
        return max(self.d90_px or 0.0, self.largest_cut_px)


@dataclass(frozen=True)
class Attempts:
    """Rescans already asked for by the policy.

    Attributes
    ----------
    site, sample, hour
        How many: at this site, on this sample, and in the last hour.
    remedies, reasons
        Of those at this site that brought a frame: what was done, oldest first, and all that it was done for.
    cooling_s
        Time until the instrument may be asked again after a rescan that it failed.
    """

    site: int = 0
    sample: int = 0
    hour: int = 0
    remedies: tuple[RescanParameters, ...] = ()
    reasons: frozenset[RescanReason] = frozenset()
    cooling_s: float = 0.0


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
