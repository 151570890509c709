"""Figures of outlines and sizes over images: boundary error, size error, D50, smallest and largest particle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.bootstrap import ratio_interval
from labsem.evaluation.measure import LabelResult
from labsem.evaluation.report import (
    BoundaryFigures,
    D50Error,
    D50Figures,
    ExtremeFigures,
    Interval,
    SizeErrorFigures,
)
from labsem.evaluation.sizes import D50_PARTICLES_MIN, D50Weighting, log_ratio, summarize_ratios


def boundary_figures(labelled: Sequence[LabelResult]) -> BoundaryFigures | None:
    """Distance of matched outlines; None where nothing is matched."""
    means = [one.boundary.mean_px for one in labelled]
    p95s = [one.boundary.p95_px for one in labelled]
    diameters = [one.matched.truth_ecd_px[one.matched.truth_index] for one in labelled]
    mean = _joined(means)
    known = ~np.isnan(mean)
    if not known.any():
        return None
    diameter, p95 = _joined(diameters), _joined(p95s)
    return BoundaryFigures(
        particles=int(known.sum()),
        mean_px=float(mean[known].mean()),
        mean_px_interval_95=_interval(means),
        p95_px=float(p95[known].mean()),
        p95_px_interval_95=_interval(p95s),
        mean_relative=float((mean[known] / diameter[known]).mean()),
        p95_relative=float((p95[known] / diameter[known]).mean()),
    )


def size_error_figures(labelled: Sequence[LabelResult]) -> SizeErrorFigures | None:
    """Diameters of matched particles against the labelled ones; None where nothing is matched."""
    logs = [one.matched.log_size_ratio for one in labelled]
    values = _joined(logs)
    if not len(values):
        return None
    interval = _interval(logs)
    return SizeErrorFigures(
        particles=len(values),
        bias=float(np.expm1(values.mean())),
        bias_interval_95=None if interval is None else _less_one(np.exp(interval)),
        spread=float(values.std()),
        median_ratio=float(np.exp(np.median(values))),
    )


def d50_figures(labelled: Sequence[LabelResult]) -> D50Figures | None:
    """Error of the D50 of frames of many particles; None without labels."""
    if not labelled:
        return None
    many = [one for one in labelled if len(one.overlaps.truth_ids) >= D50_PARTICLES_MIN]
    return D50Figures(
        particles_min=D50_PARTICLES_MIN, number=_d50_error(many, "number"), area=_d50_error(many, "area")
    )


def extreme_figures(labelled: Sequence[LabelResult]) -> ExtremeFigures | None:
    """Smallest and largest particle labelled and found; None without particles."""
    labels = [one.matched.truth_ecd_px for one in labelled]
    found = [one.matched.truth_ecd_px[one.matched.truth_found] for one in labelled]
    shares = [one.overlaps.truth_area_px / one.frame_px for one in labelled]
    found_shares = [share[one.matched.truth_found] for share, one in zip(shares, labelled, strict=True)]
    smallest, largest = _extreme(labels, np.min), _extreme(labels, np.max)
    smallest_share, largest_share = _extreme(shares, np.min), _extreme(shares, np.max)
    if smallest is None or largest is None or smallest_share is None or largest_share is None:
        return None
    return ExtremeFigures(
        smallest_labelled_px=smallest,
        smallest_found_px=_extreme(found, np.min),
        largest_labelled_px=largest,
        largest_found_px=_extreme(found, np.max),
        smallest_labelled_share=smallest_share,
        smallest_found_share=_extreme(found_shares, np.min),
        largest_labelled_share=largest_share,
        largest_found_share=_extreme(found_shares, np.max),
    )


def _d50_error(labelled: Sequence[LabelResult], weighting: D50Weighting) -> D50Error | None:
    logs = [
        log_ratio(one.found_sizes.d50_px(weighting), one.labelled_sizes.d50_px(weighting)) for one in labelled
    ]
    summary = summarize_ratios([value for value in logs if value is not None])
    if summary is None:
        return None
    return D50Error(
        frames=summary.frames,
        median_ratio=summary.median,
        median_ratio_interval_95=summary.median_interval_95,
        median_error=summary.median_error,
        bias=summary.mean - 1,
        bias_interval_95=None if summary.mean_interval_95 is None else _less_one(summary.mean_interval_95),
        smallest_ratio=summary.smallest,
        largest_ratio=summary.largest,
    )


def _less_one(interval: Sequence[float] | NDArray[np.float64]) -> Interval:
    return float(interval[0]) - 1, float(interval[1]) - 1


def _interval(values: Sequence[NDArray[np.float64]]) -> Interval | None:
    """Of the mean over all particles, images being drawn."""
    sums = np.array([np.nansum(value) for value in values])
    counts = np.array([float((~np.isnan(value)).sum()) for value in values])
    return ratio_interval(sums, counts)


def _extreme(
    values: Sequence[NDArray[np.float64]], of: Callable[[NDArray[np.float64]], float]
) -> float | None:
    joined = _joined(values)
    return float(of(joined)) if len(joined) else None


def _joined(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *values])
