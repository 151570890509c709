"""From height and composition to signal: topography, edges, shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.simulation.scene import Detector, Look
from labsem.simulation.textures import Image, enlarge

SIDEWAYS = 0.35
"""Share of the backscattered electrons that a steep face sends past the detector, for ``edge`` 1."""


def shade(
    height_px: Image, albedo: Image, inside: NDArray[np.bool_], look: Look, detector: Detector
) -> Image:
    """Signal of the particles' surface; 0 elsewhere.

    Secondary electrons rise with the inclination (about 1 / cos, Reimer, *Scanning Electron Microscopy*,
    2nd ed., section 4.2), here bounded. Backscattered ones rise with it too, but leave an inclined face sideways
    (section 4.1), past a detector under the pole piece, whose signal therefore falls.
    """
    along_y, along_x = np.gradient(height_px)
    slope_y, slope_x = np.asarray(along_y)[inside], np.asarray(along_x)[inside]
    inverse_cos = np.sqrt(1 + slope_x**2 + slope_y**2)
    side = slope_x * np.float32(np.cos(look.azimuth_rad)) + slope_y * np.float32(np.sin(look.azimuth_rad))
    inclined = 1 - 1 / inverse_cos
    if detector == "bsd":
        topography = 1 - np.float32(min(SIDEWAYS * look.edge, 0.6)) * inclined
    else:
        topography = np.float32(0.72) + np.float32(0.5 * look.edge) * inclined ** np.float32(look.edge_power)
    signal = np.zeros_like(height_px)
    signal[inside] = albedo[inside] * topography * (1 + np.float32(look.direction) * side / inverse_cos)
    return signal


def occlusion(height_px: Image, size_px: float, look: Look) -> Image:
    """Factor that darkens what lies beside something higher, on a coarse grid.

    Half of it is contact (few electrons get out of a gap), half the shadow on the side away from the detector.
    """
    step = int(np.clip(size_px / 8, 2, 16))
    coarse = height_px[::step, ::step]
    near = ndimage.gaussian_filter(coarse, min(size_px / step / 2, 40), truncate=2.5, mode="nearest")
    far = ndimage.gaussian_filter(coarse, min(2 * size_px / step, 40), truncate=2.5, mode="nearest")
    away = 0.6 * look.direction * size_px / step
    cast = ndimage.shift(
        near, (away * np.sin(look.azimuth_rad), away * np.cos(look.azimuth_rad)), order=1, mode="nearest"
    )
    around = np.float32(0.35) * near + np.float32(0.3) * cast + np.float32(0.35) * far
    higher = enlarge(around, step, height_px.shape) - height_px
    return np.asarray(np.exp(-np.float32(look.occlusion * 2.2 / size_px) * np.maximum(higher, 0)))
