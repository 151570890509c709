"""Magnification and the regime that it chooses (Rettenberger et al. 2024 split at 10,000x)."""

from __future__ import annotations

from schemas.image import Acquisition
from schemas.morphology import Regime

DISPLAY_WIDTH_M = 0.5
"""Width of the display that a nominal magnification refers to (PyPhenom's convention)."""

MAGNIFICATION_SPLIT = 10_000.0


def magnification(acquisition: Acquisition, display_width_m: float = DISPLAY_WIDTH_M) -> float | None:
    """The acquisition's own magnification, else display width / HFW, else None."""
    if acquisition.magnification is not None:
        return acquisition.magnification
    if acquisition.hfw_um is not None:
        return display_width_m * 1e6 / acquisition.hfw_um
    return None


def route(
    acquisition: Acquisition, *, display_width_m: float = DISPLAY_WIDTH_M, split: float = MAGNIFICATION_SPLIT
) -> Regime:
    """Regime of a frame: high from ``split`` on, low below it, joint where nothing tells the magnification."""
    value = magnification(acquisition, display_width_m)
    if value is None:
        return Regime.JOINT
    return Regime.HIGH if value >= split else Regime.LOW
