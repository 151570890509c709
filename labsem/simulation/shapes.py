"""Height maps of single particles, in units of their radius, on a grid given by its rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.scene import Component, ShapeKind
from labsem.simulation.textures import TILE_TEXELS, cell_tile, fractal_tile, sample

Grid = NDArray[np.float32]
OUTSIDE: Final = np.float32(-1.0)
"""Height where the particle is not."""

REACH: Final[dict[ShapeKind, float]] = {
    "sphere": 1.5,
    "crystal": 1.5,
    "plate": 1.75,
    "needle": 3.2,
    "rod": 2.4,
    "fragment": 1.9,
    "agglomerate": 1.7,
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


def height_map(
    component: Component, seed: int, columns: NDArray[np.float64], rows: NDArray[np.float64]
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

    Returns
    -------
    height, shade
        (rows, columns) float32: height over its underside in radii, :data:`OUTSIDE` where it is not; and a
        factor on its grey level, about 1.
    """
    rng = np.random.default_rng(seed)
    offset = rng.uniform(0, TILE_TEXELS, 4)
    angle = rng.uniform(0, 2 * np.pi)
    grain = 16.0 * np.exp(rng.uniform(-0.9, 0.9))
    u = columns.astype(np.float32)[None, :]
    v = rows.astype(np.float32)[:, None]
    if component.warp > 0:
        # The domain is displaced by smooth noise: the outline becomes irregular, and stays closed.
        tile, scale = fractal_tile(1.8, 1), 80.0
        u = u + np.float32(component.warp) * sample(
            tile, columns * scale + offset[0], rows * scale + offset[1]
        )
        v = v + np.float32(component.warp) * sample(
            tile, columns * scale + offset[2], rows * scale + offset[3]
        )
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    height = _SHAPES[component.shape](rng, c * u + s * v, c * v - s * u)
    if component.satellites > 0:
        _add_satellites(rng, component.satellites, height, columns, rows)
    texture = _texture(component, grain, columns, rows, offset)
    inside = height > 0
    height += np.float32(component.roughness) * texture
    np.maximum(height, np.float32(0.02), out=height)
    height[~inside] = OUTSIDE
    shade = 1 + np.float32(rng.normal(0, 0.04)) + np.float32(0.04) * texture
    return height, shade


def _texture(
    component: Component,
    grain: float,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> Grid:
    if component.shape == "agglomerate":
        bumps = sample(cell_tile("bumps"), columns * 2.5 * grain + offset[0], rows * 2.5 * grain + offset[1])
        return (2.4 * bumps - 1.4).astype(np.float32)
    if component.roughness > 0.025 and int(offset[2]) % 3 == 0:
        cracks = sample(cell_tile("cracks"), columns * 3 * grain + offset[0], rows * 3 * grain + offset[1])
        return (1.5 * cracks - 1).astype(np.float32)
    return sample(
        fractal_tile(1.2, 2), columns * 3 * grain + offset[0], rows * 3 * grain + offset[1]
    ) * np.float32(0.6)


def _add_satellites(
    rng: np.random.Generator,
    mean: float,
    height: Grid,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> None:
    for _ in range(int(rng.poisson(mean))):
        angle, radius = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(0.08), np.log(0.3))))
        away = rng.uniform(0.3, 1.0 + 0.4 * radius)
        x, y = away * np.cos(angle), away * np.sin(angle)
        centre = 1 + max(1 - away**2, 0.0) ** 0.5
        i0, i1 = np.searchsorted(rows, (y - radius, y + radius))
        j0, j1 = np.searchsorted(columns, (x - radius, x + radius))
        if i0 == i1 or j0 == j1:
            continue
        rest = radius**2 - (rows[i0:i1, None] - y) ** 2 - (columns[None, j0:j1] - x) ** 2
        ball = np.where(rest > 0, centre + np.sqrt(np.maximum(rest, 0)), -1).astype(np.float32)
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
            (u > 0) & (u < length) & (across > 0), 0.8 + width * np.sqrt(np.maximum(across, 0)), -1
        )
        body = np.maximum(body, tail.astype(np.float32))
    return body


