"""Periodic texture tiles and their sampling; made once for each process from fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Image = NDArray[np.float32]

TILE_TEXELS = 256
"""Edge of a tile; all tiles are periodic, so that they continue across frames."""


@dataclass(frozen=True)
class Tile:
    """A periodic texture with its averages over 2 x 2, 4 x 4 ... texels, for coarse views."""

    levels: tuple[Image, ...]

    @classmethod
    def of(cls, texels: Image) -> Tile:
        """Build the averages of a (256, 256) texture."""
        levels = [texels]
        while len(levels[-1]) > 8:
            last = levels[-1]
            levels.append(
                (last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / np.float32(4)
            )
        return cls(tuple(levels))


@lru_cache(maxsize=16)
def fractal_tile(exponent: float, index: int = 0) -> Tile:
    """Gaussian noise (mean 0, standard deviation 1) whose amplitude falls as frequency**-``exponent``."""
    rng = np.random.default_rng([7301, index, round(exponent * 100)])
    frequency = np.hypot(np.fft.fftfreq(TILE_TEXELS)[:, None], np.fft.rfftfreq(TILE_TEXELS)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_TEXELS, TILE_TEXELS))) / frequency**exponent
    spectrum[0, 0] = 0.0
    tile = np.fft.irfft2(spectrum, (TILE_TEXELS, TILE_TEXELS))
    return Tile.of((tile / tile.std()).astype(np.float32))


@lru_cache(maxsize=8)
def cell_tile(kind: str, grains: int = 256) -> Tile:
    """Texture, 0 to 1, of grains around random points (Worley, SIGGRAPH 1996).

    Parameters
    ----------
    kind
        ``bumps``: a hemisphere on each point; ``cracks``: 0 on the borders between grains, 1 inside.
    grains
        Number of points in the tile.
    """
    rng = np.random.default_rng([9127, grains])
    points = rng.random((grains, 2)) * TILE_TEXELS
    grid = np.stack(np.meshgrid(*(np.arange(TILE_TEXELS),) * 2, indexing="ij"), axis=-1)
    distance, _ = cKDTree(points, boxsize=TILE_TEXELS).query(grid.reshape(-1, 2), k=2)
    spacing = TILE_TEXELS / np.sqrt(grains)
    if kind == "bumps":
        value = np.sqrt(np.clip(1 - (distance[:, 0] / (0.75 * spacing)) ** 2, 0, 1))
    else:
        value = np.clip((distance[:, 1] - distance[:, 0]) / (0.25 * spacing), 0, 1)
    return Tile.of(value.reshape(TILE_TEXELS, TILE_TEXELS).astype(np.float32))


def sample(tile: Tile, columns: NDArray[np.float64], rows: NDArray[np.float64]) -> Image:
    """Bilinear value of a tile on the grid of ``rows`` x ``columns`` (in texels).

    Where a pixel spans several texels their average is taken.
    """
    step = abs(float(columns[-1] - columns[0])) / max(len(columns) - 1, 1)
    level = min(max(round(np.log2(max(step, 1.0))), 0), len(tile.levels) - 1)
    texels = tile.levels[level]
    edge = len(texels)
    columns, rows = (columns + 0.5) / 2**level - 0.5, (rows + 0.5) / 2**level - 0.5
    x0 = np.floor(columns).astype(np.intp)
    y0 = np.floor(rows).astype(np.intp)
    fx = (columns - x0).astype(np.float32)
    fy = (rows - y0).astype(np.float32)[:, None]
    if 3 * len(x0) < edge:  # few columns: gathering them alone is cheaper than whole rows of the tile
        block = texels[np.ix_(np.concatenate([y0, y0 + 1]) % edge, np.concatenate([x0, x0 + 1]) % edge)]
        lines = block[: len(y0)] * (1 - fy) + block[len(y0) :] * fy
        return np.asarray(lines[:, : len(x0)] * (1 - fx) + lines[:, len(x0) :] * fx)
    lines = texels[y0 % edge] * (1 - fy) + texels[(y0 + 1) % edge] * fy
    return np.asarray(
        np.take(lines, x0 % edge, axis=1) * (1 - fx) + np.take(lines, (x0 + 1) % edge, axis=1) * fx
    )


def enlarge(image: Image, step: int, shape: tuple[int, ...]) -> Image:
    """Bilinear values between pixels that lie ``step`` apart, the first one at the corner."""
    rows = np.minimum(np.arange(shape[0]) / step, image.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) / step, image.shape[1] - 1)
    y0 = np.minimum(rows.astype(np.intp), image.shape[0] - 1)
    x0 = np.minimum(columns.astype(np.intp), image.shape[1] - 1)
    fy, fx = (rows - y0).astype(np.float32)[:, None], (columns - x0).astype(np.float32)
    y1, x1 = np.minimum(y0 + 1, image.shape[0] - 1), np.minimum(x0 + 1, image.shape[1] - 1)
    across = np.take(image, x0, axis=1) * (1 - fx) + np.take(image, x1, axis=1) * fx
    return np.asarray(across[y0] * (1 - fy) + across[y1] * fy)
