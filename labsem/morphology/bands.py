"""Frames in bands of rows, so that a filter of a large frame needs no further frames of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BAND_PX = 1536
"""Rows of a band, a multiple of the blocks in which noise is measured; frames of usual size are one band."""


class Band(NamedTuple):
    """Rows of a frame.

    Attributes
    ----------
    rows
        The band's own.
    padded
        These and a halo on both sides, within the frame.
    inner
        The band's own rows within the padded ones.
    """

    rows: slice
    padded: slice
    inner: slice


def bands(height_px: int, halo_px: int) -> Iterator[Band]:
    """Bands that together are a frame's rows; a filter that reaches no farther than the halo sees no seam."""
    for start in range(0, height_px, BAND_PX):
        end = min(start + BAND_PX, height_px)
        first, last = max(start - halo_px, 0), min(end + halo_px, height_px)
        yield Band(slice(start, end), slice(first, last), slice(start - first, end - first))
