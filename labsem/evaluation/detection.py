"""How many particles are found: matching at an IoU, F1, average precision, recall by size, detection floor."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from labsem.evaluation.overlap import Overlaps, assign

AP_THRESHOLDS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
SIZE_EDGES_PX = (0.0, 8.0, 16.0, 32.0, 64.0, 128.0, np.inf)
"""Classes of equivalent circular diameter."""
_RECALL_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Match:
    """Particles of one image matched one to one at an IoU.

    Attributes
    ----------
    truth_index, predicted_index
        (M,) positions in ``truth_ids`` and ``predicted_ids`` of the overlaps.
    truth_ecd_px, predicted_ecd_px
        (T,), (P,) equivalent circular diameters of all particles.
    iou
        (M,) of the pairs.
    """

    truth_index: NDArray[np.int64]
    predicted_index: NDArray[np.int64]
    truth_ecd_px: NDArray[np.float64]
    predicted_ecd_px: NDArray[np.float64]
    iou: NDArray[np.float64]

    @property
    def log_size_ratio(self) -> NDArray[np.float64]:
        """(M,) ln of found over labelled diameter."""
        ratio: NDArray[np.float64] = np.log(
            self.predicted_ecd_px[self.predicted_index] / self.truth_ecd_px[self.truth_index]
        )
        return ratio

    @property
    def truth_found(self) -> NDArray[np.bool_]:
        """(T,) whether each true particle has a match."""
        return _marked(self.truth_index, len(self.truth_ecd_px))

    @property
    def predicted_right(self) -> NDArray[np.bool_]:
        """(P,) whether each prediction has a match."""
        return _marked(self.predicted_index, len(self.predicted_ecd_px))

    @property
    def counts(self) -> Counts:
        """Counts of this image."""
        matched = len(self.truth_index)
        return Counts(matched, len(self.predicted_ecd_px) - matched, len(self.truth_ecd_px) - matched)


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives."""

    matched: int
    false: int
    missed: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.matched + other.matched, self.false + other.false, self.missed + other.missed)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is nothing on either side."""
        total = 2 * self.matched + self.false + self.missed
        return 2 * self.matched / total if total else 1.0

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None without predictions."""
        total = self.matched + self.false
        return self.matched / total if total else None

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN); None without particles."""
        total = self.matched + self.missed
        return self.matched / total if total else None


def match(overlaps: Overlaps, minimum_iou: float = 0.5) -> Match:
    """Match the particles of one image at an IoU (inclusive)."""
    pairs = assign(overlaps, minimum_iou)
    return Match(
        overlaps.truth_index[pairs],
        overlaps.predicted_index[pairs],
        equivalent_diameter_px(overlaps.truth_area_px),
        equivalent_diameter_px(overlaps.predicted_area_px),
        overlaps.iou[pairs],
    )


def equivalent_diameter_px(area_px: NDArray[np.integer]) -> NDArray[np.float64]:
    """Diameter of the circle of the same area, sqrt(4 A / pi)."""
    return np.sqrt(4 * area_px / np.pi)


def counts_by_size(
    matches: Sequence[Match], edges_px: Sequence[float] = SIZE_EDGES_PX
) -> list[tuple[float, float, Counts]]:
    """Counts in classes of diameter: true particles by their own, false predictions by theirs.

    Returns
    -------
    A lower edge (inclusive), an upper edge and counts for each class.
    """
    truth, found = (
        _joined([one.truth_ecd_px for one in matches]),
        _joined([one.truth_found for one in matches]),
    )
    predicted = _joined([one.predicted_ecd_px for one in matches])
    right = _joined([one.predicted_right for one in matches])
    classes = []
    for low, high in itertools.pairwise(edges_px):
        true_here = (truth >= low) & (truth < high)
        false_here = (predicted >= low) & (predicted < high) & (right == 0)
        matched = int((found[true_here] > 0).sum())
        classes.append((low, high, Counts(matched, int(false_here.sum()), int(true_here.sum()) - matched)))
    return classes


def average_precision(
    overlaps: Sequence[Overlaps],
    scores: Sequence[NDArray[np.float64]],
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> float | None:
    """Mean over IoU thresholds of the average precision (101 recall levels, as COCO) over all images.

    Detections are taken by falling score; each takes the free particle with which its IoU is highest.

    Parameters
    ----------
    overlaps
        One for each image.
    scores
        (P,) score of each of ``predicted_ids``, for each image.
    thresholds
        IoUs to average over: 0.5, 0.55 ... 0.95.

    Returns
    -------
    None where no image has a particle.
    """
    particles = sum(len(one.truth_ids) for one in overlaps)
    if not particles:
        return None
    all_scores = _joined(scores)
    order = np.argsort(-all_scores, kind="stable")
    values = []
    for threshold in thresholds:
        right = _joined(
            [_taken_by_score(one, score, threshold) for one, score in zip(overlaps, scores, strict=True)]
        )[order]
        cumulated = np.cumsum(right)
        precision = cumulated / np.arange(1, len(right) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        values.append(envelope[np.searchsorted(cumulated / particles, _RECALL_LEVELS - 1e-12)].mean())
    return float(np.mean(values))


def detection_floor_px(ecd_px: NDArray[np.float64], found: NDArray[np.bool_]) -> float | None:
    """Diameter from which on at least half of the particles are found.

    Recall is fitted as a function that never falls with diameter (isotonic regression); the floor is the smallest
    diameter at which it reaches one half, so the smallest diameter seen where it does so everywhere.

    Parameters
    ----------
    ecd_px
        (T,) diameters of the true particles.
    found
        (T,) whether each is matched.

    Returns
    -------
    None where recall never reaches one half.
    """
    if not ecd_px.size:
        return None
    diameters, which = np.unique(ecd_px, return_inverse=True)
    number = np.bincount(which).astype(float)
    recall = np.bincount(which, weights=found.astype(float)) / number
    fitted = isotonic_regression(recall, weights=number).x
    reached = np.flatnonzero(fitted >= 0.5 - 1e-12)
    return float(diameters[reached[0]]) if reached.size else None


def _taken_by_score(
    overlaps: Overlaps, scores: NDArray[np.float64], minimum_iou: float
) -> NDArray[np.float64]:
    right = np.zeros(len(overlaps.predicted_ids))
    iou = overlaps.iou
    pairs = np.flatnonzero(iou >= minimum_iou)
    free = np.ones(len(overlaps.truth_ids), bool)
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    for pair in pairs[np.lexsort((-iou[pairs], rank[overlaps.predicted_index[pairs]]))]:
        truth, predicted = overlaps.truth_index[pair], overlaps.predicted_index[pair]
        if free[truth] and not right[predicted]:
            free[truth] = False
            right[predicted] = 1.0
    return right


def _marked(positions: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    marked = np.zeros(length, bool)
    marked[positions] = True
    return marked


def _joined(arrays: Sequence[NDArray[np.float64]] | Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *arrays])
