"""Shape of one particle from the sub-pixel outline of its mask.

The outline is the half-level line of the mask probability (marching squares with linear interpolation), padded
by zero. Where a mask has hard edges (a label image) that line is a staircase whose length does not converge, so such
a mask is first smoothed; the smoothing grows as the cube root of the size, which keeps all estimators
multigrid-convergent (error -> 0 as a shape is drawn on ever finer pixels).

Worst error over orientation and position, measured on discs | squares of equivalent diameter 10, 30, 100 px, with
anti-aliased edges:

=================  ====================  ====================
perimeter          0.9, 0.4, 0.3 %       8.3, 2.0, 0.5 %
Feret max          1.5, 0.6, 0.2 %       12, 2.5, 0.8 %
Feret min          2.0, 0.6, 0.2 %       3.0, 1.0, 0.3 %
=================  ====================  ====================

and with hard edges:

=================  ====================  ====================
perimeter          5.8, 1.0, 0.7 %       20, 5.5, 1.2 %
Feret max          2.6, 1.3, 0.9 %       22, 6.3, 1.5 %
Feret min          11, 1.6, 0.3 %        10, 3.0, 1.2 %
=================  ====================  ====================

Squares are the hardest case: smoothing takes their corners. The largest values of the first table are of squares that
lie exactly on pixel edges, whose mask is a hard one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull, QhullError
from skimage.measure import find_contours

from labsem.segmentation import HALF_LEVEL

_ROUND_RATIO = 0.95


class Outline(NamedTuple):
    """Measures of an outline, pixels; areas and lengths of the polygon, not counts of pixels."""

    centroid_x: float
    centroid_y: float
    area: float
    perimeter: float
    hull_area: float
    hull_perimeter: float
    feret_max: float
    feret_min: float
    orientation_deg: float


_NOTHING = Outline(*(math.nan,) * 9)


def measure_outline(probability: NDArray[np.uint8]) -> Outline:
    """Measure the largest part of a mask given as probability, 0 to 255, inside its box.

    Coordinates are of the box, pixel centres at whole numbers. ``orientation_deg`` is the angle of the long
    principal axis (second moments), counter-clockwise from the picture's x axis, 0 <= angle < 180; NaN where the
    axes differ by less than 5 %. Feret diameters are the largest and smallest distance of parallel tangents
    (ISO 9276-6:2008, clause 8; rotating calipers on the convex hull). All NaN where no pixel reaches the half level.
    """
    mask = probability >= HALF_LEVEL
    if not mask.any():
        return _NOTHING
    field, pad = _field(probability, mask)
    contours: list[NDArray[np.float64]] = find_contours(field, HALF_LEVEL - 0.5)  # type: ignore[no-untyped-call]
    areas = [_shoelace(contour) for contour in contours]
    points = contours[int(np.argmax(np.abs(areas)))][:-1, ::-1] - pad if contours else np.empty((0, 2))
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):
        return _NOTHING
    corners = points[hull.vertices]
    feret_max, feret_min = _feret(corners)
    area, centroid, orientation = _moments(points)
    steps = np.diff(points, axis=0, append=points[:1])
    return Outline(
        centroid_x=float(centroid[0]),
        centroid_y=float(centroid[1]),
        area=area,
        perimeter=float(np.hypot(steps[:, 0], steps[:, 1]).sum()),
        hull_area=float(hull.volume),
        hull_perimeter=float(hull.area),
        feret_max=feret_max,
        feret_min=feret_min,
        orientation_deg=orientation,
    )


def _field(probability: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """The padded mask, smoothed where its edges are hard, and the width of the padding."""
    crossings = int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    between = int(np.count_nonzero((probability > 25) & (probability < 230)))
    # A soft edge has about one pixel between for each crossing; a mask that fills its box has no crossing.
    if between >= 0.3 * crossings and between > 0:
        return np.pad(probability.astype(np.float32), 1), 1
    diameter = math.sqrt(4 * float(mask.sum()) / math.pi)
    sigma = max(1.0, (diameter / 100) ** (1 / 3)) if diameter >= 4 else 0.5
    pad = math.ceil(3 * sigma)
    hard = np.pad(mask.astype(np.float32) * 255, pad)
    smooth = gaussian_filter(hard, sigma)
    # A sliver that smoothing takes below the half level keeps its staircase.
    return (smooth if smooth.max() >= HALF_LEVEL else hard), pad


def _shoelace(contour: NDArray[np.float64]) -> float:
    y, x = contour[:, 0], contour[:, 1]
    return float(0.5 * (np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])))


def _moments(points: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], float]:
    """Area, centroid and orientation of a closed polygon (Green's theorem)."""
    origin = points.mean(axis=0)
    x0, y0 = (points - origin).T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    cross = x0 * y1 - x1 * y0
    area = 0.5 * float(cross.sum())
    if area == 0:
        return 0.0, origin, math.nan
    cx = float(((x0 + x1) * cross).sum()) / (6 * area)
    cy = float(((y0 + y1) * cross).sum()) / (6 * area)
    xx = float(((x0 * x0 + x0 * x1 + x1 * x1) * cross).sum()) / (12 * area) - cx * cx
    yy = float(((y0 * y0 + y0 * y1 + y1 * y1) * cross).sum()) / (12 * area) - cy * cy
    xy = float(((x0 * y1 + 2 * x0 * y0 + 2 * x1 * y1 + x1 * y0) * cross).sum()) / (24 * area) - cx * cy
    spread = math.hypot(xx - yy, 2 * xy)
    small, large = (xx + yy - spread) / 2, (xx + yy + spread) / 2
    round_ = large <= 0 or math.sqrt(max(small, 0.0) / large) > _ROUND_RATIO
    # The picture's y axis points down: an angle is counter-clockwise for who looks at it.
    angle = math.nan if round_ else math.degrees(-0.5 * math.atan2(2 * xy, xx - yy)) % 180.0
    return abs(area), origin + np.array([cx, cy]), angle


def _feret(corners: NDArray[np.float64]) -> tuple[float, float]:
    """Largest and smallest caliper width of a convex polygon (the smallest lies along an edge)."""
    centred = corners - corners.mean(axis=0)
    squares = (centred**2).sum(axis=1)
    largest = math.sqrt(float((squares[:, None] + squares - 2 * centred @ centred.T).max()))
    edges = np.diff(corners, axis=0, append=corners[:1])
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    kept = lengths > 0
    normals = np.stack([-edges[kept, 1], edges[kept, 0]]) / lengths[kept]
    across = corners @ normals
    return largest, float((across.max(axis=0) - across.min(axis=0)).min())
