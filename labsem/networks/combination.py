"""From detections to one segmentation: masks are resampled and combined inside their boxes.

The paper's combination (Rettenberger et al. 2024, Methods): sort by objectness; thresholds for certain and uncertain
detections; the later of two masks that are nearly the same goes; an uncertain mask goes where a certain one covers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labsem.networks.manifest import Thresholds
from labsem.segmentation import HALF_LEVEL

Cell = tuple[NDArray[np.float32], tuple[int, int, int, int]]
"""Mask probabilities at the pixels of a detection's box, and that box: y0, x0, y1, x1, end exclusive."""


@dataclass(frozen=True)
class Combined:
    """Kept detections in order of precedence: their place among the given ones, boxes, and mask probabilities."""

    index: NDArray[np.int64]
    boxes: NDArray[np.int32]
    probabilities: tuple[NDArray[np.uint8], ...]

    def take(self, keep: NDArray[np.bool_]) -> Combined:
        """Those that are to be kept."""
        return Combined(
            index=self.index[keep],
            boxes=self.boxes[keep],
            probabilities=tuple(each for each, kept in zip(self.probabilities, keep, strict=True) if kept),
        )


def resample_masks(
    masks: NDArray[np.float32], boxes: NDArray[np.float64], height: int, width: int
) -> list[Cell]:
    """Mask probabilities of boxes at the pixels that they cover.

    Bilinear between the cells' centres, and constant outside them, as torch's ``grid_sample`` with padding ``border``;
    along each axis in turn, which is a quarter of the work.

    Parameters
    ----------
    masks
        (N, S, S) probabilities over the boxes.
    boxes
        (N, 4) x0, y0, x1, y1 in pixels, fractional.
    """
    count = masks.shape[1] if len(masks) else 1
    low = np.floor(boxes[:, :2]).clip(0, (width - 1, height - 1)).astype(np.int64)
    high = np.maximum(np.ceil(boxes[:, 2:]).astype(np.int64).clip(None, (width, height)), low + 1)
    scale = count / np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    cells: list[Cell] = []
    for mask, start, end, corner, step in zip(masks, low, high, boxes[:, :2], scale, strict=True):
        left, right, share = _taps(int(start[1]), int(end[1]), corner[1], step[1], count)
        rows = mask[left] * (1 - share)[:, None] + mask[right] * share[:, None]
        left, right, share = _taps(int(start[0]), int(end[0]), corner[0], step[0], count)
        across = np.zeros((count, len(share)), np.float32)
        place = np.arange(len(share))
        across[left, place] = 1 - share
        across[right, place] += share
        cells.append((rows @ across, (int(start[1]), int(start[0]), int(end[1]), int(end[0]))))
    return cells


def _taps(
    start: int, end: int, corner: float, step: float, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For pixels ``start`` to ``end`` the two cells between whose centres each lies, and the second one's share."""
    place = ((np.arange(start, end) + 0.5 - corner) * step - 0.5).clip(0, count - 1)
    left = place.astype(np.int64)
    return left, np.minimum(left + 1, count - 1), (place - left).astype(np.float32)


def combine(
    cells: Sequence[Cell],
    objectness: NDArray[np.float64],
    certain: NDArray[np.bool_],
    height: int,
    width: int,
    thresholds: Thresholds,
) -> Combined:
    """Combine detections of one frame.

    An overlap counts once, for the earlier of the kept masks that share it.

    Parameters
    ----------
    cells
        For each of N detections its mask probabilities at the pixels of its box, and the box (y0, x0, y1, x1), as
        :func:`resample_masks` gives them.
    objectness, certain
        (N,).
    """
    least = np.where(certain, thresholds.omega, thresholds.psi)
    order = [int(i) for i in np.argsort(-objectness, kind="stable") if objectness[i] >= least[i]]
    levels: list[NDArray[np.uint8]] = []
    places: list[tuple[int, ...]] = []
    kept: list[int] = []
    claimed = np.zeros((height, width), np.int32)
    areas: list[int] = []
    for candidate in order:
        sampled, (y0, x0, y1, x1) = cells[candidate]
        level = _to_level(sampled, thresholds.sigma)
        inside = level >= HALF_LEVEL
        area = int(inside.sum())
        if area == 0:
            continue
        under = claimed[y0:y1, x0:x1][inside]
        owners, shared = np.unique(under[under > 0], return_counts=True)
        if is_redundant(owners, shared, area, areas, kept, certain, candidate, thresholds):
            continue
        kept.append(candidate)
        areas.append(area)
        levels.append(level)
        places.append((y0, x0, y1, x1))
        window = claimed[y0:y1, x0:x1]
        window[inside & (window == 0)] = len(kept)
    # A shared pixel belongs to the certain, then the higher-objectness particle.
    precedence = sorted(range(len(kept)), key=lambda i: (not certain[kept[i]], i))
    return Combined(
        index=np.array([kept[i] for i in precedence], np.int64),
        boxes=np.array([places[i] for i in precedence], np.int32).reshape(-1, 4),
        probabilities=tuple(levels[i] for i in precedence),
    )


def is_redundant(
    owners: NDArray[np.int32],
    shared: NDArray[np.int64],
    area: int,
    areas: list[int],
    kept: list[int],
    certain: NDArray[np.bool_],
    candidate: int,
    thresholds: Thresholds,
) -> bool:
    """Whether a candidate mask goes because of the kept ones before it.

    Parameters
    ----------
    owners, shared
        (K,) one-based places in ``kept`` of the masks that own pixels under the candidate, and how many.
    area
        Pixels of the candidate.
    areas, kept
        Pixels and detection of each kept mask.
    """
    if len(owners) == 0:
        return False
    if float(shared.sum()) > thresholds.containment * area:
        return True
    for owner, count in zip(owners.tolist(), shared.tolist(), strict=True):
        if count / (area + areas[owner - 1] - count) > thresholds.overlap:
            return True
        if certain[kept[owner - 1]] and not certain[candidate] and count > thresholds.op * area:
            return True
    return False


def _to_level(probabilities: NDArray[np.float32], sigma: float) -> NDArray[np.uint8]:
    """Probabilities as 0 to 255, moved so that ``sigma`` lies at the half level."""
    scaled = probabilities
    if sigma != 0.5:
        scaled = np.where(
            probabilities >= sigma,
            0.5 + 0.5 * (probabilities - sigma) / (1 - sigma),
            0.5 * probabilities / sigma,
        )
    level: NDArray[np.uint8] = np.rint(scaled * np.float32(255)).clip(0, 255).astype(np.uint8)
    return level
