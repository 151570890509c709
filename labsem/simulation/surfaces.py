"""Texture of a particle's surface."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.polyhedra import Grid
from labsem.simulation.scene import Component
from labsem.simulation.textures import cell_tile, fractal_tile, sample

COARSEST_STEP: Final = 0.3
"""Pixels wider than this share of the radius show no texture."""

TEXELS: Final = 40.0
"""Texels of a tile for a radius; a grain of a cell texture is 16 texels."""


def surface_texture(
    component: Component,
    fineness: float,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> tuple[Grid | np.float32, float]:
    """Height of the texture about 0 (times ``roughness``, in radii), and how much it tints the grey level."""
    if abs(columns[1] - columns[0]) > COARSEST_STEP:
        return np.float32(0), 0.0
    scale = TEXELS * fineness

    def cells(kind: str, times: float) -> Grid:
        tile = cell_tile(kind)
        return sample(tile, columns * scale * times + offset[0], rows * scale * times + offset[1])

    if component.texture == "granular":
        return np.float32(1.1) * cells("bumps", 1.5) + cells("bumps", 6.0) - np.float32(1.5), 0.2
    if component.texture == "dusty":
        patches = sample(fractal_tile(1.6, 2), columns * scale + offset[2], rows * scale + offset[3])
        specks = np.maximum(cells("bumps", 3.5) - np.float32(0.55), 0) * np.clip(
            patches + np.float32(0.6), 0, 1
        )
        return np.float32(4) * specks - np.float32(0.3), 0.1
    if component.texture == "pits":
        return np.float32(0.4) - np.float32(3) * np.maximum(cells("bumps", 1.0) - np.float32(0.8), 0), 0.25
    if component.texture == "cracks":
        return np.float32(1.5) * cells("cracks", 1.0) - np.float32(1), 0.08
    noise = sample(fractal_tile(1.2, 2), columns * scale + offset[0], rows * scale + offset[1])
    return noise * np.float32(0.6), 0.04
