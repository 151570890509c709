"""Distributions of size and shape (ISO 9276-2) with the correction of the frame's edge (ISO 13322-1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.morphology import Distribution, Populations, Shapes, Sizes, Spread

Weighting = Literal["number", "area", "volume"]
Population = Literal["certain", "all"]
WEIGHTINGS: tuple[Weighting, ...] = ("number", "area", "volume")
POPULATIONS: tuple[Population, ...] = ("certain", "all")
_POWERS: dict[Weighting, int] = {"number": 0, "area": 2, "volume": 3}

WEIGHT_CAP = 10.0
"""Largest edge-correction weight; flag ``size_near_field`` tells when sizes come near it."""

Floats = NDArray[np.float64]


def edge_weights(
    box_width_px: ArrayLike, box_height_px: ArrayLike, width_px: float, height_px: float
) -> Floats:
    """Miles-Lantuejoul weight W H / ((W - b_x)(H - b_y)) of particles not cut by the frame, at most ``WEIGHT_CAP``.

    The inverse of the chance that a particle of bounding box b, thrown at random, lies wholly in the frame
    (ISO 13322-1, annex; Miles 1974, Lantuejoul 1980).
    """
    free_x = np.maximum(width_px - np.asarray(box_width_px, np.float64), 0)
    free_y = np.maximum(height_px - np.asarray(box_height_px, np.float64), 0)
    free = np.maximum(free_x * free_y, width_px * height_px / WEIGHT_CAP)
    weights: Floats = width_px * height_px / free
    return weights


def effective_n(weights: Floats) -> float:
    """(sum w)^2 / sum w^2: the number of equal weights that vary as much (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def weighted_quantile(values: Floats, weights: Floats, levels: ArrayLike) -> Floats:
    """Quantiles at ``levels`` in [0, 1], interpolated between the midpoints of the weights (Hazen).

    Weights of 0 do not count. Raises ``ValueError`` where no weight is positive.
    """
    kept = weights > 0
    if not kept.any():
        raise ValueError("weighted_quantile needs a positive weight")
    order = np.argsort(values[kept], kind="stable")
    return _sorted_quantile(values[kept][order], weights[kept][order], levels)


def _sorted_quantile(values: Floats, weights: Floats, levels: ArrayLike) -> Floats:
    upper = np.cumsum(weights)
    result: Floats = np.interp(np.asarray(levels, np.float64) * upper[-1], upper - weights / 2, values)
    return result


def size_weights(diameters: Floats, edge_weight: Floats, weighting: Weighting) -> Floats:
    """Edge weight times d^0, d^2 or d^3."""
    weights: Floats = (
        edge_weight * (diameters / max(float(diameters.max(initial=1.0)), 1e-300)) ** _POWERS[weighting]
    )
    return weights


def distribution(
    ecd_px: Floats, edge_weight: Floats, weighting: Weighting, um_per_px: float | None
) -> Distribution:
    """Quantiles and weighted mean (D[1,0], D[3,2] or D[4,3]) of particles not cut by the edge."""
    n = len(ecd_px)
    if n == 0:
        return Distribution(n=0, n_effective=0.0)
    weights = size_weights(ecd_px, edge_weight, weighting)
    quantiles = [float(value) for value in weighted_quantile(ecd_px, weights, (0.1, 0.5, 0.9))]
    found: dict[str, Any] = dict(zip(("d10_px", "d50_px", "d90_px"), quantiles, strict=True))
    if um_per_px is not None:
        found |= {name.replace("_px", "_um"): value * um_per_px for name, value in found.items()}
        found["mean_um"] = float(np.average(ecd_px, weights=weights)) * um_per_px
    return Distribution(n=n, n_effective=effective_n(edge_weight), **found)


def build_sizes(make: Callable[[Weighting, Population], Distribution]) -> Sizes:
    """``Sizes`` with each of its six distributions from ``make``."""
    parts = {
        weighting: Populations(certain=make(weighting, "certain"), all=make(weighting, "all"))
        for weighting in WEIGHTINGS
    }
    return Sizes(number=parts["number"], area=parts["area"], volume=parts["volume"])


def shapes(aspect_ratio: Floats, circularity_iso: Floats, solidity: Floats, edge_weight: Floats) -> Shapes:
    """Number-weighted quantiles of each descriptor over the particles that can carry it."""
    return Shapes(
        aspect_ratio=_spread(aspect_ratio, edge_weight),
        circularity_iso=_spread(circularity_iso, edge_weight),
        solidity=_spread(solidity, edge_weight),
    )


def _spread(values: Floats, edge_weight: Floats) -> Spread | None:
    kept = np.isfinite(values) & (edge_weight > 0)
    if not kept.any():
        return None
    low, middle, high = weighted_quantile(values[kept], edge_weight[kept], (0.1, 0.5, 0.9))
    return Spread(p10=float(low), p50=float(middle), p90=float(high))
