"""Where a second frame lies on a first one: the same place is measured, not assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate, zoom
from scipy.signal import fftconvolve
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

WORKING_WIDTH_PX = 640
"""The wider field is brought to about this width: averaging pixels makes noise and blur alike."""

FIELD_RATIO_MAX = 2.2
"""Fields whose widths differ by more are not registered: one shows too little of the other's detail."""

CLEAR_CORRELATION = 0.5
"""Correlation of the common area from which on a registration is clear."""

CLEAR_LEAD = 0.15
"""How far it must lie over the best correlation elsewhere: an even array of particles fits itself at many places."""

OVERLAP_MIN = 0.3
"""Least common share of the smaller field that is looked at: over less, chance correlates."""

_UPSAMPLE = 10
_BACKGROUND_SIGMA_PX = 32.0
_SMOOTHING_PX = 2.0
_ROTATION_TOLERANCE_DEG = 0.1
_REFINED_PX = 3.0
_NEXT_PEAK_PX = 24


class Rectangle(NamedTuple):
    """Part of a frame, px."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points lie in it."""
        inside: NDArray[np.bool_] = (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)
        return inside


@dataclass(frozen=True)
class Registration:
    """How far the centre of the frame after lies from that of the frame before.

    Attributes
    ----------
    shift_x_px, shift_y_px
        In pixels of the frame before, along its axes.
    shift_um
        Length of the shift.
    overlap_fraction
        Share of the frame before that the frame after shows.
    smaller_overlap_fraction
        Share of the smaller of the two fields that both show.
    correlation
        Pearson correlation of the common area, background and noise filtered out.
    lead
        How far it lies over that of the next best place.
    scale
        Pixel size of the frame after over that of the frame before.
    rotation_deg
        By how much the frame after is turned against the frame before, clockwise.
    """

    shift_x_px: float
    shift_y_px: float
    shift_um: float
    overlap_fraction: float
    smaller_overlap_fraction: float
    correlation: float
    lead: float
    scale: float = 1.0
    rotation_deg: float = 0.0

    @property
    def clear(self) -> bool:
        """Whether the two frames show the same place beyond doubt."""
        return self.correlation >= CLEAR_CORRELATION and self.lead >= CLEAR_LEAD

    def common_area(
        self, before_shape: tuple[int, int], after_shape: tuple[int, int]
    ) -> tuple[Rectangle, Rectangle]:
        """What both frames show, in pixels of the frame before and in those of the frame after.

        The shapes are (height, width) in pixels of each frame. Of frames that are turned against each other the
        rectangles are those that lie in both whatever their corners: they are smaller than all that both show.
        """
        before = _footprint(before_shape, after_shape, self.scale, self.rotation_deg)
        x0, x1 = _shared(before_shape[1], before.x1 - before.x0, self.shift_x_px)
        y0, y1 = _shared(before_shape[0], before.y1 - before.y0, self.shift_y_px)
        after_height, after_width = after_shape
        middle_x, middle_y = before_shape[1] / 2 + self.shift_x_px, before_shape[0] / 2 + self.shift_y_px
        after = Rectangle(
            (x0 - middle_x) / self.scale + after_width / 2,
            (y0 - middle_y) / self.scale + after_height / 2,
            (x1 - middle_x) / self.scale + after_width / 2,
            (y1 - middle_y) / self.scale + after_height / 2,
        )
        return Rectangle(x0, y0, x1, y1), after


def register_frames(
    before: NDArray[Any],
    after: NDArray[Any],
    before_pixel_size_nm: float,
    after_pixel_size_nm: float,
    rotation_deg: float = 0.0,
) -> Registration | None:
    """Register two frames by the correlation of what they have in common (Padfield 2012), refined to a part of a pixel.

    Parameters
    ----------
    before, after
        (H, W) grey frames without data bar, of fields that differ in width by up to :data:`FIELD_RATIO_MAX`.
    before_pixel_size_nm, after_pixel_size_nm
        Edge of a pixel, nm.
    rotation_deg
        Scan rotation of ``after`` less that of ``before``, as the instrument reports it.

    Returns
    -------
    Registration or None
        None where the fields differ too much in width.

    Notes
    -----
    D. Padfield, IEEE Trans. Image Process. 21 (2012) 2706; M. Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156.
    """
    widths_nm = before.shape[1] * before_pixel_size_nm, after.shape[1] * after_pixel_size_nm
    if max(widths_nm) > FIELD_RATIO_MAX * min(widths_nm):
        return None
    scale = after_pixel_size_nm / before_pixel_size_nm
    working_nm = max(max(widths_nm) / WORKING_WIDTH_PX, before_pixel_size_nm, after_pixel_size_nm)
    reference = _prepare(before, before_pixel_size_nm / working_nm)
    moving = _prepare(after, after_pixel_size_nm / working_nm)
    seen = np.ones(moving.shape, np.float32)
    if abs(rotation_deg) > _ROTATION_TOLERANCE_DEG:
        moving = rotate(moving, rotation_deg, reshape=False, order=1, mode="constant", cval=0.0)
        seen = rotate(seen, rotation_deg, reshape=False, order=0, mode="constant", cval=0.0)
    if not reference.any() or not moving.any():  # nothing to register by
        return Registration(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, scale, rotation_deg)
    dy, dx, overlap, lead = _best_shift(reference, moving, seen)
    shift_y, shift_x, correlation = _refined(reference, moving, seen, dy, dx)
    # From the shift between the upper left corners to that between the centres.
    shift_y += (moving.shape[0] - reference.shape[0]) / 2
    shift_x += (moving.shape[1] - reference.shape[1]) / 2
    to_before_px = working_nm / before_pixel_size_nm
    return Registration(
        shift_x_px=shift_x * to_before_px,
        shift_y_px=shift_y * to_before_px,
        shift_um=math.hypot(shift_x, shift_y) * working_nm / 1e3,
        overlap_fraction=min(1.0, overlap / reference.size),
        smaller_overlap_fraction=min(1.0, overlap / min(reference.size, moving.size)),
        correlation=correlation,
        lead=lead,
        scale=scale,
        rotation_deg=rotation_deg,
    )


