"""What is put on the stub at once: a particle, or a cluster of primaries, touching or fused."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, hypot, pi, sin

import numpy as np

from labsem.simulation.scene import Component
from labsem.simulation.shapes import HEIGHTS, REACH, Neck

FILLET = 1.12
"""Radius of the sphere that rounds off a neck, over the neck's."""

CLOSEST = 0.88
"""Primaries lie at least this far apart, over the distance at which they have the component's neck."""


@dataclass(frozen=True)
class Particle:
    """One particle: centre, height of its underside, radius (half its nominal diameter), its own seed.

    Attributes
    ----------
    necks
        Where it has grown together with neighbours that are particles of their own.
    parts
        The primaries of a cluster that counts as one particle, else empty; ``radius_um`` then holds them all.
    """

    x_um: float
    y_um: float
    base_um: float
    radius_um: float
    component: int
    seed: int
    necks: tuple[Neck, ...] = ()
    parts: tuple[Particle, ...] = ()

    @property
    def particle_id(self) -> int:
        """The same in every frame that shows it (63 bits, from its cell and rank)."""
        return self.seed

    def extent_um(self, component: Component) -> float:
        """Half the edge of the square that holds it."""
        return self.radius_um if self.parts else self.radius_um * REACH[component.shape]


@dataclass
class Member:
    """A primary within its body: centre (z too), radius, and its necks, all in um."""

    x: float
    y: float
    z: float
    r: float
    necks: list[Neck] = field(default_factory=list)


@dataclass(frozen=True)
class Body:
    """Members around the body's centre, the radius that it occupies on the stub, and its height."""

    members: list[Member]
    radius_um: float
    top_um: float

    def particles(
        self, rng: np.random.Generator, index: int, component: Component, x: float, y: float, base: float
    ) -> list[Particle]:
        """Its particles at a place."""
        found = [
            Particle(
                x + m.x,
                y + m.y,
                base + m.z - m.r,
                m.r,
                index,
                int(rng.integers(1, 2**63)),
                tuple(m.necks),
            )
            for m in self.members
        ]
        if not component.fused:
            return found
        radius = max(hypot(m.x, m.y) + m.r * REACH[component.shape] for m in self.members)
        return [Particle(x, y, base, radius, index, found[0].seed, parts=tuple(found))]


def cluster_um(component: Component) -> float:
    """Largest distance of a primary's centre from its body's; 0 for bodies that are no clusters."""
    if component.primaries == 1:
        return 0.0
    return float(0.6 * component.sizes.largest_um * component.primaries**0.5)


def make_body(rng: np.random.Generator, component: Component) -> Body:
    """Draw one body of a component."""
    radius = component.sizes.draw(rng) / 2
    members = [Member(0.0, 0.0, radius, radius)]
    if component.primaries == 1:
        return Body(members, radius, radius * HEIGHTS[component.shape])
    limit_um = cluster_um(component)
    _grow(rng, component, members, limit_um)
    x, y = np.mean([(m.x, m.y) for m in members], axis=0).tolist()
    if all(hypot(m.x - x, m.y - y) <= limit_um for m in members):
        for m in members:
            m.x, m.y = m.x - x, m.y - y
    top = max(m.z + m.r * (HEIGHTS[component.shape] - 1) for m in members)
    outer = max(hypot(m.x, m.y) + m.r for m in members)
    return Body(members, 0.85 * outer, top)


def _grow(rng: np.random.Generator, component: Component, members: list[Member], limit_um: float) -> None:
    """Add primaries one by one, each against one that is there (particle-cluster aggregation)."""
    count = min(max(int(rng.poisson(component.primaries)), 2), 3 * component.primaries)
    closest = CLOSEST * (1.0 if component.neck == 0 else (1 - component.neck**2) ** 0.5)
    for place, azimuth, rise in zip(
        rng.random(6 * count),
        rng.uniform(0, 2 * pi, 6 * count),
        rng.uniform(-0.2, 0.75, 6 * count),
        strict=True,
    ):
        r = component.sizes.draw(rng) / 2
        other = members[int(place * len(members))]
        neck = 0.85 * component.neck * min(r, other.r)
        away = (r**2 - neck**2) ** 0.5 + (other.r**2 - neck**2) ** 0.5 - 0.03 * (r + other.r)
        flat = away * (1 - rise**2) ** 0.5
        x, y = other.x + flat * cos(azimuth), other.y + flat * sin(azimuth)
        z = max(other.z + away * rise, r)
        if hypot(x, y) > limit_um or any(
            (m.x - x) ** 2 + (m.y - y) ** 2 + (m.z - z) ** 2 <= (closest * (m.r + r)) ** 2 for m in members
        ):
            continue
        members.append(Member(x, y, z, r))
        if component.neck > 0:
            _join(other, members[-1], component)
        if len(members) == count:
            break


def _join(a: Member, b: Member, component: Component) -> None:
    """Round off the neck between two members with a sphere, each getting the half on its own side."""
    axis = (b.x - a.x, b.y - a.y, b.z - a.z)
    distance = max(hypot(*axis), 1e-9)
    unit = [part / distance for part in axis]
    along = (distance**2 + a.r**2 - b.r**2) / (2 * distance)
    radius = FILLET * component.neck * min(a.r, b.r)
    for member, offset, sign in ((a, along, 1.0), (b, along - distance, -1.0)):
        # In radii of the member, the height counted from its underside.
        x, y, z = (part * offset / member.r for part in unit)
        nx, ny, nz = (0.0 if component.fused else sign * part for part in unit)
        member.necks.append(Neck(x, y, z + 1, radius / member.r, (nx, ny, nz)))
