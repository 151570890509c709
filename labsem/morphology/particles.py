"""All particles of a frame, one row each."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labsem.morphology.distributions import edge_weights
from labsem.morphology.outline import measure_outline
from labsem.segmentation import Segmentation

ASPECT_MIN_ECD_PX = 8.0
"""Below it ``aspect_ratio`` and ``orientation_deg`` are null: a pixel is an eighth of the particle."""

OUTLINE_MIN_ECD_PX = 10.0
"""Below it ``perimeter_px``, ``circularity_iso``, ``form_factor``, ``solidity`` and ``convexity`` are null.

At no size does a 28x28 mask show detail of an outline that is finer than 1/28 of its box."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ParticleTable:
    """Equal-length columns, one row for each detection of which a pixel is seen; NaN stands for null.

    Attributes
    ----------
    label
        Value in the label image: index of the detection + 1.
    y0, x0, y1, x1
        Tight bounding box of the unflattened mask, px, end exclusive.
    centroid_x_px, centroid_y_px
        Of the outline; the top left pixel's centre is (0, 0).
    area_px, area_full_px
        Pixels seen; pixels of the unflattened mask.
    ecd_px
        Equivalent circular diameter of the visible area, sqrt(4 A / pi) (ISO 9276-6:2008, clause 8). Error of a disc of
        10, 30, 100 px at the worst position: 3.6, 0.7, 0.1 %; of a square at the worst orientation 10, 2.2, 0.6 %.
    feret_max_px, feret_min_px
        ISO 9276-6:2008, clause 8, see :mod:`labsem.morphology.outline`, which states accuracies.
    perimeter_px
        Length of the half-level outline.
    aspect_ratio
        Feret min / Feret max, <= 1 (ISO 9276-6:2008, clause 8).
    circularity_iso, form_factor
        sqrt(4 pi A / P^2) (ISO 9276-6:2008, clause 8) and its square, ImageJ's circularity; A of the same outline.
    solidity, convexity
        A / A_hull and P_hull / P (ISO 9276-6:2008, clause 8).
    orientation_deg
        Long principal axis, counter-clockwise from the x axis, in [0, 180).
    objectness, confidence, mask_quality, certain
        As segmented.
    cut_by_edge
        Whether the detection's box reaches the frame's edge; its mask may end just inside.
    edge_weight
        Miles-Lantuejoul weight, 0 where cut.
    pixel_size_nm
        None where the scale is unknown: the properties in micrometres are then NaN.
    """

    label: NDArray[np.int64]
    y0: NDArray[np.int64]
    x0: NDArray[np.int64]
    y1: NDArray[np.int64]
    x1: NDArray[np.int64]
    centroid_x_px: Floats
    centroid_y_px: Floats
    area_px: Floats
    area_full_px: Floats
    ecd_px: Floats
    feret_max_px: Floats
    feret_min_px: Floats
    perimeter_px: Floats
    aspect_ratio: Floats
    circularity_iso: Floats
    form_factor: Floats
    solidity: Floats
    convexity: Floats
    orientation_deg: Floats
    objectness: Floats
    confidence: Floats
    mask_quality: Floats
    certain: NDArray[np.bool_]
    cut_by_edge: NDArray[np.bool_]
    edge_weight: Floats
    pixel_size_nm: float | None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def _um(self) -> float:
        return math.nan if self.pixel_size_nm is None else self.pixel_size_nm / 1e3

    @property
    def area_um2(self) -> Floats:
        """Visible area."""
        return self.area_px * self._um**2

    @property
    def area_full_um2(self) -> Floats:
        """Area of the unflattened mask."""
        return self.area_full_px * self._um**2

    @property
    def ecd_um(self) -> Floats:
        """Equivalent circular diameter."""
        return self.ecd_px * self._um

    @property
    def feret_max_um(self) -> Floats:
        """Largest caliper width."""
        return self.feret_max_px * self._um

    @property
    def feret_min_um(self) -> Floats:
        """Smallest caliper width."""
        return self.feret_min_px * self._um

    @property
    def perimeter_um(self) -> Floats:
        """Length of the outline."""
        return self.perimeter_px * self._um

    def select(self, keep: NDArray[np.bool_]) -> ParticleTable:
        """The rows where ``keep`` is true."""
        columns: dict[str, Any] = {name: getattr(self, name)[keep] for name in _COLUMNS}
        return replace(self, **columns)

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name, those in micrometres last."""
        return {name: getattr(self, name) for name in (*_COLUMNS, *UM_COLUMNS)}

    def rows(self) -> list[dict[str, int | float | bool | None]]:
        """Rows of plain Python values, NaN as None."""
        lists = {name: column.tolist() for name, column in self.columns().items()}
        return [
            {name: None if value != value else value for name, value in zip(lists, row, strict=True)}
            for row in zip(*lists.values(), strict=True)
        ]


_COLUMNS = tuple(field.name for field in fields(ParticleTable) if field.name != "pixel_size_nm")
UM_COLUMNS = ("area_um2", "area_full_um2", "ecd_um", "feret_max_um", "feret_min_um", "perimeter_um")


class ParticleSizes(NamedTuple):
    """The columns of :class:`ParticleTable` that sizes and their distributions need, (N,) each."""

    label: NDArray[np.int64]
    y0: NDArray[np.int64]
    x0: NDArray[np.int64]
    y1: NDArray[np.int64]
    x1: NDArray[np.int64]
    area_px: Floats
    area_full_px: Floats
    ecd_px: Floats
    cut_by_edge: NDArray[np.bool_]
    edge_weight: Floats


def measure_sizes(segmentation: Segmentation) -> ParticleSizes:
    """Sizes alone of each detection of which at least one pixel is seen: no outline is followed."""
    height, width = segmentation.height_px, segmentation.width_px
    visible = np.bincount(segmentation.label_image.ravel(), minlength=len(segmentation) + 1)[1:]
    seen = np.flatnonzero(visible)
    boxes = np.zeros((len(seen), 4), np.int64)
    full = np.zeros(len(seen))
    for row, index in enumerate(seen.tolist()):
        mask = segmentation.mask(index)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        y, x = (int(value) for value in segmentation.boxes[index][:2])
        boxes[row] = y + rows[0], x + columns[0], y + rows[-1] + 1, x + columns[-1] + 1
        full[row] = mask.sum()
    y0, x0, y1, x1 = boxes.T
    # By the boxes as found: a mask that rounds off just inside the edge is of a particle that goes on beyond it.
    top, left, bottom, right = segmentation.boxes[seen].T
    cut = (top <= 0) | (left <= 0) | (bottom >= height) | (right >= width)
    area = visible[seen].astype(np.float64)
    return ParticleSizes(
        label=seen.astype(np.int64) + 1,
        y0=y0,
        x0=x0,
        y1=y1,
        x1=x1,
        area_px=area,
        area_full_px=full,
        ecd_px=np.sqrt(4 * area / math.pi),
        cut_by_edge=cut,
        edge_weight=np.where(cut, 0.0, edge_weights(x1 - x0, y1 - y0, width, height)),
    )


def measure_particles(segmentation: Segmentation, pixel_size_nm: float | None) -> ParticleTable:
    """Measure each detection of which at least one pixel is seen.

    Sizes seen (``area``, ``ecd``) are of the flattened mask, shapes of the unflattened one.
    """
    sizes = measure_sizes(segmentation)
    values = np.full((len(sizes.label), 11), np.nan)
    for row, index in enumerate((sizes.label - 1).tolist()):
        top, left = (int(value) for value in segmentation.boxes[index][:2])
        outline = measure_outline(segmentation.probabilities[index])
        size = math.sqrt(4 * float(sizes.area_full_px[row]) / math.pi)
        values[row, :4] = (
            left + outline.centroid_x,
            top + outline.centroid_y,
            outline.feret_max,
            outline.feret_min,
        )
        if size >= ASPECT_MIN_ECD_PX:
            values[row, 4:6] = outline.feret_min / outline.feret_max, outline.orientation_deg
        if size >= OUTLINE_MIN_ECD_PX:
            roundness = 4 * math.pi * outline.area / outline.perimeter**2
            values[row, 6:11] = (
                outline.perimeter,
                math.sqrt(roundness),
                roundness,
                outline.area / outline.hull_area,
                outline.hull_perimeter / outline.perimeter,
            )
    seen = sizes.label - 1
    return ParticleTable(
        **sizes._asdict(),
        centroid_x_px=values[:, 0],
        centroid_y_px=values[:, 1],
        feret_max_px=values[:, 2],
        feret_min_px=values[:, 3],
        aspect_ratio=values[:, 4],
        orientation_deg=values[:, 5],
        perimeter_px=values[:, 6],
        circularity_iso=values[:, 7],
        form_factor=values[:, 8],
        solidity=values[:, 9],
        convexity=values[:, 10],
        objectness=segmentation.objectness[seen].astype(np.float64),
        confidence=segmentation.confidence[seen].astype(np.float64),
        mask_quality=segmentation.mask_quality[seen].astype(np.float64),
        certain=segmentation.certain[seen],
        pixel_size_nm=pixel_size_nm,
    )
