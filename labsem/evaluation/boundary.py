"""How far an outline lies from the labelled one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

PERCENTILE = 95.0


class BoundaryError(NamedTuple):
    """Of (M,) matched particles: mean and 95th percentile of the distance of the two outlines, px; NaN without one."""

    mean_px: NDArray[np.float64]
    p95_px: NDArray[np.float64]


def boundary_error(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], pairs: NDArray[np.int64]
) -> BoundaryError:
    """Distances of outlines, taken from both sides: each point of the one to the nearest of the other.

    An outline is the set of midpoints between pixels inside and outside; where a particle is cut by the frame's edge
    it has none. A disc moved by d, small beside its diameter, has a mean distance of 2 d / pi.

    Parameters
    ----------
    truth, predicted
        (H, W) label images.
    pairs
        (M, 2) label values that belong together.
    """
    true_boxes, predicted_boxes = find_objects(truth), find_objects(predicted)
    found = np.full((len(pairs), 2), np.nan)
    for row, (true_id, predicted_id) in enumerate(pairs.tolist()):
        window = tuple(
            slice(max(0, min(a.start, b.start) - 1), max(a.stop, b.stop) + 1)
            for a, b in zip(true_boxes[true_id - 1], predicted_boxes[predicted_id - 1], strict=True)
        )
        ours, theirs = outline(predicted[window] == predicted_id), outline(truth[window] == true_id)
        if len(ours) and len(theirs):
            there, _ = KDTree(theirs).query(ours)
            back, _ = KDTree(ours).query(theirs)
            distances = np.concatenate([there, back])
            found[row] = distances.mean(), np.percentile(distances, PERCENTILE)
    return BoundaryError(found[:, 0], found[:, 1])


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(P, 2) y, x of the midpoints between neighbouring pixels of which one is inside; none at the array's rim."""
    down = np.add(np.argwhere(mask[1:] != mask[:-1]), (0.5, 0.0))
    right = np.add(np.argwhere(mask[:, 1:] != mask[:, :-1]), (0.0, 0.5))
    return np.concatenate([down, right])
