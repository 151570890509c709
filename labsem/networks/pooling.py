"""RoIAlign: all of a region's samples as one weighted sum of rows of a channels-last feature map.

The same values as torchvision's ``MultiScaleRoIAlign`` (He et al. 2017; levels after Lin et al. 2017, equation 1) with
two samples a bin and axis, whose kernel on a CPU runs on one thread over channels-first maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SAMPLES = 2
"""Along each axis of a bin."""

_CANONICAL_PX = 224
_CANONICAL_LEVEL = 4
_FIRST_LEVEL = 2


def pool_regions(pyramid: Sequence[Tensor], boxes: Tensor, bins: int) -> Tensor:
    """Features of regions.

    Parameters
    ----------
    pyramid
        P2, P3, …: (1, C, H / 4, W / 4), (1, C, H / 8, W / 8), ….
    boxes
        (M, 4) x0 y0 x1 y1 in pixels.
    bins
        Along each axis.

    Returns
    -------
    Tensor
        (M, C, bins, bins), channels last.
    """
    channels = pyramid[0].shape[1]
    boxes = boxes.float()  # half precision holds no place in a wide image
    pooled = boxes.new_empty((len(boxes), bins, bins, channels))
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    level = (_CANONICAL_LEVEL + torch.log2(side / _CANONICAL_PX) + 1e-6).floor()
    level = (level - _FIRST_LEVEL).clamp(0, len(pyramid) - 1)
    for place, features in enumerate(pyramid):
        chosen = torch.where(level == place)[0]
        if len(chosen):
            pooled[chosen] = _pool(features, boxes[chosen] / 2 ** (_FIRST_LEVEL + place), bins)
    return pooled.permute(0, 3, 1, 2)


def _pool(features: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """(M, bins, bins, C) from one level, boxes in its cells."""
    _, channels, height, width = features.shape
    rows = features[0].permute(1, 2, 0).reshape(height * width, channels).float()
    y, y_share = _taps(boxes[:, 1], boxes[:, 3], height, bins)
    x, x_share = _taps(boxes[:, 0], boxes[:, 2], width, bins)
    index = y[:, :, None, :, None] * width + x[:, None, :, None, :]
    share = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
    taps = y.shape[2] * x.shape[2]
    summed = functional.embedding_bag(
        index.reshape(-1, taps), rows, per_sample_weights=share.reshape(-1, taps), mode="sum"
    )
    return summed.reshape(len(boxes), bins, bins, channels)


def _taps(low: Tensor, high: Tensor, cells: int, bins: int) -> tuple[Tensor, Tensor]:
    """(M, bins, 2 SAMPLES) cells of one axis, and the share of each in the bin's mean."""
    step = (high - low).clamp(min=1) / (bins * SAMPLES)
    place = torch.arange(bins * SAMPLES, dtype=low.dtype, device=low.device) + 0.5
    at = low[:, None] + place * step[:, None]
    outside = (at < -1) | (at > cells)
    at = at.clamp(0, cells - 1)
    first = at.int()
    second = (first + 1).clamp(max=cells - 1)
    share = at - first
    both = torch.stack([first, second], dim=2)
    shares = torch.stack([1 - share, share], dim=2).masked_fill_(outside[:, :, None], 0) / SAMPLES
    return both.reshape(len(low), bins, -1), shares.reshape(len(low), bins, -1)