def _rod(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    half, thick = float(rng.uniform(0.6, 1.6)), float(rng.uniform(0.4, 0.65))
    bend = np.float32(rng.normal(0, 0.12))
    along = np.maximum(np.abs(u) - np.float32(half), 0)
    return _cap(1 - (along / np.float32(thick)) ** 2 - ((v - bend * u * u) / np.float32(thick)) ** 2, thick)


def _polyhedron(normals: NDArray[np.float64], distances: NDArray[np.float64], u: Grid, v: Grid) -> Grid:
    """Upper surface of the convex body of all half-spaces ``normal . p <= distance``, its lowest point at 0."""
    top: Grid | None = None
    side: Grid | None = None
    bottom: Grid | None = None
    for (nx, ny, nz), d in zip(normals, distances, strict=True):
        if nz > 0.05:
            plane = (np.float32(d / nz) - np.float32(nx / nz) * u) - np.float32(ny / nz) * v
            top = plane if top is None else np.minimum(top, plane)
        elif nz < -0.05:
            plane = (np.float32(d / nz) - np.float32(nx / nz) * u) - np.float32(ny / nz) * v
            bottom = plane if bottom is None else np.maximum(bottom, plane)
        else:
            wall = (np.float32(d) - np.float32(nx) * u) - np.float32(ny) * v
            side = wall if side is None else np.minimum(side, wall)
    shape = np.broadcast_shapes(u.shape, v.shape)
    top = np.full(shape, 1.0, np.float32) if top is None else top
    bottom = np.full(shape, -1.0, np.float32) if bottom is None else bottom
    inside = top > bottom
    if side is not None:
        inside &= side > 0
    lowest = float(bottom[inside].min()) if inside.any() else 0.0
    return np.where(inside, top - np.float32(min(lowest, 0.0)) + np.float32(0.03), OUTSIDE).astype(np.float32)


def _directions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    vectors = rng.standard_normal((count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _rotation(rng: np.random.Generator, tilt: float) -> NDArray[np.float64]:
    """Rotation matrix: about a random horizontal axis by up to ``tilt``, then about the vertical."""
    a, b, t = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0, tilt)
    axis = np.array([np.cos(a), np.sin(a), 0.0])
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    tilted = np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross
    turned = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return np.asarray(turned @ tilted)


_BOX = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
_OCTAHEDRON = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)], dtype=float) / 3**0.5


def _crystal(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    habit = rng.integers(4)
    if habit == 0:
        normals, distances = _BOX, np.repeat(rng.uniform(0.6, 1.0, 3), 2)
    elif habit == 1:
        normals, distances = _OCTAHEDRON, np.full(8, 0.72)
    elif habit == 2:
        normals = np.concatenate([_BOX, _OCTAHEDRON])
        distances = np.concatenate([np.full(6, 0.85), np.full(8, rng.uniform(0.85, 1.1))])
    else:
        normals = _directions(rng, int(rng.integers(12, 20)))
        normals = np.concatenate([normals, -normals])
        distances = rng.uniform(0.75, 0.95, len(normals))
    return _polyhedron(normals @ _rotation(rng, 1.2).T, distances, u, v)


def _plate(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    sides = int(rng.choice([4, 6, 6, 8, 11]))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.15, 0.15, sides)) / sides
    walls = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], axis=1)
    normals = np.concatenate([walls, _BOX[4:]])
    distances = np.concatenate([rng.uniform(0.75, 1.1, sides), np.full(2, rng.uniform(0.06, 0.25))])
    return _polyhedron(normals @ _rotation(rng, 0.8).T, distances, u, v)


def _needle(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    sides, thick = int(rng.choice([4, 6])), float(rng.uniform(0.16, 0.4))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(0, 1)) / sides
    walls = np.stack([np.zeros(sides), np.cos(angles), np.sin(angles)], axis=1)
    ends = np.array([[1, 0, 0], [-1, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]], dtype=float)
    half = float(rng.uniform(1.2, 2.8))
    distances = np.concatenate([np.full(sides, thick), [half, half, 0.8 * half + 0.1, 0.8 * half + 0.1]])
    normals = np.concatenate([walls, ends])
    tilt = float(rng.normal(0, 0.15))
    c, s = np.cos(tilt), np.sin(tilt)
    return _polyhedron(normals @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]), distances, u, v)


def _fragment(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    count = int(rng.integers(9, 18))
    normals = np.concatenate([_directions(rng, count), [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]])
    distances = np.concatenate([rng.uniform(0.55, 1.15, count), [0.5, rng.uniform(0.5, 0.9)]])
    stretch = np.float32(np.exp(rng.normal(0, 0.22)))
    body = _polyhedron(normals, distances, u / stretch, v * stretch)
    reach = u * u + v * v < np.float32(1.7**2)  # few random planes may leave the body open
    return np.where(reach, body, OUTSIDE).astype(np.float32)


def _agglomerate(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    if rng.random() < 0.3:
        return _crystal(rng, u, v)
    flat = float(rng.uniform(0.6, 1.0))
    a, b = np.float32(flat**-0.5), np.float32(flat**0.5)
    return _cap(1 - (u / a) ** 2 - (v / b) ** 2, 0.8 * float(b))


_SHAPES: Final[dict[ShapeKind, Callable[[np.random.Generator, Grid, Grid], Grid]]] = {
    "sphere": _sphere,
    "crystal": _crystal,
    "plate": _plate,
    "needle": _needle,
    "rod": _rod,
    "fragment": _fragment,
    "agglomerate": _agglomerate,
    "drop": _drop,
}
