"""Where the particles of a scene lie: hash cells of the plane, each filled by its own generator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.bodies import Body, Member, Particle, cluster_um, make_body
from labsem.simulation.powders import powder_scene
from labsem.simulation.scene import SceneParameters
from labsem.simulation.shapes import REACH

TRIES = 14
"""Places that are tried for a body before it is piled on others or left out."""


@dataclass(frozen=True)
class _Cell:
    particles: tuple[Particle, ...]
    bodies: NDArray[np.float64]  # (N, 4): x, y, radius, top in um


class World:
    """A powder on a stub of unbounded extent, wholly determined by its seed.

    Cells are filled in four colours of a checkerboard: a cell knows its neighbours of lower colour, so that
    nothing interpenetrates across a border, and yet depends on no view.

    Parameters
    ----------
    seed
        Any whole number from 0.
    scene
        What the powder is; without one, a powder on carbon tape drawn from the seed.

    Raises
    ------
    ValueError
        Where the seed is negative or the scene has no component.
    """

    def __init__(self, seed: int, scene: SceneParameters | None = None) -> None:
        if seed < 0:
            raise ValueError(f"seed: {seed} is negative; give a whole number from 0")
        self.seed = seed
        self.scene = powder_scene(np.random.default_rng([seed, 101])) if scene is None else scene
        if not self.scene.components:
            raise ValueError("scene.components is empty; give at least one component")
        self._cells: dict[tuple[int, int], _Cell] = {}
        self._lock = RLock()

    @cached_property
    def reach_um(self) -> float:
        """Largest distance from a body's centre to its outline."""
        return max(0.5 * c.sizes.largest_um * REACH[c.shape] + cluster_um(c) for c in self.scene.components)

    @cached_property
    def cell_um(self) -> float:
        """Edge of a cell: nothing reaches beyond the next cell."""
        return float(max(2.0 * self.reach_um, (8 * self._mean_area_um2 / self.scene.coverage) ** 0.5))

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        shares = np.array([c.share for c in self.scene.components])
        return np.asarray(shares / shares.sum())

    @cached_property
    def _mean_area_um2(self) -> float:
        areas = [np.pi / 4 * c.sizes.mean_square_um2 * c.primaries for c in self.scene.components]
        return float(np.dot(self._shares, areas))

    def particles(self, x0_um: float, y0_um: float, x1_um: float, y1_um: float) -> list[Particle]:
        """All particles of which any part may lie in the rectangle, in an order that no view changes."""
        cell, reach = self.cell_um, self.reach_um
        found: list[Particle] = []
        for iy in range(int(np.floor((y0_um - reach) / cell)), int(np.floor((y1_um + reach) / cell)) + 1):
            for ix in range(int(np.floor((x0_um - reach) / cell)), int(np.floor((x1_um + reach) / cell)) + 1):
                for particle in self._cell(ix, iy).particles:
                    extent = particle.extent_um(self.scene.components[particle.component])
                    if (
                        x0_um - extent < particle.x_um < x1_um + extent
                        and y0_um - extent < particle.y_um < y1_um + extent
                    ):
                        found.append(particle)
        return found

    def _cell(self, ix: int, iy: int) -> _Cell:
        with self._lock:
            known = self._cells.get((ix, iy))
            if known is None:
                if len(self._cells) > 20_000:
                    self._cells.clear()
                known = self._fill(ix, iy)
                self._cells[ix, iy] = known
            return known

    def _fill(self, ix: int, iy: int) -> _Cell:
        colour = (ix & 1) + 2 * (iy & 1)
        near = [
            self._cell(ix + dx, iy + dy).bodies
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dx or dy) and ((ix + dx) & 1) + 2 * ((iy + dy) & 1) < colour
        ]
        rng = np.random.default_rng([self.seed, 11, ix % 2**32, iy % 2**32])
        bodies = np.concatenate(near) if near else np.empty((0, 4))
        own_from = len(bodies)
        particles: list[Particle] = []
        corner = np.array([ix, iy]) * self.cell_um
        for index, body, place in self._drawn(rng, ix, iy):
            where = place if place is not None else self._place(rng, bodies, own_from, corner, body.radius_um)
            if where is None:
                continue
            x, y, base = where
            bodies = np.vstack([bodies, [x, y, body.radius_um, base + body.top_um]])
            particles += body.particles(rng, index, self.scene.components[index], x, y, base)
        return _Cell(tuple(particles), bodies[own_from:])

    def _drawn(
        self, rng: np.random.Generator, ix: int, iy: int
    ) -> list[tuple[int, Body, tuple[float, float, float] | None]]:
        """Component, body and, in a lattice, place of what lies in a cell, roughly the largest first."""
        if self.scene.layout == "lattice":
            return self._lattice(rng, ix, iy)
        count = rng.poisson(self.scene.coverage * self.cell_um**2 / self._mean_area_um2)
        which = rng.choice(len(self._shares), size=count, p=self._shares)
        drawn = [(int(k), make_body(rng, self.scene.components[int(k)])) for k in which]
        # What comes later lies on top of what came first, so the order is not strict.
        size = np.array([body.radius_um for _, body in drawn]) * np.exp(0.3 * rng.standard_normal(count))
        return [(*drawn[i], None) for i in np.argsort(-size)]

    def _lattice(
        self, rng: np.random.Generator, ix: int, iy: int
    ) -> list[tuple[int, Body, tuple[float, float, float] | None]]:
        component = self.scene.components[0]
        median_um = component.sizes.typical_um
        pitch = median_um * 1.03
        rise = pitch * 3**0.5 / 2
        bodies: list[tuple[int, Body, tuple[float, float, float] | None]] = []
        for row in range(
            int(np.ceil(iy * self.cell_um / rise)), int(np.ceil((iy + 1) * self.cell_um / rise))
        ):
            shift = 0.5 * pitch * (row & 1)
            first = int(np.ceil((ix * self.cell_um - shift) / pitch))
            last = int(np.ceil(((ix + 1) * self.cell_um - shift) / pitch))
            for column in range(first, last):
                dx, dy = rng.normal(0, 0.015 * pitch, 2)
                if rng.random() > 0.04:
                    r = 0.5 * median_um * (1 + float(np.clip(rng.normal(0, 0.02), -0.05, 0.03)))
                    body = Body([Member(0.0, 0.0, r, r)], r, 2 * r)
                    bodies.append((0, body, (column * pitch + shift + dx, row * rise + dy, 0.0)))
        return bodies

    def _place(
        self,
        rng: np.random.Generator,
        bodies: NDArray[np.float64],
        own_from: int,
        corner: NDArray[np.float64],
        radius_um: float,
    ) -> tuple[float, float, float] | None:
        """A free place in the cell; one on top of others; or none."""
        places = corner + rng.random((TRIES, 2)) * self.cell_um
        own = bodies[own_from:]
        if len(own) and rng.random() < self.scene.clumping:
            beside = own[rng.integers(len(own), size=TRIES)]
            angle = rng.uniform(0, 2 * np.pi, TRIES)
            away = (beside[:, 2] + radius_um) * rng.uniform(0.92, 1.02, TRIES)
            places = beside[:, :2] + away[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            places = np.clip(places, corner, corner + self.cell_um)
        piles = rng.random() < self.scene.piling
        if not len(bodies):
            return float(places[0, 0]), float(places[0, 1]), 0.0
        # Two spheres on a plane touch at a distance of 2 sqrt(R r), less than R + r: the smaller lies partly
        # under the larger one.
        need = 1.9 * np.sqrt(bodies[:, 2] * radius_um)
        for tried in (places[:1], places[1:]):  # the first mostly does
            distance = np.hypot(tried[:, :1] - bodies[:, 0], tried[:, 1:] - bodies[:, 1])
            free = (distance >= need).all(axis=1)
            if free.any():
                x, y = tried[int(np.argmax(free))]
                return float(x), float(y), 0.0
        if not piles:
            return None
        distance = np.hypot(places[0, 0] - bodies[:, 0], places[0, 1] - bodies[:, 1])
        under = distance < bodies[:, 2] + 0.5 * radius_um
        share = np.clip(1 - (distance / (bodies[:, 2] + radius_um)) ** 2, 0, 1)
        base = float((bodies[:, 3] * share**0.5)[under].max()) if under.any() else 0.0
        return float(places[0, 0]), float(places[0, 1]), 0.9 * base
