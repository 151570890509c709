"""AJI+, the aggregated Jaccard index with one-to-one assignment.

Graham et al., "HoVer-Net", Med. Image Anal. 58, 101563 (2019), section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.overlap import Overlaps, assign, find_overlaps


@dataclass(frozen=True)
class AjiSums:
    """Numerator and denominator of AJI+ in pixels: they add up over images."""

    intersection_px: int
    union_px: int

    @property
    def value(self) -> float:
        """AJI+; 1 where neither side has a particle."""
        return self.intersection_px / self.union_px if self.union_px else 1.0


def aji_sums(overlaps: Overlaps) -> AjiSums:
    """Sum of intersections, and sum of unions plus the areas of all unmatched of both sides."""
    intersection = int(overlaps.intersection_px[assign(overlaps)].sum())
    areas = int(overlaps.truth_area_px.sum() + overlaps.predicted_area_px.sum())
    return AjiSums(intersection, areas - intersection)


def aji_plus(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """AJI+ of two label images (H, W), 0 background.

    The pairs are those of the one-to-one assignment that maximises total IoU, every pair with IoU > 0 counting.
    Two empty images give 1, one empty image 0.

    Raises
    ------
    ValueError
        Where the images differ in size.
    """
    return aji_sums(find_overlaps(truth, predicted)).value


def aji_plus_pooled(sums: Iterable[AjiSums]) -> float:
    """AJI+ of many images as if they were one."""
    everything = list(sums)
    return AjiSums(
        sum(one.intersection_px for one in everything), sum(one.union_px for one in everything)
    ).value
