"""How well a number of trust tells certain from uncertain labels: AUROC and calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

ECE_BINS = 15


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Probability that a positive scores over a negative, ties counting one half (Mann-Whitney).

    Returns
    -------
    None where one of the classes is absent.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def expected_calibration_error(
    probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_], bins: int = ECE_BINS
) -> float | None:
    """Mean of |mean probability - share of outcomes| over bins of equal mass.

    Equal probabilities share their mean outcome, so that the order of ties does not matter.

    Returns
    -------
    None without any particle.
    """
    if not len(probabilities):
        return None
    values, which, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    tied = np.bincount(which, weights=outcomes.astype(float)) / counts
    gap = np.repeat(values - tied, counts)
    return _binned(gap[None, :], bins)[0]


def calibration_floor(
    probabilities: NDArray[np.float64], bins: int = ECE_BINS, draws: int = 500, seed: int = 0
) -> float | None:
    """Calibration error that a perfectly calibrated model of these probabilities shows on average.

    With few particles in a bin chance alone keeps it from 0, so an error is read beside it.

    Returns
    -------
    None without any particle.
    """
    if not len(probabilities):
        return None
    ordered = np.sort(probabilities)
    generator = np.random.default_rng(seed)
    errors = [
        _binned((ordered - (generator.random(len(ordered)) < ordered))[None, :], bins)[0]
        for _ in range(draws)
    ]
    return float(np.mean(errors))


def _binned(gaps: NDArray[np.float64], bins: int) -> list[float]:
    number = gaps.shape[1]
    edges = np.unique(np.linspace(0, number, bins + 1).round().astype(int))
    sums = np.add.reduceat(gaps, edges[:-1], axis=1)
    return [float(value) for value in np.abs(sums).sum(axis=1) / number]
