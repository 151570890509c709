"""Judging without full labels: particles that must be found, and places that are none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.detection import match
from labsem.evaluation.overlap import find_overlaps
from labsem.segmentation import Segmentation

MINIMUM_IOU = 0.5
INSIDE_SHARE = 0.5
COVERED_SHARE = 0.1


def clear_found(
    clear: NDArray[np.int32], segmentation: Segmentation
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Labels of the clear particles that a kept detection matches at IoU 0.5, and of those that none does."""
    overlaps = find_overlaps(clear, segmentation.label_image)
    found = match(overlaps, MINIMUM_IOU).truth_found
    return tuple(overlaps.truth_ids[found].tolist()), tuple(overlaps.truth_ids[~found].tolist())


def holes_taken(holes: NDArray[np.int32], segmentation: Segmentation) -> tuple[int, ...]:
    """Labels of the holes that a kept detection, certain or uncertain, takes for a particle.

    It does where it lies over half inside the hole and covers at least a tenth of it; both its visible and its
    whole mask are looked at, so that flattening cannot hide it.
    """
    hole_area = np.bincount(holes.ravel())
    taken: set[int] = set()
    for index in range(len(segmentation)):
        y0, x0, y1, x1 = segmentation.boxes[index]
        window = holes[y0:y1, x0:x1]
        if not window.any():
            continue
        for mask in (segmentation.mask(index), segmentation.visible_mask(index)):
            area = int(mask.sum())
            inside = np.bincount(window[mask], minlength=len(hole_area))
            inside[0] = 0
            taken |= set(
                np.flatnonzero(
                    (inside > INSIDE_SHARE * area) & (inside >= COVERED_SHARE * hole_area) & (inside > 0)
                ).tolist()
            )
    return tuple(sorted(taken))
