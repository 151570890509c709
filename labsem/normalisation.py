"""Grey levels as the network sees them: stretched between two percentiles of the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW_PERCENTILE = 0.3
HIGH_PERCENTILE = 99.7


def grey_levels(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> tuple[float, float]:
    """Grey values that are mapped to 0 and 1: two percentiles of the frame, sampled on a grid for speed."""
    step = max(1, round((pixels.size / 250_000) ** 0.5))
    low, high = np.percentile(pixels[::step, ::step], [LOW_PERCENTILE, HIGH_PERCENTILE])
    return float(low), float(max(high, low + 1))


def normalise(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], levels: tuple[float, float]
) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]."""
    low, high = levels
    scaled = pixels.astype(np.float32)
    scaled -= np.float32(low)
    scaled *= np.float32(1 / (high - low))
    return np.clip(scaled, 0, 1, out=scaled)
