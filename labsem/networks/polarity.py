"""Places of the ground among bright particles: holes, hollows and bubbles of carbon tape are no particles.

In a frame of a scanning electron microscope particles are brighter than the ground that they lie on, and a hole is
darker than it; in bright-field transmission particles are the dark ones. So a frame's detections themselves say which
is which: only where most are bright are the dark ones left out, and only where most stand out from their ground those
that are as dark as it (a bubble under the tape's skin has nothing but a rim).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GAP_PX = 2
RING_PX = 10
"""The ground is looked at between these distances from a mask: past its edge brightening or shadow."""

MAJORITY = 2.0
"""Without it a frame says nothing of what is ground: where bright and dark are even, either may be the particles."""

CLEAR = 0.5
"""A particle of at least this share of the typical contrast is a clear one."""

CLEAR_SHARE = 0.5
"""With less of the objectness of those that do not stand out from their ground, clear particles are the exception, and
what has nothing but a rim may be the frame's kind of particle."""

SPREADS = 3.0
"""By more than so many spreads no place of the ground is brighter than the rest of it."""

BARE_EVERY = 4
"""Every so many-th pixel of either axis tells how bright the bare ground of a frame is."""

GROUND_MIN = 0.15
"""Share of the ring that must be bare ground; a particle among others is not compared with them."""


class Shades(NamedTuple):
    """Median grey values (N,) in each mask and of the bare ground around it; NaN where too little ground is bare.

    ``bare`` is that of all that no mask of the frame covers, ``bare_spread`` half of the range in which two thirds of
    it lie; NaN where masks cover everything.
    """

    inside: NDArray[np.float64]
    ground: NDArray[np.float64]
    bare: float
    bare_spread: float

    @property
    def contrast(self) -> NDArray[np.float64]:
        """(N,) how much brighter than its ground each is."""
        return self.inside - self.ground

    def take(self, index: NDArray[np.int64]) -> Shades:
        """Those at some places."""
        return Shades(self.inside[index], self.ground[index], self.bare, self.bare_spread)


def ground_shades(
    grey: NDArray[np.float32],
    boxes: NDArray[np.int32],
    masks: Sequence[NDArray[np.bool_]],
) -> Shades:
    """How bright masks and the ground beside them are.

    Parameters
    ----------
    grey
        (H, W) in [0, 1].
    boxes
        (N, 4) y0, x0, y1, x1.
    masks
        N masks inside their boxes.
    """
    covered = np.zeros(grey.shape, bool)
    for (y0, x0, y1, x1), mask in zip(boxes, masks, strict=True):
        covered[y0:y1, x0:x1] |= mask
    thinned = grey[::BARE_EVERY, ::BARE_EVERY][~covered[::BARE_EVERY, ::BARE_EVERY]]
    dark, middle, bright = np.quantile(thinned, (1 / 6, 1 / 2, 5 / 6)) if thinned.size else (np.nan,) * 3
    unknown = np.full(len(masks), np.nan)
    shades = Shades(unknown, unknown.copy(), float(middle), float(bright - dark) / 2)
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
            shades.inside[index] = np.median(part[inside])
            shades.ground[index] = np.median(part[ground])
    return shades


def _grow(mask: NDArray[np.bool_], by_px: int) -> NDArray[np.bool_]:
    """All pixels within a chessboard distance of a mask."""
    side = 2 * by_px + 1
    grown = ndimage.maximum_filter1d(mask.view(np.uint8), side, axis=0, mode="constant")
    both: NDArray[np.bool_] = ndimage.maximum_filter1d(grown, side, axis=1, mode="constant").view(bool)
    return both


def is_ground(
    shades: Shades, objectness: NDArray[np.float64], least: float, band: float
) -> NDArray[np.bool_]:
    """Which detections (N,) are places of the ground.

    Those of contrast under ``least``, in a frame of bright particles: where those brighter than their ground have
    ``MAJORITY`` times the objectness of those that are darker. And those that are as dark as the ground that the
    frame's clear particles lie on; see :func:`_is_dim`.

    Parameters
    ----------
    objectness
        (N,).
    least
        Least contrast; -1: any.
    band
        Share of the clear particles' contrast; 0: none is too dim.
    """
    known = ~np.isnan(shades.contrast)
    bright = float(objectness[known & (shades.contrast > 0)].sum())
    dark = float(objectness[known & (shades.contrast <= 0)].sum())
    ground = np.zeros(len(known), bool)
    if bright > MAJORITY * dark:
        ground |= known & (shades.contrast < least)
    if band > 0 and bright > 0:
        ground |= _is_dim(shades, objectness, band)
    return ground


def _is_dim(shades: Shades, objectness: NDArray[np.float64], band: float) -> NDArray[np.bool_]:
    """Which detections (N,) are not brighter than the frame's ground, by a band.

    Clear is what has at least ``CLEAR`` of the typical contrast, which is that at which half of all contrast lies. The
    ground is that beside the clear particles or, where their shadows lie on that, all that is bare; what is brighter by
    more than ``SPREADS`` times the spread of that is none of it, however much brighter others are. A detection in the
    band (at most that share of the typical contrast from its own ground, or darker) may still be a particle among
    others that hide its ground, which is then brighter than the frame's; or, where the clear ones are few
    (``CLEAR_SHARE``), one of many that are told by their rims alone. What is darker than the band must hold less
    contrast than the clear ones do: beside bright particles holes are many, but not as strong.
    """
    contrast = np.nan_to_num(shades.contrast)
    order = np.argsort(contrast)
    weight = np.cumsum((objectness * contrast.clip(min=0))[order])
    typical = float(contrast[order[np.searchsorted(weight, weight[-1] / 2)]])
    clear = contrast >= CLEAR * typical
    near = np.abs(contrast) < band * typical
    deep = contrast <= -band * typical
    level = np.fmax(np.median(shades.ground[clear]), shades.bare)
    margin = np.fmin(band * typical, SPREADS * shades.bare_spread)
    dim = ~np.isnan(shades.inside) & (shades.inside - level < margin)
    ground = np.zeros(len(contrast), bool)
    if objectness[clear].sum() > CLEAR_SHARE * objectness[dim & near].sum():
        ground |= dim & near
    if (objectness * contrast)[clear].sum() > -(objectness * contrast)[dim & deep].sum():
        ground |= dim & deep
    return ground
