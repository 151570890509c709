"""How a frame is brought before a network: enlarged or reduced, and padded."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labsem.networks.manifest import Input

PADDING_PX = 32
"""Frames are padded to a multiple of the backbone's largest stride."""


def to_input(grey: NDArray[np.float32], scale: Input) -> tuple[Tensor, float]:
    """What the network sees of (H, W) grey values: (1, 1, H', W'), padded; and by how much it was enlarged."""
    factor = scale_factor(grey.shape[0], grey.shape[1], scale)
    return at_scale(grey, factor), factor


def at_scale(grey: NDArray[np.float32], factor: float) -> Tensor:
    """(H, W) grey values enlarged by a factor and padded: (1, 1, H', W')."""
    height, width = grey.shape
    image = torch.from_numpy(grey)[None, None]
    if factor != 1:
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        image = functional.interpolate(image, size=size, mode="bilinear", antialias=factor < 1)
    down, right = -image.shape[-2] % PADDING_PX, -image.shape[-1] % PADDING_PX
    return functional.pad(image, (0, right, 0, down)).contiguous(memory_format=torch.channels_last)


def scale_factor(height: int, width: int, scale: Input) -> float:
    """By how much a frame is enlarged or reduced before the network sees it."""
    long_side = max(height, width)
    if long_side > scale.long_side_max_px:
        return scale.long_side_max_px / long_side
    if long_side < scale.long_side_min_px:
        return min(scale.long_side_min_px / long_side, 4.0)
    return 1.0
