"""The rival that knows shape only: certainty predicted from the geometry of a mask, never from the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum_filter, minimum_filter
from scipy.optimize import minimize
from scipy.spatial import ConvexHull
from scipy.special import expit

CONTACT_GAP_PX = 2
"""Particles with at most this many background pixels between them touch."""
FOLDS = 5
_RIDGE = 1e-2
_FAR = np.iinfo(np.int32).max


def geometry_features(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Shape of every particle of a label image (H, W).

    Returns
    -------
    (N,) label values, ascending, and (N, 4): log of the area in pixels; solidity (area over the area of the convex
    hull of its pixels); contact fraction (share of its boundary pixels with another particle at
    most ``CONTACT_GAP_PX`` background pixels away); edge contact (share of its boundary pixels on the frame's edge).
    """
    reach = 2 * (CONTACT_GAP_PX + 1) + 1
    highest = maximum_filter(labels, reach, mode="constant", cval=0)
    lowest = minimum_filter(np.where(labels > 0, labels, _FAR), reach, mode="constant", cval=_FAR)
    ids: list[int] = []
    rows: list[tuple[float, float, float, float]] = []
    height, width = labels.shape
    for index, box in enumerate(find_objects(labels)):
        if box is None:
            continue
        value = index + 1
        mask = np.pad(labels[box] == value, 1)
        inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        y, x = np.nonzero(mask[1:-1, 1:-1] & ~inner)
        y, x = y + box[0].start, x + box[1].start
        touches = (highest[y, x] != value) | (lowest[y, x] != value)
        at_edge = (y == 0) | (x == 0) | (y == height - 1) | (x == width - 1)
        area = int(mask.sum())
        corners = np.concatenate([np.stack([y + dy, x + dx], axis=1) for dy in (0, 1) for dx in (0, 1)])
        hull_area = ConvexHull(corners).volume
        ids.append(value)
        rows.append((np.log(area), area / hull_area, touches.mean(), at_edge.mean()))
    return np.array(ids, np.int64), np.array(rows, np.float64).reshape(-1, 4)


def out_of_fold_logistic(
    features: NDArray[np.float64],
    positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    folds: int = FOLDS,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """Probability from a logistic model that never saw the image at hand.

    Parameters
    ----------
    features
        (N, F) of the particles.
    positive
        (N,) what is predicted.
    groups
        (N,) the image of each particle; an image is never split between folds.
    folds
        Number of models, at most one for each image.
    seed
        Decides which images share a fold.

    Returns
    -------
    (N,) probabilities; None where there are fewer than two images or a model would see one class only.
    """
    images = np.unique(groups)
    if len(images) < 2:
        return None
    shuffled = np.random.default_rng(seed).permutation(images)
    scores = np.zeros(len(features))
    for held_out in np.array_split(shuffled, min(folds, len(images))):
        test = np.isin(groups, held_out)
        known = positive[~test]
        if known.all() or not known.any():
            return None
        scores[test] = _fit(features[~test], known)(features[test])
    return scores


class _Logistic:
    def __init__(
        self, mean: NDArray[np.float64], scale: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> None:
        self._mean, self._scale, self._weights = mean, scale, weights

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        standard = (features - self._mean) / self._scale
        result: NDArray[np.float64] = expit(standard @ self._weights[1:] + self._weights[0])
        return result


def _fit(features: NDArray[np.float64], positive: NDArray[np.bool_]) -> _Logistic:
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    target = positive.astype(float)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = design @ weights
        value = np.logaddexp(0, logits).sum() - target @ logits + 0.5 * _RIDGE * weights[1:] @ weights[1:]
        gradient = design.T @ (expit(logits) - target)
        gradient[1:] += _RIDGE * weights[1:]
        return float(value), gradient

    weights = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x
    return _Logistic(mean, scale, weights)