def _best_shift(
    reference: NDArray[np.float32], moving: NDArray[np.float32], seen: NDArray[np.float32]
) -> tuple[int, int, float, float]:
    """Row and column of the reference on which the moving frame begins, common pixels there, and its lead."""
    flipped, mask = moving[::-1, ::-1] * seen[::-1, ::-1], seen[::-1, ::-1]
    here = np.ones(reference.shape, np.float32)
    count = np.maximum(fftconvolve(here, mask), 1.0)
    product = fftconvolve(reference, flipped)
    first, second = fftconvolve(reference, mask), fftconvolve(here, flipped)
    power = (fftconvolve(reference**2, mask) - first**2 / count) * (
        fftconvolve(here, flipped**2) - second**2 / count
    )
    enough = count >= OVERLAP_MIN * min(reference.size, float(seen.sum()))
    floor = 1e-6 * float(power.max())
    found = np.where(
        enough & (power > floor),
        (product - first * second / count) / np.sqrt(np.maximum(power, floor or 1.0)),
        -1.0,
    )
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    best, common = float(found[row, column]), float(count[row, column])
    found[
        max(row - _NEXT_PEAK_PX, 0) : row + _NEXT_PEAK_PX + 1,
        max(column - _NEXT_PEAK_PX, 0) : column + _NEXT_PEAK_PX + 1,
    ] = -1.0
    lead = best - max(float(found.max()), 0.0)
    return int(row) - moving.shape[0] + 1, int(column) - moving.shape[1] + 1, common, lead


def _refined(
    reference: NDArray[np.float32], moving: NDArray[np.float32], seen: NDArray[np.float32], dy: int, dx: int
) -> tuple[float, float, float]:
    """The shift to a part of a pixel, and the correlation of the common area."""
    a, b, mask = _common(reference, moving, seen, dy, dx)
    if min(a.shape) < 8:
        return dy, dx, 0.0
    window = np.outer(np.hanning(a.shape[0] + 2)[1:-1], np.hanning(a.shape[1] + 2)[1:-1]) * mask
    rest, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        a * window, b * window, upsample_factor=_UPSAMPLE, normalization=None
    )
    rest_y, rest_x = (float(value) for value in rest)
    if max(abs(rest_y), abs(rest_x)) > _REFINED_PX:
        rest_y = rest_x = 0.0
    y, x = dy + rest_y, dx + rest_x
    a, b, mask = _common(reference, moving, seen, round(y), round(x))
    return y, x, _correlation(a, b, mask)


def _common(
    reference: NDArray[np.float32], moving: NDArray[np.float32], seen: NDArray[np.float32], dy: int, dx: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Both frames, and what is seen of the moving one, where they lie on each other."""
    y0, y1 = max(dy, 0), min(reference.shape[0], moving.shape[0] + dy)
    x0, x1 = max(dx, 0), min(reference.shape[1], moving.shape[1] + dx)
    there = (slice(max(y0 - dy, 0), max(y1 - dy, 0)), slice(max(x0 - dx, 0), max(x1 - dx, 0)))
    return reference[y0 : max(y1, y0), x0 : max(x1, x0)], moving[there], seen[there]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32], mask: NDArray[np.float32]) -> float:
    inside = mask > 0
    if inside.sum() < 64:
        return 0.0
    first, second = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    norm = math.sqrt(float((first * first).sum()) * float((second * second).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


def _prepare(pixels: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Bring to the working pixel size, and keep the structures between noise and shading."""
    block = max(1, int(1 / factor + 1e-6))
    small = block_reduce(pixels, (block, block), np.mean) if block > 1 else pixels  # type: ignore[no-untyped-call]
    rest = factor * block
    values = np.asarray(small, np.float32)
    if abs(rest - 1) > 1e-3:
        values = zoom(values, rest, order=1)
    result: NDArray[np.float32] = gaussian_filter(values, _SMOOTHING_PX) - gaussian_filter(
        values, _BACKGROUND_SIGMA_PX
    )
    return result


def _footprint(
    before_shape: tuple[int, int], after_shape: tuple[int, int], scale: float, rotation_deg: float
) -> Rectangle:
    """Rectangle along the axes of the frame before that the turned frame after covers, about its own centre."""
    angle = math.radians(rotation_deg)
    height, width = (scale * size for size in after_shape)
    if abs(rotation_deg) > _ROTATION_TOLERANCE_DEG:
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        height, width = max(height * cos - width * sin, 0.0), max(width * cos - height * sin, 0.0)
    y, x = before_shape[0] / 2, before_shape[1] / 2
    return Rectangle(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _shared(size: float, covered: float, shift: float) -> tuple[float, float]:
    """Ends of what an axis of the frame before shares with a length about its centre plus the shift."""
    middle = size / 2 + shift
    low, high = max(0.0, middle - covered / 2), min(size, middle + covered / 2)
    return low, max(low, high)
