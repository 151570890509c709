"""True diameters of simulated powders, hidden and unresolved particles too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from labsem.simulation import View, World, render
from labsem.simulation.bodies import Particle


class Diameters:
    """True equivalent circular diameters of a world's particles.

    A particle's size in the simulation is nominal; what its projection has of it is measured for each component on
    a frame that shows the particles well, and is 1 for spheres.
    """

    def __init__(self, world: World, reference: View) -> None:
        frame = render(world, reference)
        self._world = world
        self._share = np.ones(len(world.scene.components))
        known = {p.particle_id: p for p in frame.particles}
        edges = _touching_the_edge(frame.labels)
        shares: list[list[float]] = [[] for _ in self._share]
        for particle in world.particles(*_field_um(reference)):
            seen = known.get(particle.particle_id)
            if seen is not None and seen.label not in edges:
                ecd_um = math.sqrt(4 / math.pi * seen.full_area_px) * reference.pixel_um
                shares[particle.component].append(ecd_um / (2 * particle.radius_um))
        for component, found in enumerate(shares):
            if found:
                self._share[component] = float(np.median(found))

    def of(self, particle: Particle) -> float:
        """Diameter of one particle, um."""
        return float(2 * particle.radius_um * self._share[particle.component])

    def d50_um(self, view: View) -> float | None:
        """Median by number of the particles centred in a field; None where there is none."""
        x0, y0, x1, y1 = _field_um(view)
        found = [
            self.of(p)
            for p in self._world.particles(x0, y0, x1, y1)
            if x0 <= p.x_um < x1 and y0 <= p.y_um < y1
        ]
        return float(np.median(found)) if found else None


def _field_um(view: View) -> tuple[float, float, float, float]:
    x, y = 1000 * view.x_mm, 1000 * view.y_mm
    half_x, half_y = view.hfw_um / 2, view.hfw_um / 2 * view.height_px / view.width_px
    return x - half_x, y - half_y, x + half_x, y + half_y


def _touching_the_edge(labels: NDArray[np.int32]) -> set[int]:
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return set(np.unique(np.concatenate(edges)).tolist())
