"""Simulated frames with about a given number of particles; no torch here."""

from __future__ import annotations

import math

from labsem.simulation import (
    Component,
    LogNormal,
    SceneParameters,
    SimulatedFrame,
    Substrate,
    View,
    World,
    render,
)
from labsem.simulation.scene import ShapeKind

COVERAGE = 0.25
"""Share of the frame that particles cover: more of them are smaller ones, as at a lower magnification."""

_PIXEL_UM = 0.25
_SPREAD = 1.3
_MEAN_SQUARE = math.exp(2 * math.log(_SPREAD) ** 2)
"""Of diameters over their median's square, log-normal."""


def median_px(particles: int, width_px: int, height_px: int) -> float:
    """Median diameter at which so many particles cover their share of a frame."""
    return math.sqrt(4 / math.pi * COVERAGE * width_px * height_px / particles / _MEAN_SQUARE)


def frame_of(particles: int, seed: int, width_px: int = 1920, height_px: int = 1200) -> SimulatedFrame:
    """A frame of spheres and fragments on carbon tape, at low magnification.

    Parameters
    ----------
    particles
        About how many are to be seen.
    seed
        The same seed gives the same frame.
    """
    median_um = median_px(particles, width_px, height_px) * _PIXEL_UM
    kinds: tuple[tuple[ShapeKind, float], ...] = (("sphere", 0.6), ("fragment", 0.4))
    scene = SceneParameters(
        components=tuple(
            Component(kind, LogNormal(median_um, _SPREAD), share=share, albedo=0.7) for kind, share in kinds
        ),
        coverage=COVERAGE,
        clumping=0.1,
        piling=0.1,
        substrate=Substrate(level=0.2, features_per_field=6.0, grain=0.04, dust=20.0),
    )
    view = View(hfw_um=width_px * _PIXEL_UM, width_px=width_px, height_px=height_px, noise_seed=seed)
    return render(World(seed, scene), view)
