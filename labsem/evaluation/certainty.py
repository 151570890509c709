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


def resampled_auroc(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    draws: NDArray[np.int64],
) -> NDArray[np.float64]:
    """AUROC of resampled images; the same draws give paired values of two scores, or of two models.

    Parameters
    ----------
    scores, positive, groups
        (N,) of the particles; ``groups`` holds the position of each one's image.
    draws
        (R, I) how often each image is drawn.

    Returns
    -------
    (R,), NaN where a class is absent.
    """
    levels, which = np.unique(scores, return_inverse=True)
    values = np.full(len(draws), np.nan)
    for row, draw in enumerate(draws):
        weight = draw[groups].astype(float)
        up = np.bincount(which, weight * positive, minlength=len(levels))
        down = np.bincount(which, weight * ~positive, minlength=len(levels))
        total = up.sum() * down.sum()
        if total:
            values[row] = (up * (np.cumsum(down) - down / 2)).sum() / total
    return values


def reliability(
    probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_], bins: int = ECE_BINS
) -> list[tuple[int, float, float]]:
    """Number, mean probability and share of outcomes of each of the bins of equal mass, lowest first.

    Equal probabilities share their mean outcome, so that the order of ties does not matter.
    """
    if not len(probabilities):
        return []
    values, counts, tied = _by_level(probabilities, outcomes)
    edges = _bin_edges(len(probabilities), bins)
    sizes = np.diff(edges)
    promised = np.add.reduceat(np.repeat(values, counts), edges[:-1]) / sizes
    came = np.add.reduceat(np.repeat(tied, counts), edges[:-1]) / sizes
    return list(zip(sizes.tolist(), promised.tolist(), came.tolist(), strict=True))


def expected_calibration_error(
    probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_], bins: int = ECE_BINS
) -> float | None:
    """Mean of |mean probability - share of outcomes| over the bins of :func:`reliability`.

    Returns
    -------
    None without any particle.
    """
    if not len(probabilities):
        return None
    values, counts, tied = _by_level(probabilities, outcomes)
    return _binned(np.repeat(values - tied, counts), bins)


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
    errors = [_binned(ordered - (generator.random(len(ordered)) < ordered), bins) for _ in range(draws)]
    return float(np.mean(errors))


def _by_level(
    probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Different probabilities, ascending, how many particles have each, and the share of outcomes among them."""
    values, which, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    return values, counts, np.bincount(which, weights=outcomes.astype(float)) / counts


def _bin_edges(number: int, bins: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, number, bins + 1).round().astype(np.int64))


def _binned(gaps: NDArray[np.float64], bins: int) -> float:
    sums = np.add.reduceat(gaps, _bin_edges(len(gaps), bins)[:-1])
    return float(np.abs(sums).sum() / len(gaps))
