"""Whether sizes are right: diameters of matched particles, and the D50 of whole frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t

from labsem.evaluation.bootstrap import bootstrap_interval
from labsem.morphology import distribution, measure_sizes
from labsem.segmentation import Segmentation

D50_PARTICLES_MIN = 50
"""Labelled particles from which a frame's D50 is worth comparing."""

D50Weighting = Literal["number", "area"]
D50_WEIGHTINGS: tuple[D50Weighting, ...] = ("number", "area")


@dataclass(frozen=True)
class FrameSizes:
    """D50 of a frame's particles not cut by the edge, as a distribution of the product gives it.

    Attributes
    ----------
    number_px, area_px
        D50 by number and by area with the edge's correction, px; None without such a particle.
    """

    number_px: float | None
    area_px: float | None

    @classmethod
    def of(cls, segmentation: Segmentation) -> FrameSizes:
        """Measured as :func:`labsem.morphology.measure_particles` measures them."""
        sizes = measure_sizes(segmentation)
        whole = ~sizes.cut_by_edge
        number, area = (
            distribution(sizes.ecd_px[whole], sizes.edge_weight[whole], weighting, None).d50_px
            for weighting in D50_WEIGHTINGS
        )
        return cls(number, area)

    def d50_px(self, weighting: D50Weighting) -> float | None:
        """By number or by area."""
        return self.number_px if weighting == "number" else self.area_px


def log_ratio(found_px: float | None, labelled_px: float | None) -> float | None:
    """ln(found / labelled); None where one of them is."""
    return None if found_px is None or labelled_px is None else math.log(found_px / labelled_px)


@dataclass(frozen=True)
class RatioSummary:
    """Of ratios of frames: their median, the median distance from 1, and the geometric mean with its interval."""

    frames: int
    median: float
    median_interval_95: tuple[float, float] | None
    median_error: float
    mean: float
    mean_interval_95: tuple[float, float] | None
    smallest: float
    largest: float


def summarize_ratios(logs: Sequence[float]) -> RatioSummary | None:
    """Frames' ratios from their logarithms; None where there is no frame.

    The median's interval is of a bootstrap over frames, the mean's Student's on the log scale: over few frames
    a bootstrap's percentiles are too narrow.
    """
    if not logs:
        return None
    values = np.array(logs)
    median = bootstrap_interval(len(values), lambda drawn: float(np.median(values[drawn])))
    mean = float(values.mean())
    interval = None
    if len(values) > 1:
        half = float(values.std(ddof=1)) / math.sqrt(len(values)) * float(t.ppf(0.975, len(values) - 1))
        interval = (math.exp(mean - half), math.exp(mean + half))
    return RatioSummary(
        frames=len(values),
        median=math.exp(float(np.median(values))),
        median_interval_95=None if median is None else (math.exp(median[0]), math.exp(median[1])),
        median_error=float(np.median(np.abs(np.expm1(values)))),
        mean=math.exp(mean),
        mean_interval_95=interval,
        smallest=math.exp(float(values.min())),
        largest=math.exp(float(values.max())),
    )
