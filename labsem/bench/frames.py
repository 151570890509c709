"""Simulated frames with about a given number of particles; no torch here."""

from __future__ import annotations

import math

from labsem.simulation import Component, SceneParameters, SimulatedFrame, Substrate, View, World, render

PARTICLE_PX = 40.0
"""Median diameter of the particles, so that frames differ in their number only."""

_PIXEL_UM = 0.25
_SPREAD = 1.3


def frame_of(particles: int, seed: int, width_px: int = 1920, height_px: int = 1200) -> SimulatedFrame:
    """A frame of spheres and fragments of about 40 px on carbon tape, at low magnification.

    Parameters
    ----------
    particles
        About how many are to be seen.
    seed
        The same seed gives the same frame.
    """
    mean_square = PARTICLE_PX**2 * math.exp(2 * math.log(_SPREAD) ** 2)
    coverage = particles * math.pi / 4 * mean_square / (width_px * height_px)
    kinds = (("sphere", 0.6), ("fragment", 0.4))
    scene = SceneParameters(
        components=tuple(
            Component(kind, PARTICLE_PX * _PIXEL_UM, _SPREAD, share=share, albedo=0.7)  # type: ignore[arg-type]
            for kind, share in kinds
        ),
        coverage=min(coverage, 0.8),
        clumping=0.1,
        piling=0.1,
        substrate=Substrate(level=0.2, features_per_field=6.0, grain=0.04, dust=20.0),
    )
    view = View(hfw_um=width_px * _PIXEL_UM, width_px=width_px, height_px=height_px, noise_seed=seed)
    return render(World(seed, scene), view)
