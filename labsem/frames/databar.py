"""The strip of text that many instruments print under a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FILL_TOLERANCE = 10
_TEXT_CONTRAST = 64
_BORDER_ROWS = 4


def detect_databar(pixels: NDArray[Any]) -> int:
    """Rows at the bottom that are a data bar, 0 where none is sure.

    A bar is a strip of 1.5 to 25 % of the height, at least 12 rows, that reaches the bottom: one flat fill, which
    covers at least a third of every row, 60 % of the strip and nearly the whole first row, text on it that stands out
    strongly, and an abrupt end to the fill at its upper edge. A real background that fades into a frame has no
    such edge. A wrong crop costs particles, a missed bar is seen in the overlay: so doubt means none.
    """
    grey = _to_8bit(pixels)
    height = grey.shape[0]
    # One or two rows of border may close the bar below.
    fill = int(np.bincount(grey[-8:-2].ravel(), minlength=256).argmax()) if height >= 48 else -1
    if fill < 0:
        return 0
    flat = (np.abs(grey.astype(np.int16) - fill) <= _FILL_TOLERANCE).mean(axis=1)
    lines = _uniform_rows(grey)
    top = height - 3
    limit = height - int(0.25 * height) - 1
    while top > limit and (flat[top - 1] >= 0.33 or lines[top - 1]):
        top -= 1
    if top <= limit:
        return 0
    while top < height and lines[top] and flat[top] < 0.33:
        top += 1
    rows: int = height - top
    bar = grey[top:]
    if rows < max(12, int(0.015 * height)) or flat[top : top + 3].max() < 0.95:
        return 0
    text = float((np.abs(bar.astype(np.int16) - fill) >= _TEXT_CONTRAST).mean())
    above = flat[max(0, top - 6) : top - 1]
    abrupt = flat[top + 1 : top + 4].mean() - (above.mean() if above.size else 1.0)
    if not 0.003 <= text <= 0.4 or flat[top:-2].mean() < 0.6 or abrupt < 0.5:
        return 0
    # A thin border line above the fill belongs to the bar; a broad even strip is ground.
    border = 0
    while border <= _BORDER_ROWS and lines[top - 1 - border]:
        border += 1
    return rows + border if border <= _BORDER_ROWS else rows


def _to_8bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    top = max(int(pixels.max()), 1)
    return (pixels.astype(np.uint32) * 255 // top).astype(np.uint8)


def _uniform_rows(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    low, high = np.percentile(grey, (2, 98), axis=1)
    uniform: NDArray[np.bool_] = high - low <= 6
    return uniform
