"""Height maps of faceted particles: crystals, plates, needles, fragments."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
OUTSIDE: Final = np.float32(-1.0)
"""Height where the particle is not."""


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


def crystal(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    """A box, an octahedron, one cut by the other, or a body of many faces, tilted."""
    habit = rng.integers(4)
    if habit == 0:
        normals, distances = _BOX, np.repeat(rng.uniform(0.55, 0.86, 3), 2)
    elif habit == 1:
        normals, distances = _OCTAHEDRON, np.full(8, 0.72)
    elif habit == 2:
        normals = np.concatenate([_BOX, _OCTAHEDRON])
        distances = np.concatenate([np.full(6, 0.85), np.full(8, rng.uniform(0.85, 1.1))])
    else:
        normals = _directions(rng, int(rng.integers(12, 20)))
        normals = np.concatenate([normals, -normals])
        distances = rng.uniform(0.75, 0.95, len(normals))
    body = _polyhedron(normals @ _rotation(rng, 1.2).T, distances, u, v)
    reach = u * u + v * v < np.float32(1.48**2)  # few random planes may leave a long corner
    return np.where(reach, body, OUTSIDE).astype(np.float32)


def plate(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    """A flat prism."""
    sides = int(rng.choice([4, 6, 6, 8, 11]))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.15, 0.15, sides)) / sides
    walls = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], axis=1)
    normals = np.concatenate([walls, _BOX[4:]])
    distances = np.concatenate([rng.uniform(0.75, 1.1, sides), np.full(2, rng.uniform(0.06, 0.25))])
    return _polyhedron(normals @ _rotation(rng, 0.8).T, distances, u, v)


def needle(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    """A thin prism with bevelled ends."""
    sides, thick = int(rng.choice([4, 6])), float(rng.uniform(0.16, 0.4))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(0, 1)) / sides
    walls = np.stack([np.zeros(sides), np.cos(angles), np.sin(angles)], axis=1)
    ends = np.array([[1, 0, 0], [-1, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]], dtype=float)
    half = float(rng.uniform(1.2, 2.8))
    distances = np.concatenate([np.full(sides, thick), [half, half, 0.8 * half + 0.1, 0.8 * half + 0.1]])
    normals = np.concatenate([walls, ends])
    tilt = float(rng.normal(0, 0.15))
    c, s = np.cos(tilt), np.sin(tilt)
    # Only a strip of the square is looked at: this is most of a needle's cost.
    strip = (np.abs(v) < 1.5 * thick) & (np.abs(u) < 1.1 * half + thick)
    height = np.full(np.broadcast_shapes(u.shape, v.shape), OUTSIDE, np.float32)
    normals = normals @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    height[strip] = _polyhedron(normals, distances, u[strip], v[strip])
    return height


def fragment(rng: np.random.Generator, u: Grid, v: Grid) -> Grid:
    """A splinter between random planes."""
    count = int(rng.integers(9, 18))
    normals = np.concatenate([_directions(rng, count), [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]])
    distances = np.concatenate([rng.uniform(0.55, 1.15, count), [0.5, rng.uniform(0.5, 0.9)]])
    stretch = np.float32(np.exp(rng.normal(0, 0.22)))
    body = _polyhedron(normals, distances, u / stretch, v * stretch)
    reach = u * u + v * v < np.float32(1.7**2)  # few random planes may leave the body open
    return np.where(reach, body, OUTSIDE).astype(np.float32)
