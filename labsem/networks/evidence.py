"""What the uncertainty head is told of each detection: how its outline shows in the frame, and what lies around it.

An expert calls a particle uncertain where it is occluded, blurred, without contrast, fused or too small to tell: the
grey step along the outline (its typical and its weakest parts), sharpness against size, noise, and what covers the box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from labsem.networks.roi_heads import MASK_SIZE

MARGIN_CELLS: Final = 6
"""Cells around a box at which the frame is looked at too: the ground beside the particle."""

GRID: Final = MASK_SIZE + 2 * MARGIN_CELLS
OUTLINE_MIN: Final = 0.05
"""A cell belongs to the outline where the mask's probability changes by more than this from cell to cell."""

QUANTILES: Final = (0.1, 0.25, 0.5)
COVERED: Final = 0.5
"""A box lies in another where that covers more than this share of it."""

EVIDENCE: Final = (
    "objectness",
    "step",
    "step_unsigned",
    "step_quantile_10",
    "step_quantile_25",
    "step_quantile_50",
    "weakest_step_10",
    "weakest_step_25",
    "sharpness",
    "step_over_noise",
    "contrast",
    "contrast_unsigned",
    "texture",
    "edges_inside",
    "side",
    "side_squared",
    "fill",
    "doubt",
    "raggedness",
    "covered",
    "covered_most",
    "holds_others",
    "at_edge",
    "level",
)
"""Names of the columns, in order; a head fits only what it was fitted on."""

PREFIX: Final = "evidence."
"""Tensors of a head that lie with a network's weights begin so."""


@dataclass(frozen=True)
class EvidenceHead:
    """One fully connected layer on F columns of evidence, k bins: weight (k, F) and bias (k,)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def expected(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected bin centre (N,) of evidence (N, F)."""
        bins = len(self.bias)
        probabilities = softmax(evidence @ self.weight.T + self.bias, axis=1)
        expected: NDArray[np.float64] = probabilities @ ((np.arange(bins) + 0.5) / bins)
        return expected

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """What lies with the weights."""
        return {f"{PREFIX}weight": self.weight, f"{PREFIX}bias": self.bias}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float64]]) -> Self:
        """A head from :meth:`tensors`.

        Raises
        ------
        KeyError
            Where one of them is missing.
        ValueError
            Where they are of other evidence than this version gathers.
        """
        weight, bias = tensors[f"{PREFIX}weight"], tensors[f"{PREFIX}bias"]
        if weight.shape != (len(bias), len(EVIDENCE)):
            raise ValueError(
                f"weight of shape {weight.shape} for {len(bias)} bins and {len(EVIDENCE)} columns"
            )
        return cls(weight, bias)


