"""How good a frame is: focus, noise, saturation, charging."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter, gaussian_gradient_magnitude, median_filter

from labsem.morphology.bands import bands

BLUR_HALF_PX = 3.5
"""Edge blur at which the focus measure is 0.5: edges then rise from 10 to 90 % over 9 px."""

_FINE_PX, _COARSE_PX = 1.5, 3.0
_KEPT_SHARE, _EDGE_SHARE = 0.15, 0.02
_EDGE_OVER_NOISE = 6.0
_EDGES_MIN = 50
_DIRECTIONS = 4
_WITHIN = math.tan(math.pi / (2 * _DIRECTIONS))
"""Slope up to which a gradient belongs to the direction along an axis."""
_TRUNCATE = 3.0
_REACH_PX = math.ceil(_TRUNCATE * _COARSE_PX)
_ASTIGMATIC = 1.5
_BINS_PX = (2, 4)
_SHARP_PX, _SURELY_SHARP_PX = 1.5, 2.0
_BINNED_FROM_PX = 3.0
_BLOCK_PX = 32
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_DETECTOR_TOPS = (255, 1023, 4095, 16383, 65535)

Image = NDArray[np.float32]


def focus_measure(pixels: NDArray[Any]) -> float | None:
    """1 / (1 + (b / 3.5 px)^2), b the blur (Gaussian sigma) of the frame's strongest edges; 1 is perfectly sharp.

    A step blurred by b and seen through a Gaussian of s has a peak gradient in proportion to 1 / sqrt(s^2 + b^2), so
    the ratio of gradients at two scales gives b without knowing the edge's contrast (Elder and Zucker 1998; Zhuo and
    Sim 2011). The strongest 2 % of pixels at the coarse scale count, those over six times the gradient that noise
    makes; the noise's share of the gradient energy is subtracted. Where four directions differ by more than half, as
    astigmatism makes them, the least sharp one tells. Blurs over 6 and over 12 px are measured on the frame reduced to
    a half and a quarter of its width, since the ratio hardly changes any more there. Brightness, contrast and content
    cancel, and the measure falls as the same field is blurred more.

    Sharp frames of SEMs lie at 0.75 to 0.95; under 0.5 the 10 to 90 % rise of an edge is longer than 9 px.
    None where the frame has no edge above its noise.
    """
    if min(pixels.shape) < 2 * _BLOCK_PX:
        return None
    blur_px = _edge_blur_px(pixels, noise_level(pixels))
    for size_px in _BINS_PX if blur_px is None or blur_px > _SURELY_SHARP_PX else ():
        rows, columns = (size // size_px for size in pixels.shape)
        binned = _blocks(pixels, rows, columns, size_px)
        if min(binned.shape) < 2 * _BLOCK_PX:
            break
        reduced_px = _edge_blur_px(binned, noise_level(binned))
        if reduced_px is None or (blur_px is not None and reduced_px < _BINNED_FROM_PX):
            break
        blur_px = size_px * reduced_px
    return None if blur_px is None else 1 / (1 + (blur_px / BLUR_HALF_PX) ** 2)


def _edge_blur_px(image: NDArray[Any], noise: float) -> float | None:
    """Blur of the strongest edges; of those in the least sharp direction where the directions differ."""
    coarse, fine, direction = _gradients(image)
    floor = max(_EDGE_OVER_NOISE * _gradient_noise(noise, _COARSE_PX), 1e-3)
    kept = coarse >= max(float(np.quantile(coarse[::3, ::3], 1 - _KEPT_SHARE)), floor)
    coarse, fine, direction = coarse[kept], fine[kept], direction[kept]
    overall = _blur_of(fine, coarse, noise)
    if overall is None:
        return None
    each = [
        _blur_of(fine[of_it], coarse[of_it], noise) for of_it in (direction == k for k in range(_DIRECTIONS))
    ]
    found = [blur for blur in each if blur is not None]
    astigmatic = len(found) > 1 and max(found) > _ASTIGMATIC * max(min(found), _SHARP_PX)
    return max(found) if astigmatic else overall


def _gradients(image: NDArray[Any]) -> tuple[Image, Image, NDArray[np.int8]]:
    """Gradients at the coarse and the fine scale and the coarse one's direction, away from the frame's edge.

    Directions are eighths of a turn, 0 across edges that run upwards; opposite ones are one.
    """
    margin = math.ceil(2 * _COARSE_PX)
    inner = (slice(margin, -margin), slice(margin, -margin))
    coarse, fine = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    direction = np.empty(image.shape, np.int8)
    for band in bands(image.shape[0], _REACH_PX):
        part = image[band.padded].astype(np.float32)
        across, along = (
            gaussian_filter(part, _COARSE_PX, order=order, mode="nearest", truncate=_TRUNCATE)[band.inner]
            for order in ((0, 1), (1, 0))
        )
        coarse[band.rows] = np.hypot(across, along)
        fine[band.rows] = gaussian_gradient_magnitude(part, _FINE_PX, mode="nearest", truncate=_TRUNCATE)[
            band.inner
        ]
        direction[band.rows] = _direction(across, along)
    return coarse[inner], fine[inner], direction[inner]


def _direction(across: Image, along: Image) -> NDArray[np.int8]:
    slant = np.where((across > 0) == (along > 0), np.int8(1), np.int8(3))
    slant[np.abs(along) <= _WITHIN * np.abs(across)] = 0
    slant[np.abs(across) < _WITHIN * np.abs(along)] = 2
    return slant


def _blur_of(fine: Image, coarse: Image, noise: float) -> float | None:
    """From the gradients at two scales; infinite where it is too wide to tell, None where there are too few edges."""
    if coarse.size < _EDGES_MIN:
        return None
    edges = coarse >= float(np.quantile(coarse, 1 - _EDGE_SHARE / _KEPT_SHARE))
    if np.count_nonzero(edges) < _EDGES_MIN:
        return None
    ratio_squared = _edge_energy(fine[edges], noise, _FINE_PX) / _edge_energy(
        coarse[edges], noise, _COARSE_PX
    )
    rest = _COARSE_PX**2 - ratio_squared * _FINE_PX**2
    return math.inf if ratio_squared <= 1 else math.sqrt(max(rest / (ratio_squared - 1), 0.0))


def signal_to_noise(pixels: NDArray[Any]) -> float | None:
    """Contrast over noise: 2nd to 98th percentile of the smoothed frame over the noise's standard deviation.

    None for a frame without contrast.
    """
    if min(pixels.shape) < 2 * _BLOCK_PX:
        return None
    smooth = gaussian_filter(pixels[::2, ::2].astype(np.float32), 1.0, mode="nearest")
    low, high = np.percentile(smooth, (2, 98))
    # Rounding to whole grey levels is noise too.
    noise = max(noise_level(pixels), 1 / math.sqrt(12))
    return float(high - low) / noise if high > low else None


def noise_level(pixels: NDArray[Any]) -> float:
    """Standard deviation of pixel noise, grey levels.

    Immerkaer's operator (Comput. Vis. Image Underst. 1996), which constant slopes do not excite, over blocks of
    32 px; the 20th percentile of the blocks that are not clipped to black or white, so that texture does not count.
    """
    rows, columns = (size // _BLOCK_PX for size in pixels.shape)
    if rows == 0 or columns == 0:
        return 0.0
    top = _top(pixels)
    responses, clipped = [], []
    for band in bands(pixels.shape[0], 1):
        response = np.abs(
            convolve(pixels[band.padded].astype(np.float32), _LAPLACIAN, mode="nearest")[band.inner]
        )
        own = pixels[band.rows]
        blocks = own.shape[0] // _BLOCK_PX
        responses.append(_blocks(response, blocks, columns))
        clipped.append(_blocks(((own <= 0) | (own >= top)).astype(np.float32), blocks, columns))
    levels = np.concatenate(responses) * math.sqrt(math.pi / 2) / 6
    open_ = np.concatenate(clipped) < 0.02
    chosen = levels[open_] if open_.any() else levels
    return float(np.percentile(chosen, 20))


def saturated_fraction(pixels: NDArray[Any]) -> float:
    """Share of pixels at the detector's upper end: 255, or the 10, 12, 14 or 16-bit end where the maximum is at one."""
    top = _top(pixels)
    return float(np.count_nonzero(pixels >= top)) / pixels.size


