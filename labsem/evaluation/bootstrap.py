"""Intervals and comparisons with images as the unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class PairedDifference:
    """Difference of means of two models on the same images.

    Attributes
    ----------
    difference
        First minus second.
    interval_95
        Percentiles of the difference under resampling of images.
    share_not_better
        Share of resamples in which the first is not better.
    """

    difference: float
    interval_95: tuple[float, float]
    share_not_better: float


def bootstrap_interval(
    images: int,
    statistic: Callable[[NDArray[np.int64]], float | None],
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic of resampled images.

    Parameters
    ----------
    images
        How many there are.
    statistic
        Of the positions of the drawn images; None where it does not exist for them, which leaves the draw out.
    resamples, level, seed
        Number of draws, coverage, and the generator's seed.

    Returns
    -------
    None with fewer than two images, or where over half of the draws have no value.
    """
    if images < 2:
        return None
    generator = np.random.default_rng(seed)
    drawn = (statistic(generator.integers(0, images, images)) for _ in range(resamples))
    values = [value for value in drawn if value is not None]
    if 2 * len(values) < resamples:
        return None
    return percentiles(values, level)


def mean_interval(
    values: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of a mean over images; None with fewer than two."""
    if len(values) < 2:
        return None
    return percentiles(_resampled_means(values, resamples, seed))


def draw_images(images: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """(resamples, images): how often each image is drawn when as many are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def ratio_interval(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """95 % interval, over images, of a sum over a sum; None with fewer than two images that count."""
    if (denominators > 0).sum() < 2:
        return None
    drawn = draw_images(len(denominators), resamples)
    below = drawn @ denominators
    return percentiles((drawn @ numerators)[below > 0] / below[below > 0])


def paired_bootstrap(
    first: NDArray[np.float64], second: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """Compare two models by the figures of the same images in the same order.

    Raises
    ------
    ValueError
        Where the two have not the same number of images, or fewer than two.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"a paired comparison needs the same images twice, two at least; got {len(first)} and {len(second)}"
        )
    gain = first - second
    means = _resampled_means(gain, resamples, seed)
    return PairedDifference(float(gain.mean()), percentiles(means), float((means <= 0).mean()))


def _resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    means: NDArray[np.float64] = values[drawn].mean(axis=1)
    return means


def percentiles(values: NDArray[np.float64] | list[float], level: float = 0.95) -> tuple[float, float]:
    """Lower and upper end of the middle ``level`` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
