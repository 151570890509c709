"""Which parts of a frame a network looks at, and how much enlarged: the whole, and tiles where those show more.

A tile answers for the particles whose centre lies in its core (the cores share the frame out) and that no seam cuts:
tiles overlap, so a particle under the overlap's width lies whole in the tile that answers for it. Larger ones are left
to a view of the whole frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SEAM_PX = 2.0
"""A box that ends nearer to a seam than this, in pixels that the network sees, is cut by it."""

SLACK_PX = 4.0
"""By how much a core reaches over its border, in pixels that the network sees: no particle falls between two tiles."""


@dataclass(frozen=True)
class View:
    """A window of a frame, and by how much it is enlarged before the network sees it.

    Attributes
    ----------
    rows, columns
        Window: start and end (exclusive), px of the frame.
    core_rows, core_columns
        Where the centres of the particles lie for which this view answers; infinite at the frame's own edge.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    core_rows: tuple[float, float]
    core_columns: tuple[float, float]
    factor: float

    def crop(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The window of a frame (H, W)."""
        return pixels[slice(*self.rows), slice(*self.columns)]

    def answers_for(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes (N, 4), x0 y0 x1 y1 in pixels of the frame, are this view's: (N,)."""
        return _along(boxes[:, 0], boxes[:, 2], self.columns, self.core_columns, self.factor) & _along(
            boxes[:, 1], boxes[:, 3], self.rows, self.core_rows, self.factor
        )


def whole_view(height: int, width: int, factor: float) -> View:
    """The whole frame."""
    everywhere = (-math.inf, math.inf)
    return View((0, height), (0, width), everywhere, everywhere, factor)


def tile_views(height: int, width: int, factor: float, *, tile_px: int, overlap_px: int) -> list[View]:
    """Tiles of equal size, as few as cover the frame, row by row.

    Parameters
    ----------
    tile_px, overlap_px
        Largest side of a tile and least overlap of two, in pixels that the network sees.
    """
    rows = _spans(height, tile_px / factor, overlap_px / factor)
    columns = _spans(width, tile_px / factor, overlap_px / factor)
    return [
        View(row, column, core_row, core_column, factor)
        for row, core_row in zip(rows, _cores(rows), strict=True)
        for column, core_column in zip(columns, _cores(columns), strict=True)
    ]


def _spans(length: int, tile: float, overlap: float) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    side = math.ceil((length + (count - 1) * overlap) / count)
    starts = [round(index * (length - side) / (count - 1)) for index in range(count)]
    return [(start, start + side) for start in starts]


def _cores(spans: list[tuple[int, int]]) -> list[tuple[float, float]]:
    borders = [(after[0] + before[1]) / 2 for before, after in pairwise(spans)]
    return list(zip([-math.inf, *borders], [*borders, math.inf], strict=True))


def _along(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    window: tuple[int, int],
    core: tuple[float, float],
    factor: float,
) -> NDArray[np.bool_]:
    centre = (low + high) / 2
    kept = (centre >= core[0] - SLACK_PX / factor) & (centre <= core[1] + SLACK_PX / factor)
    if math.isfinite(core[0]):
        kept &= low >= window[0] + SEAM_PX / factor
    if math.isfinite(core[1]):
        kept &= high <= window[1] - SEAM_PX / factor
    return kept
