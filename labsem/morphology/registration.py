"""Where a second frame lies on a first one: the same place is measured, not assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate, zoom
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

WORKING_WIDTH_PX = 512
"""Both frames are brought to about this width: averaging pixels makes noise and blur alike."""

FIELD_TOLERANCE = 0.02
"""Fields whose widths differ by more are not registered."""

CLEAR_CORRELATION = 0.5
"""Correlation of the common area from which on a registration is clear."""

_UPSAMPLE = 10
_BACKGROUND_SIGMA_PX = 32.0
_SMOOTHING_PX = 2.0
_ROTATION_TOLERANCE_DEG = 0.1


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
    """A point at (x, y) in the frame before lies at (x - shift_x, y - shift_y) in the frame after.

    Attributes
    ----------
    shift_x_px, shift_y_px
        In pixels of the frame before.
    shift_um
        Length of the shift.
    overlap_fraction
        Share of the frame before that the frame after shows.
    correlation
        Pearson correlation of the common area, background and noise filtered out.
    """

    shift_x_px: float
    shift_y_px: float
    shift_um: float
    overlap_fraction: float
    correlation: float

    @property
    def clear(self) -> bool:
        """Whether the two frames show the same place beyond doubt."""
        return self.correlation >= CLEAR_CORRELATION

    def common_area(
        self, before_shape: tuple[int, int], after_shape: tuple[int, int]
    ) -> tuple[Rectangle, Rectangle]:
        """What both frames show, in pixels of the frame before and in those of the frame after.

        The shapes are (height, width) in pixels of each frame.
        """
        height, width = before_shape
        scale = after_shape[1] / width
        after_height = after_shape[0] / scale
        # Frames of other heights share their centre.
        y = self.shift_y_px + (height - after_height) / 2
        x0, x1 = max(0.0, self.shift_x_px), min(width, width + self.shift_x_px)
        y0, y1 = max(0.0, y), min(height, after_height + y)
        before = Rectangle(x0, y0, x1, y1)
        after = Rectangle(
            *(scale * value for value in (x0 - self.shift_x_px, y0 - y, x1 - self.shift_x_px, y1 - y))
        )
        return before, after


def register_frames(
    before: NDArray[Any],
    after: NDArray[Any],
    before_pixel_size_nm: float,
    after_pixel_size_nm: float,
    rotation_deg: float = 0.0,
) -> Registration | None:
    """Register two frames of one field width by cross-correlation (Guizar-Sicairos et al. 2008).

    Parameters
    ----------
    before, after
        (H, W) grey frames without data bar; they may differ in pixels, not in the width of the field.
    before_pixel_size_nm, after_pixel_size_nm
        Edge of a pixel, nm.
    rotation_deg
        Scan rotation of ``after`` less that of ``before``, as the instrument reports it.

    Returns
    -------
    Registration or None
        None where the fields differ in width by over 2 %.
    """
    before_width_nm = before.shape[1] * before_pixel_size_nm
    after_width_nm = after.shape[1] * after_pixel_size_nm
    if not math.isclose(before_width_nm, after_width_nm, rel_tol=FIELD_TOLERANCE):
        return None
    width_px = min(before.shape[1], after.shape[1], WORKING_WIDTH_PX)
    scale_nm = before_width_nm / width_px
    reference = _prepare(before, before_pixel_size_nm / scale_nm)
    moving = _prepare(after, after_pixel_size_nm / scale_nm)
    if abs(rotation_deg) > _ROTATION_TOLERANCE_DEG:
        moving = rotate(moving, rotation_deg, reshape=False, order=1, mode="constant", cval=0.0)
    height, width = (min(pair) for pair in zip(reference.shape, moving.shape, strict=True))
    full_height = reference.shape[0]
    reference, moving = _centre(reference, height, width), _centre(moving, height, width)
    if not reference.any() or not moving.any():  # nothing to register by
        return Registration(0.0, 0.0, 0.0, 0.0, 0.0)
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        reference * window, moving * window, upsample_factor=_UPSAMPLE, normalization=None
    )
    shift_y, shift_x = float(shift[0]), float(shift[1])
    to_before_px = scale_nm / before_pixel_size_nm
    common = max(0.0, width - abs(shift_x)) * max(0.0, height - abs(shift_y))
    return Registration(
        shift_x_px=shift_x * to_before_px,
        shift_y_px=shift_y * to_before_px,
        shift_um=math.hypot(shift_x, shift_y) * scale_nm / 1e3,
        overlap_fraction=min(1.0, common / (full_height * width)),
        correlation=_correlation(reference, moving, round(shift_y), round(shift_x)),
    )


def _prepare(pixels: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Bring to the working pixel size, and keep the structures between noise and shading."""
    block = max(1, int(1 / factor))
    small = block_reduce(pixels, (block, block), np.mean) if block > 1 else pixels  # type: ignore[no-untyped-call]
    rest = factor * block
    values = np.asarray(small, np.float32)
    if abs(rest - 1) > 1e-3:
        values = zoom(values, rest, order=1)
    result: NDArray[np.float32] = gaussian_filter(values, _SMOOTHING_PX) - gaussian_filter(
        values, _BACKGROUND_SIGMA_PX
    )
    return result


def _centre(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    y0, x0 = (values.shape[0] - height) // 2, (values.shape[1] - width) // 2
    return values[y0 : y0 + height, x0 : x0 + width]


def _correlation(reference: NDArray[np.float32], moving: NDArray[np.float32], dy: int, dx: int) -> float:
    height, width = reference.shape
    if abs(dy) >= height - 1 or abs(dx) >= width - 1:
        return 0.0
    a = reference[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    b = moving[max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)]
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
