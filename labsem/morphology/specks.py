"""What is too small to be outlined, and shows that the field is too large for the powder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label, uniform_filter

from labsem.morphology.bands import bands
from labsem.morphology.quality import noise_level
from schemas.morphology import Specks

_FINE_PX, _AROUND_PX = 1.0, 15
_OVER_NOISE = 5.0
_OVER_CONTRAST = 0.2
_LEAST_PX = 3
_MARGIN_PX = 4


def find_specks(pixels: NDArray[Any], covered: NDArray[np.bool_]) -> Specks:
    """Bright specks of a few pixels on the ground between the particles.

    A pixel counts that, after a Gaussian of 1 px, is brighter than the mean of the 15 x 15 px around it by a fifth of
    the frame's contrast and by five times the noise; specks have at least three pixels that touch.

    Parameters
    ----------
    pixels
        (H, W), as analysed.
    covered
        (H, W), where particles were found; a margin of 4 px around them does not count as ground.
    """
    ground = ~binary_dilation(covered, iterations=_MARGIN_PX)
    area = int(np.count_nonzero(ground))
    if area == 0:
        return Specks(count=0, area_fraction=0.0, ecd_px=0.0)
    fine = np.empty(pixels.shape, np.float32)
    for band in bands(pixels.shape[0], _AROUND_PX):
        part = pixels[band.padded].astype(np.float32)
        fine[band.rows] = gaussian_filter(part, _FINE_PX, mode="nearest")[band.inner]
    low, high = np.percentile(fine[::2, ::2], (2, 98))
    # White noise of 1 is 1 / (2 sqrt(pi) sigma) after a Gaussian of sigma.
    noise = noise_level(pixels) / (2 * math.sqrt(math.pi) * _FINE_PX)
    step = max(_OVER_NOISE * noise, _OVER_CONTRAST * float(high - low), 1e-6)
    for band in bands(pixels.shape[0], _AROUND_PX):
        part = pixels[band.padded].astype(np.float32)
        around = uniform_filter(part, _AROUND_PX, mode="nearest")[band.inner]
        ground[band.rows] &= fine[band.rows] - around > step
    del fine
    labels, count = label(ground)
    sizes = np.bincount(labels[ground], minlength=count + 1)[1:]
    sizes = sizes[sizes >= _LEAST_PX]
    ecd_px = math.sqrt(4 / math.pi * float(np.median(sizes))) if len(sizes) else 0.0
    return Specks(count=len(sizes), area_fraction=float(sizes.sum()) / area, ecd_px=ecd_px)