def charging(pixels: NDArray[Any]) -> float:
    """Strength of bright and dark streaks along the scan lines, as a share of the frame's contrast.

    95th percentile of what the rows' medians differ from their neighbourhood of 31 rows, less three times the same of
    the columns (which no scan order streaks), over the contrast.
    """
    low, high = np.percentile(pixels[::2, ::2], (2, 98))
    if high <= low:
        return 0.0
    rows, columns = np.median(pixels[:, ::2], axis=1), np.median(pixels[::2], axis=0)
    across = _streaks(rows.astype(np.float32)) - 3 * _streaks(columns.astype(np.float32))
    return max(0.0, across / float(high - low))


def _streaks(profile: NDArray[np.float32]) -> float:
    return float(np.percentile(np.abs(profile - median_filter(profile, 31, mode="nearest")), 95))


def _top(pixels: NDArray[Any]) -> int:
    if pixels.dtype == np.uint8:
        return 255
    highest = int(pixels.max())
    return highest if highest in _DETECTOR_TOPS else 65535


def _gradient_noise(noise: float, scale: float) -> float:
    """Standard deviation of one component of a Gaussian derivative of white noise."""
    return noise / (math.sqrt(8 * math.pi) * scale**2)


def _edge_energy(gradients: Image, noise: float, scale: float) -> float:
    energy = float(np.square(gradients, dtype=np.float64).mean())
    return max(energy - 2 * _gradient_noise(noise, scale) ** 2, 1e-12)


def _blocks(image: NDArray[Any], rows: int, columns: int, size_px: int = _BLOCK_PX) -> Image:
    cut = image[: rows * size_px, : columns * size_px]
    means: Image = cut.reshape(rows, size_px, columns, size_px).mean(axis=(1, 3), dtype=np.float32)
    return means
