"""Dark places of the ground among bright particles: holes and hollows of carbon tape are no particles.

In a frame of a scanning electron microscope particles are brighter than the ground that they lie on, and a hole is
darker than it; in bright-field transmission particles are the dark ones. So a frame's detections themselves say which
is which, and only where most are bright are the dark ones left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GAP_PX = 2
RING_PX = 10
"""The ground is looked at between these distances from a mask: past its edge brightening or shadow."""

MAJORITY = 2.0
"""Without it a frame says nothing of what is ground: where bright and dark are even, either may be the particles."""

GROUND_MIN = 0.15
"""Share of the ring that must be bare ground; a particle among others is not compared with them."""


def ground_contrast(
    grey: NDArray[np.float32],
    boxes: NDArray[np.int32],
    masks: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Median grey value inside each mask less that of the bare ground around it.

    Parameters
    ----------
    grey
        (H, W) in [0, 1].
    boxes
        (N, 4) y0, x0, y1, x1.
    masks
        N masks inside their boxes.

    Returns
    -------
    ndarray
        (N,), NaN where too little ground is bare.
    """
    covered = np.zeros(grey.shape, bool)
    for (y0, x0, y1, x1), mask in zip(boxes, masks, strict=True):
        covered[y0:y1, x0:x1] |= mask
    contrast = np.full(len(masks), np.nan)
    for index, ((y0, x0, y1, x1), mask) in enumerate(zip(boxes, masks, strict=True)):
        top, left = max(int(y0) - RING_PX, 0), max(int(x0) - RING_PX, 0)
        window = (slice(top, int(y1) + RING_PX), slice(left, int(x1) + RING_PX))
        inside = np.zeros(grey[window].shape, bool)
        inside[y0 - top : y1 - top, x0 - left : x1 - left] = mask
        if not inside.any():
            continue
        near = _grow(inside, GAP_PX)
        ring = _grow(near, RING_PX - GAP_PX) & ~near
        ground = ring & ~covered[window]
        if ground.sum() >= max(GROUND_MIN * ring.sum(), 8):
            part = grey[window]
            contrast[index] = float(np.median(part[inside])) - float(np.median(part[ground]))
    return contrast


def _grow(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    """All pixels within a chessboard distance of a mask."""
    side = 2 * by_px + 1
    grown = ndimage.maximum_filter1d(mask.view(np.uint8), side, axis=0, mode="constant")
    both: NDArray[np.bool_] = ndimage.maximum_filter1d(grown, side, axis=1, mode="constant").view(bool)
    return both


def is_ground(
    contrast: NDArray[np.float64], objectness: NDArray[np.float64], least: float
) -> NDArray[np.bool_]:
    """Which detections are darker than their ground allows: contrast under ``least`` in a frame of bright particles.

    A frame is one of bright particles where those brighter than their ground have ``MAJORITY`` times the objectness of
    those that are darker.
    """
    known = ~np.isnan(contrast)
    bright = float(objectness[known & (contrast > 0)].sum())
    dark = float(objectness[known & (contrast <= 0)].sum())
    if bright <= MAJORITY * dark:
        return np.zeros(len(contrast), bool)
    return known & (contrast < least)
