"""From height and composition to a frame: topographic signal, blur, noise and the artefacts of a scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import lfilter

from labsem.simulation.scene import Look
from labsem.simulation.textures import Image

CONVERGENCE_RAD = 4e-3
"""Half angle of the beam; a point out of focus by d becomes a disc of radius d x angle."""

SPOT_PX = 0.65
"""Standard deviation of the sharpest blur, in pixels: beam and pixel aperture."""

ELECTRONS_PER_NS = 0.22
"""Detected electrons per nanosecond of dwell at grey level 1."""

GAUSSIAN_OF_DISC = 0.5
"""Standard deviation of a uniform disc of radius 1 along one axis."""


def shade(height_px: Image, albedo: Image, inside: NDArray[np.bool_], look: Look, detector: str) -> Image:
    """Signal of the particles' surface.

    Secondary electrons rise with the inclination (about 1 / cos, Reimer, *Scanning Electron Microscopy*,
    2nd ed., section 4.2), here bounded; backscattered ones fall with it and follow the composition.
    """
    slope_y, slope_x = np.gradient(height_px)
    inverse_cos = np.sqrt(1 + slope_x**2 + slope_y**2)
    side = (
        slope_x * np.float32(np.cos(look.azimuth_rad)) + slope_y * np.float32(np.sin(look.azimuth_rad))
    ) / (inverse_cos)
    inclined = 1 - 1 / inverse_cos
    if detector == "bsd":
        topography = 1 - np.float32(0.25 + 0.15 * look.edge) * inclined
    else:
        topography = np.float32(0.72) + np.float32(0.5 * look.edge) * inclined ** np.float32(look.edge_power)
    signal = albedo * topography * (1 + np.float32(look.direction) * side)
    return np.where(inside, signal, 0).astype(np.float32)


def occlusion(height_px: Image, size_px: float, strength: float) -> Image:
    """Factor that darkens what lies beside something higher (detector shadow and contact), on a coarse grid."""
    step = int(np.clip(size_px / 8, 2, 16))
    coarse = height_px[::step, ::step]
    around = np.zeros_like(coarse)
    for sigma, share in ((size_px / step / 2, 0.65), (2 * size_px / step, 0.35)):
        around += np.float32(share) * ndimage.gaussian_filter(
            coarse, min(sigma, 40), truncate=2.5, mode="nearest"
        )
    rows = np.minimum(np.arange(height_px.shape[0]) / step, coarse.shape[0] - 1)
    columns = np.minimum(np.arange(height_px.shape[1]) / step, coarse.shape[1] - 1)
    higher = _enlarge(around, rows, columns) - height_px
    return np.asarray(np.exp(-np.float32(strength * 2.2 / size_px) * np.maximum(higher, 0)))


def _enlarge(image: Image, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Image:
    y0 = np.minimum(rows.astype(np.intp), image.shape[0] - 1)
    x0 = np.minimum(columns.astype(np.intp), image.shape[1] - 1)
    fy, fx = (rows - y0).astype(np.float32)[:, None], (columns - x0).astype(np.float32)
    y1, x1 = np.minimum(y0 + 1, image.shape[0] - 1), np.minimum(x0 + 1, image.shape[1] - 1)
    lines = image[y0] * (1 - fy) + image[y1] * fy
    return np.asarray(np.take(lines, x0, axis=1) * (1 - fx) + np.take(lines, x1, axis=1) * fx)


def blur_sigma_px(distance_um: float, pixel_um: float) -> float:
    """Standard deviation of the blur of what is ``distance_um`` out of focus."""
    disc = GAUSSIAN_OF_DISC * CONVERGENCE_RAD * abs(distance_um) / pixel_um
    return float(np.hypot(disc, SPOT_PX))


def blur(
    image: Image, height_px: Image, pixel_um: float, defocus_um: float, astigmatism_um: float
) -> tuple[Image, Image | float]:
    """Blur that follows height (depth of field); also the standard deviation of the blur, in pixels.

    ``defocus_um`` is the height above the stub at which the beam's waist lies, less the height at which
    the surface of the particles is best seen (the caller's choice of zero); astigmatism parts the foci of
    the two axes of the image.
    """
    top_um = float(height_px.max()) * pixel_um
    heights = (0.0, top_um) if top_um > 0 else (0.0,)
    sigmas = [
        (
            blur_sigma_px(h - defocus_um + astigmatism_um / 2, pixel_um),
            blur_sigma_px(h - defocus_um - astigmatism_um / 2, pixel_um),
        )
        for h in heights
    ]
    if len(sigmas) == 1 or max(abs(a - b) for a, b in zip(*sigmas, strict=True)) < 0.4:
        mean = tuple(float(np.mean(axis)) for axis in zip(*sigmas, strict=True))
        return _gaussian(image, mean[1], mean[0]), float(np.mean(mean))
    planes = np.linspace(0, top_um, 4)
    pairs = [
        (
            blur_sigma_px(h - defocus_um + astigmatism_um / 2, pixel_um),
            blur_sigma_px(h - defocus_um - astigmatism_um / 2, pixel_um),
        )
        for h in planes
    ]
    blurred = [_gaussian(image, y, x) for x, y in pairs]
    widths = [np.float32((x + y) / 2) for x, y in pairs]
    # Weights follow the height seen through the widest blur, so that planes join without a seam.
    place = ndimage.gaussian_filter(height_px, 1.0, truncate=2) * np.float32(pixel_um * 3 / top_um)
    result, sigma = np.zeros_like(image), np.zeros_like(image)
    for k in range(4):
        weight = np.clip(1 - np.abs(place - np.float32(k)), 0, 1)
        result += weight * blurred[k]
        sigma += weight * widths[k]
    return result, sigma


def _gaussian(image: Image, sigma_y: float, sigma_x: float) -> Image:
    if min(sigma_x, sigma_y) < 5:
        return np.asarray(ndimage.gaussian_filter(image, (sigma_y, sigma_x), truncate=3, mode="nearest"))
    coarse = ndimage.gaussian_filter(image, 1.5, truncate=3, mode="nearest")[::3, ::3]
    rest = [(max(s**2 - 1.5**2, 0.01)) ** 0.5 / 3 for s in (sigma_y, sigma_x)]
    coarse = ndimage.gaussian_filter(coarse, rest, truncate=3, mode="nearest")
    rows, columns = np.arange(image.shape[0]) / 3, np.arange(image.shape[1]) / 3
    return _enlarge(np.asarray(coarse), rows, columns)


def noise_sigma(level: float | Image, dwell_time_ns: float, frame_averages: int) -> float | Image:
    """Standard deviation of shot and amplifier noise at a grey level, for one pixel."""
    electrons = ELECTRONS_PER_NS * dwell_time_ns * frame_averages
    result: float | Image = np.sqrt(
        np.maximum(level, 0.02) / np.float32(electrons) + np.float32(0.3 / electrons)
    )
    return result


def scan_artefacts(image: Image, look: Look, rng: np.random.Generator) -> Image:
    """Charging streaks behind bright bodies along the scan, unsteady lines and their jitter."""
    if look.charging > 0:
        bright = np.maximum(image - np.float32(0.6), 0)
        tail = lfilter([0.02], [1, -0.98], bright, axis=1).astype(np.float32)
        gain = ndimage.gaussian_filter1d(rng.standard_normal(len(image)), 1.5)[:, None] * 1.8
        bands = ndimage.gaussian_filter1d(rng.standard_normal(len(image)), 2.0)[:, None]
        image = image + np.float32(look.charging) * (gain * 2.5 * tail + 0.15 * bands).astype(np.float32)
    if look.jitter_px > 0.05:
        shift = np.clip(
            ndimage.gaussian_filter1d(rng.standard_normal(len(image)), 0.8) * look.jitter_px, -1, 1
        )
        left = np.concatenate([image[:, :1], image[:, :-1]], axis=1)
        right = np.concatenate([image[:, 1:], image[:, -1:]], axis=1)
        s = shift.astype(np.float32)[:, None]
        image = image * (1 - np.abs(s)) + np.where(s > 0, left, right) * np.abs(s)
    return image


def digitise(
    image: Image,
    dwell_time_ns: float,
    frame_averages: int,
    brightness: float,
    contrast: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Noise, amplifier, clipping, 8 bit."""
    noisy = image + noise_sigma(image, dwell_time_ns, frame_averages) * rng.standard_normal(
        image.shape, dtype=np.float32
    )
    grey = np.clip(noisy * np.float32(255 * contrast) + np.float32(255 * brightness), 0, 255)
    return np.ascontiguousarray(grey, dtype=np.uint8)
