"""Height maps of single particles, in units of their radius, on a grid given by its rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.polyhedra import OUTSIDE, Grid, crystal, fragment, needle, plate
from labsem.simulation.scene import Component, ShapeKind
from labsem.simulation.surfaces import surface_texture
from labsem.simulation.textures import TILE_TEXELS, fractal_tile, sample

Axis = NDArray[np.float64]

REACH: Final[dict[ShapeKind, float]] = {
    "sphere": 1.5,
    "crystal": 1.75,
    "plate": 1.75,
    "needle": 3.2,
    "rod": 2.4,
    "fragment": 1.9,
    "agglomerate": 2.0,
    "drop": 1.9,
}
"""Half the edge of the square that holds a particle, over its radius."""

HEIGHTS: Final[dict[ShapeKind, float]] = {
    "sphere": 2.0,
    "crystal": 1.7,
    "plate": 0.4,
    "needle": 0.6,
    "rod": 1.1,
    "fragment": 1.4,
    "agglomerate": 1.6,
    "drop": 1.8,
}
"""Typical height over the radius, for piling."""

FINE_STEP: Final = 0.12
"""Pixels wider than this share of the radius show no fine outline."""

FEW_LUMPS: Final = 15
"""So many grains are enough for the outline of an agglomerate of so few pixels."""


@dataclass(frozen=True)
class Neck:
    """A sphere that rounds off the place where two primaries have grown together, in radii of one of them.

    ``normal`` points to the other one, which draws what lies beyond; it is zero where the two are one particle.
    """

    x: float
    y: float
    z: float
    radius: float
    normal: tuple[float, float, float]


def height_map(
    component: Component, seed: int, columns: Axis, rows: Axis, necks: tuple[Neck, ...] = ()
) -> tuple[Grid, Grid]:
    """One particle's upper surface.

    Parameters
    ----------
    component
        Its population.
    seed
        The particle's own: shape, orientation and texture follow from it alone.
    columns, rows
        Places of the pixels relative to the centre, in radii.
    necks
        Where it has grown together with others.

    Returns
    -------
    height, shade
        (rows, columns) float32: height over its underside in radii, :data:`OUTSIDE` where it is not; and a
        factor on its grey level, about 1.
    """
    rng = np.random.default_rng(seed)
    offset = rng.uniform(0, TILE_TEXELS, 4)
    angle = rng.uniform(0, 2 * np.pi)
    fineness = float(np.exp(rng.uniform(-0.6, 0.6)))
    u, v = _warped(component, columns, rows, offset)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    height = _SHAPES[component.shape](rng, c * u + s * v, c * v - s * u)
    if component.shape == "agglomerate":
        _add_lumps(rng, component.warp, height, columns, rows, u, v)
    if component.satellites > 0:
        _add_satellites(rng, component.satellites, height, columns, rows)
    for neck in necks:
        _add_neck(neck, height, columns, rows)
    inside = height > 0
    texture, tint = surface_texture(component, fineness, columns, rows, offset)
    height += np.float32(component.roughness) * texture
    np.maximum(height, np.float32(0.02), out=height)
    height[~inside] = OUTSIDE
    shade = np.full_like(height, 1 + rng.normal(0, 0.04))
    shade += np.float32(tint) * texture
    return height, shade


def _warped(
    component: Component, columns: Axis, rows: Axis, offset: NDArray[np.float64]
) -> tuple[Grid, Grid]:
    """The grid displaced by smooth noise: the outline becomes irregular, and stays closed."""
    u = columns.astype(np.float32)[None, :]
    v = rows.astype(np.float32)[:, None]
    if component.warp <= 0:
        return u, v
    ragged = component.shape in ("agglomerate", "fragment") and abs(columns[1] - columns[0]) < FINE_STEP
    for scale, share in ((80.0, 1.0), (400.0, 0.3)) if ragged else ((80.0, 1.0),):
        tile, width = fractal_tile(1.8, 1), np.float32(component.warp * share)
        u = u + width * sample(tile, columns * scale + offset[0], rows * scale + offset[1])
        v = v + width * sample(tile, columns * scale + offset[2], rows * scale + offset[3])
    return u, v


def _add_ball(height: Grid, columns: Axis, rows: Axis, x: float, y: float, z: float, radius: float) -> None:
    i0, i1 = np.searchsorted(rows, (y - radius, y + radius))
    j0, j1 = np.searchsorted(columns, (x - radius, x + radius))
    if i0 == i1 or j0 == j1:
        return
    rest = radius**2 - (rows[i0:i1, None] - y) ** 2 - (columns[None, j0:j1] - x) ** 2
    ball = np.where(rest > 0, z + np.sqrt(np.maximum(rest, 0)), OUTSIDE).astype(np.float32)
    np.maximum(height[i0:i1, j0:j1], ball, out=height[i0:i1, j0:j1])


def _add_satellites(rng: np.random.Generator, mean: float, height: Grid, columns: Axis, rows: Axis) -> None:
    for _ in range(int(rng.poisson(mean))):
        angle, radius = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(0.08), np.log(0.3))))
        away = rng.uniform(0.3, 1.0 + 0.4 * radius)
        centre = 1 + max(1 - away**2, 0.0) ** 0.5
        _add_ball(height, columns, rows, away * np.cos(angle), away * np.sin(angle), centre, radius)


def _add_lumps(
    rng: np.random.Generator, warp: float, height: Grid, columns: Axis, rows: Axis, u: Grid, v: Grid
) -> None:
    """Grains on and around a core, each against one that is there: a granular mass with a ragged outline."""
    u, v = np.broadcast_arrays(u, v)
    count = int(np.exp(rng.uniform(np.log(6), np.log(70))))
    if columns[1] - columns[0] > FINE_STEP:
        count = min(count, FEW_LUMPS)
    lumps = np.empty((count + 1, 3))
    lumps[0] = 0.0, 0.0, 0.55
    for k in range(1, count + 1):
        x, y, other = lumps[int(rng.integers(k)) if rng.random() < 0.5 else 0]
        radius = float(np.exp(rng.uniform(np.log(0.06), np.log(0.32))))
        angle, away = rng.uniform(0, 2 * np.pi), (other + radius) * rng.uniform(0.7, 1.0)
        x, y = float(x + away * np.cos(angle)), float(y + away * np.sin(angle))
        out = float(np.hypot(x, y)) + radius
        if out > 1.8:
            x, y = x * (1.8 - radius) / out, y * (1.8 - radius) / out
        lumps[k] = x, y, radius
        centre = float(rng.uniform(radius, max(1.3 - 0.5 * out, radius)))
        reach = radius + 2 * warp
        i0, i1 = np.searchsorted(rows, (y - reach, y + reach))
        j0, j1 = np.searchsorted(columns, (x - reach, x + reach))
        if i1 - i0 < 2 or j1 - j0 < 2:
            continue
        place = (slice(i0, i1), slice(j0, j1))
        rest = np.float32(radius**2) - (v[place] - np.float32(y)) ** 2 - (u[place] - np.float32(x)) ** 2
        ball = np.where(rest > 0, np.float32(centre) + np.sqrt(np.maximum(rest, 0)), OUTSIDE)
        np.maximum(height[place], ball, out=height[place])


def _add_neck(neck: Neck, height: Grid, columns: Axis, rows: Axis) -> None:
    i0, i1 = np.searchsorted(rows, (neck.y - neck.radius, neck.y + neck.radius))
    j0, j1 = np.searchsorted(columns, (neck.x - neck.radius, neck.x + neck.radius))
    if i0 == i1 or j0 == j1:
        return
    dy, dx = rows[i0:i1, None] - neck.y, columns[None, j0:j1] - neck.x
    rest = neck.radius**2 - dy**2 - dx**2
    dz = np.sqrt(np.maximum(rest, 0))
    mine = (rest > 0) & (dx * neck.normal[0] + dy * neck.normal[1] + dz * neck.normal[2] <= 0)
    ball = np.where(mine, neck.z + dz, OUTSIDE).astype(np.float32)
    np.maximum(height[i0:i1, j0:j1], ball, out=height[i0:i1, j0:j1])


def _cap(rest: NDArray[np.floating[Any]], scale: float) -> Grid:
    """``scale`` x (1 + square root) where ``rest`` is positive: the upper half of a round body."""
    return np.where(rest > 0, scale * (1 + np.sqrt(np.maximum(rest, 0))), OUTSIDE).astype(np.float32)


def _sphere(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    flat = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.65, 1.0))
    a, b = flat**-0.5, flat**0.5
    return _cap(1 - (u / np.float32(a)) ** 2 - (v / np.float32(b)) ** 2, b)


def _drop(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    neck = float(rng.uniform(0.25, 0.6))
    narrow = np.float32(1) - np.float32(neck) * np.clip(u, -1.5, 1.5) * np.float32(0.8)
    round_part = 1 - (u / np.float32(1.15)) ** 2 - (v / np.float32(0.9) / np.maximum(narrow, 0.15)) ** 2
    body = _cap(round_part, 0.8)
    if rng.random() < 0.5:
        length, width = float(rng.uniform(1.2, 1.7)), float(rng.uniform(0.08, 0.22))
        across = 1 - (v / np.float32(width)) ** 2
        tail = np.where(
            (u > 0) & (u < length) & (across > 0), 0.8 + width * np.sqrt(np.maximum(across, 0)), OUTSIDE
        )
        body = np.maximum(body, tail.astype(np.float32))
    return body


def _rod(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    half, thick = float(rng.uniform(0.6, 1.6)), float(rng.uniform(0.4, 0.65))
    bend = np.float32(rng.normal(0, 0.12))
    along = np.maximum(np.abs(u) - np.float32(half), 0)
    return _cap(1 - (along / np.float32(thick)) ** 2 - ((v - bend * u * u) / np.float32(thick)) ** 2, thick)


def _core(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    """What an agglomerate has grown around: a block, or a rounded mass, large or small."""
    size = np.float32(rng.uniform(0.45, 1.0))
    u, v = u / size, v / size
    habit = rng.random()
    if habit < 0.3:
        return crystal(rng, u, v) * size
    if habit < 0.6:
        return fragment(rng, u, v) * size
    flat = float(rng.uniform(0.6, 1.0))
    a, b = np.float32(flat**-0.5), np.float32(flat**0.5)
    return _cap(1 - (u / a) ** 2 - (v / b) ** 2, 0.8 * float(b)) * size


_SHAPES: Final[dict[ShapeKind, Callable[[np.random.Generator, Grid, Grid], Grid]]] = {
    "sphere": _sphere,
    "crystal": crystal,
    "plate": plate,
    "needle": needle,
    "rod": _rod,
    "fragment": fragment,
    "agglomerate": _core,
    "drop": _drop,
}
