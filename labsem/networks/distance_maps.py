"""What the U-Net learns: how deep a pixel lies in its particle, and how near another particle is.

After Scherr et al., PLOS ONE 15, e0243219 (2020): the cell distance is normalised for each particle, the neighbour
distance inverted and steepened so that it marks the places where particles meet. No torch here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GAP_PX = 3
"""Background between two particles that are no farther than this from it counts as a place where they meet."""

RADIUS_MARGIN_PX = 3.0
"""Added to a particle's inner radius in the normalisation of neighbour distances, which spares small particles."""

REACH = 0.62
"""Beyond this share of the normalisation the steepened neighbour map is 0, so nobody looks there."""


def distance_maps(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Cell and neighbour distance map of a label image.

    Parameters
    ----------
    labels
        (H, W), 0 background.

    Returns
    -------
    ndarray
        (2, H, W) in [0, 1]. Cell: distance to the particle's outline over its largest in that particle, 0 in the
        background. Neighbour: near 1 where another particle is close by, also in narrow gaps, 0 elsewhere.
    """
    compact = _compact(labels)
    cell = np.zeros(labels.shape, np.float32)
    neighbour = np.zeros(labels.shape, np.float32)
    boxes = ndimage.find_objects(compact)
    if boxes:
        depth = _depth(compact)
        deepest = np.zeros(len(boxes) + 1)
        np.maximum.at(deepest, compact.ravel(), depth.ravel())
        deepest[0] = 1  # of the background, whose depth is 0
        cell = (depth / deepest[compact]).astype(np.float32)
        neighbour = _nearness(compact, boxes, deepest)
        neighbour = ndimage.grey_closing(_steepen(np.maximum(neighbour, _meetings(compact))), size=(3, 3))
    return np.stack([cell, neighbour])


def _compact(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """The same particles, numbered without gaps."""
    numbers = np.cumsum(np.bincount(labels.ravel(), minlength=1) > 0).astype(np.int32)
    # The background is number 0 whether or not a pixel of it is there.
    numbers -= 1 if (labels == 0).any() else 0
    numbers[0] = 0
    compact: NDArray[np.int32] = numbers[labels]
    return compact


def _depth(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance of each particle pixel to its particle's outermost pixels, plus 1; 0 in the background.

    The outermost pixels of all particles are found at once: the way from a pixel out of its own particle crosses its
    own outline first, so one transform serves all, within half a pixel of one for each particle.
    """
    edge = np.zeros(labels.shape, bool)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[a] != labels[b]
        edge[a] |= differs
        edge[b] |= differs
    inside = labels > 0
    edge &= inside
    if not edge.any():  # one particle fills the frame
        return inside.astype(np.float64)
    depth: NDArray[np.float64] = np.where(inside, ndimage.distance_transform_edt(~edge) + 1, 0.0)
    return depth


def _nearness(
    labels: NDArray[np.int32],
    boxes: list[tuple[slice, slice]],
    deepest: NDArray[np.float64],
) -> NDArray[np.float32]:
    """1 less the distance to the nearest other particle, over inner radius plus margin, cut at 0."""
    nearness = np.zeros(labels.shape, np.float32)
    for label, (rows, columns) in enumerate(boxes, start=1):
        scale = float(deepest[label]) + RADIUS_MARGIN_PX
        reach = int(np.ceil(REACH * scale))
        window = (
            slice(max(rows.start - reach, 0), rows.stop + reach),
            slice(max(columns.start - reach, 0), columns.stop + reach),
        )
        part = labels[window]
        own = part == label
        free = own | (part == 0)
        if free.all():
            continue
        near = 1 - ndimage.distance_transform_edt(free) / scale
        nearness[window][own] = near[own].clip(0)
    return nearness


def _meetings(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """1 where two particles touch and in gaps of background between two that are ``GAP_PX`` or less from it."""
    return np.where(labels > 0, _has_two(labels, 3), _has_two(labels, 2 * GAP_PX + 1)).astype(np.float32)


def _has_two(labels: NDArray[np.int32], size: int) -> NDArray[np.bool_]:
    """Whether two particles lie in the window of this size around a pixel."""
    without_background = np.where(labels > 0, labels, np.iinfo(np.int32).max)
    least = ndimage.minimum_filter(without_background, size)
    two: NDArray[np.bool_] = ndimage.maximum_filter(labels, size) > least
    return two


def _steepen(nearness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scherr et al.'s curve: 0 below about 0.4, steep around 0.7, 1 at 1."""
    steep = 1 / np.sqrt(0.65 + 0.5 * np.exp(-11 * (nearness - 0.75))) - 0.19
    steepened: NDArray[np.float32] = np.clip(steep, 0, 1).astype(np.float32)
    return steepened