def gather_evidence(
    grey: NDArray[np.float32], boxes: NDArray[np.float64], masks: Tensor, objectness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Evidence on each detection of a frame.

    Parameters
    ----------
    grey
        (H, W) in [0, 1].
    boxes
        (N, 4) x0 y0 x1 y1, px of the frame.
    masks
        (N, 28, 28) probabilities over the boxes.
    objectness
        (N,).

    Returns
    -------
    ndarray
        (N, len(EVIDENCE)); steps of grey are per cell, a 28th of the box.
    """
    if not len(boxes):
        return np.zeros((0, len(EVIDENCE)))
    corners = torch.from_numpy(boxes).float()
    sides = (corners[:, 2:] - corners[:, :2]).clamp(min=1)
    side = sides.prod(dim=1).sqrt()
    shown, mask = _cells(grey, corners, sides, masks)
    mask_y, mask_x = _gradient(mask)
    grey_y, grey_x = _gradient(shown)
    slope = (mask_y**2 + mask_x**2).sqrt()
    outline = slope * (slope > OUTLINE_MIN)
    length = outline.sum(dim=(1, 2)).clamp(min=1e-3)
    step = (grey_y * mask_y + grey_x * mask_x) / slope.clamp(min=1e-4)
    signed = (step * outline).sum(dim=(1, 2)) / length
    unsigned = (step.abs() * outline).sum(dim=(1, 2)) / length
    weak = _quantiles(
        step * torch.where(signed >= 0, 1.0, -1.0)[:, None, None], outline / length[:, None, None]
    )
    inside, outside = _mean(shown, mask), _mean(shown, 1 - mask)
    texture = _mean((shown - inside[:, None, None]) ** 2, mask).sqrt()
    covered, covered_most, held = _neighbours(corners, sides)
    height, width = grey.shape
    far = torch.tensor([width, height]) - 2.0
    at_edge = (corners[:, :2] < 2).any(dim=1) | (corners[:, 2:] > far).any(dim=1)
    columns = [
        torch.logit(torch.from_numpy(objectness).float(), eps=1e-5),
        _log(signed.abs()),
        _log(unsigned),
        *(one / (unsigned + 0.01) for one in weak),
        weak[0],
        weak[1],
        _log(unsigned * MASK_SIZE / side),
        _log(unsigned / _noise(grey)),
        inside - outside,
        _log((inside - outside).abs()),
        _log(texture),
        _log(_mean((grey_y**2 + grey_x**2).sqrt(), mask) / (unsigned + 0.01)),
        _log(side),
        _log(side) ** 2,
        masks.mean(dim=(1, 2)),
        _log(1 - 2 * (masks - 0.5).abs().mean(dim=(1, 2))),
        length / mask.sum(dim=(1, 2)).clamp(min=1).sqrt(),
        covered,
        covered_most,
        torch.log1p(held),
        at_edge.float(),
        inside,
    ]
    gathered: NDArray[np.float64] = torch.stack(columns, dim=1).double().numpy()
    return gathered


def _cells(grey: NDArray[np.float32], corners: Tensor, sides: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Grey values and mask probabilities (N, GRID, GRID) at the cells of the boxes and around them."""
    margin = sides * (MARGIN_CELLS / MASK_SIZE)
    wide = torch.cat([corners[:, :2] - margin, corners[:, 2:] + margin], dim=1)
    shown = roi_align(torch.from_numpy(grey)[None, None], [wide], GRID, sampling_ratio=2, aligned=True)[:, 0]
    padded = functional.pad(masks, (MARGIN_CELLS,) * 4)[:, None]
    smooth = functional.avg_pool2d(functional.pad(padded, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return shown, smooth[:, 0]


def _gradient(cells: Tensor) -> tuple[Tensor, Tensor]:
    y, x = torch.zeros_like(cells), torch.zeros_like(cells)
    y[:, 1:-1] = (cells[:, 2:] - cells[:, :-2]) / 2
    x[:, :, 1:-1] = (cells[:, :, 2:] - cells[:, :, :-2]) / 2
    return y, x


def _quantiles(values: Tensor, weights: Tensor) -> list[Tensor]:
    """Weighted quantiles (N,) of cells (N, S, S)."""
    order = values.flatten(1).argsort(dim=1)
    sorted_values = values.flatten(1).gather(1, order)
    share = weights.flatten(1).gather(1, order).cumsum(dim=1)
    places = [
        (share < quantile).sum(dim=1, keepdim=True).clamp(max=share.shape[1] - 1) for quantile in QUANTILES
    ]
    return [sorted_values.gather(1, place)[:, 0] for place in places]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp(min=1e-3)


def _neighbours(corners: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each box: how much others cover it in sum (at most 2) and at most, and how many lie in it."""
    upper = torch.maximum(corners[:, None, :2], corners[None, :, :2])
    lower = torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = (lower - upper).clamp(min=0).prod(dim=2).fill_diagonal_(0)
    area = sides.prod(dim=1)
    of_own = shared / area[:, None]
    return (
        of_own.sum(dim=1).clamp(max=2),
        of_own.amax(dim=1),
        (shared / area[None] > COVERED).float().sum(dim=1),
    )


def _noise(grey: NDArray[np.float32]) -> float:
    """Median size of the Laplacian, on every seventh pixel: noise, for most pixels lie on no edge."""
    core = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.median(np.abs(core).ravel()[::7])) + 0.01


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=1e-3).log()
