"""Whether a rescan was better than the frame before it, on what both of them show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsem.morphology.registration import Rectangle, Registration
from schemas.acts import ActOutcome, RescanReason
from schemas.morphology import FrameMorphology

COMPARABLE_OVERLAP = 0.5
"""Under this share of the smaller field the two frames show different places."""

SUPERSEDING_OVERLAP = 0.95
SUPERSEDING_PIXEL_TOLERANCE = 1.01

_FRACTION_MARGIN = 0.02
_RATIO_MARGIN = 1.05


@dataclass(frozen=True)
class Side:
    """One of the two frames: its summary and its particles as arrays (label, centroid, certain, cut_by_edge)."""

    morphology: FrameMorphology
    particles: Mapping[str, NDArray[Any]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.morphology.height_px, self.morphology.width_px

    def uncertain_fraction(self, area: Rectangle | None) -> float | None:
        """Share of uncertain particles among those not cut by the frame's edge, with their centre in the area."""
        if area is None:
            return self.morphology.uncertain_fraction.value
        columns = self.particles
        whole = ~columns["cut_by_edge"] & area.holds(columns["centroid_x_px"], columns["centroid_y_px"])
        return float(np.mean(~columns["certain"][whole])) if whole.any() else None


def compare(
    before: Side, after: Side, registration: Registration | None, reasons: Collection[RescanReason]
) -> ActOutcome:
    """Compare two frames of an act.

    ``improved`` is told by the measures that the reasons name: true where one is better and none is worse,
    null where it is not clear that both frames show the same place, or less than half of it.
    """
    both_show_it = comparable(registration)
    areas: tuple[Rectangle | None, Rectangle | None] = (None, None)
    if both_show_it and registration is not None:
        areas = registration.common_area(before.shape, after.shape)
    first, second = before.morphology, after.morphology
    fractions = before.uncertain_fraction(areas[0]), after.uncertain_fraction(areas[1])
    changes = {
        RescanReason.UNCERTAIN: _fallen(*fractions),
        RescanReason.BLURRED: _risen(first.focus, second.focus),
        RescanReason.NOISY: _risen(first.signal_to_noise, second.signal_to_noise),
        RescanReason.CHARGED: _opposite(_risen(first.charging, second.charging)),
    }
    # Streaks come and go; they tell of charge only where there was some.
    others = [change for reason, change in changes.items() if reason is not RescanReason.CHARGED]
    asked = [changes[reason] for reason in changes if reason in reasons] or others
    known = [change for change in asked if change is not None]
    improved = max(known) > 0 and min(known) >= 0 if both_show_it and known else None
    return ActOutcome(
        improved=improved,
        uncertain_fraction_before=fractions[0],
        uncertain_fraction_after=fractions[1],
        focus_before=first.focus,
        focus_after=second.focus,
        shift_um=registration.shift_um if registration is not None and registration.clear else None,
        overlap_fraction=registration.overlap_fraction
        if registration is not None and registration.clear
        else None,
        detail=_in_words(registration, both_show_it),
    )


def comparable(registration: Registration | None) -> bool:
    """Whether both frames clearly show one place, and over half of the smaller field of it."""
    return (
        registration is not None
        and registration.clear
        and registration.smaller_overlap_fraction >= COMPARABLE_OVERLAP
    )


def supersedes(before: FrameMorphology, after: FrameMorphology, registration: Registration | None) -> bool:
    """Whether the new frame stands for the old one in the sample's statistics."""
    old_nm, new_nm = before.acquisition.pixel_size_nm, after.acquisition.pixel_size_nm
    return (
        registration is not None
        and registration.clear
        and registration.overlap_fraction >= SUPERSEDING_OVERLAP
        and old_nm is not None
        and new_nm is not None
        and new_nm <= old_nm * SUPERSEDING_PIXEL_TOLERANCE
    )


def _fallen(before: float | None, after: float | None) -> int | None:
    if before is None or after is None:
        return None
    return int(after < before - _FRACTION_MARGIN) - int(after > before + _FRACTION_MARGIN)


def _risen(before: float | None, after: float | None) -> int | None:
    if before is None or after is None:
        return None
    return int(after > before * _RATIO_MARGIN) - int(after * _RATIO_MARGIN < before)


def _opposite(change: int | None) -> int | None:
    return None if change is None else -change


def _in_words(registration: Registration | None, both_show_it: bool) -> str:
    if registration is None:
        return "not compared: scale, field width or file of the frame before do not allow it"
    if not registration.clear:
        return f"not compared: it is not clear that both show one place (correlation {registration.correlation:.2f})"
    share = f"{registration.smaller_overlap_fraction:.0%} of the smaller field"
    if not both_show_it:
        return f"not compared: both show only {share}"
    return f"compared on {share}, shifted by {registration.shift_um:.2g} um"
