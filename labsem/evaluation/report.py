"""The report of an evaluation, as it is printed in JSON."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Schema
from schemas.morphology import Regime


class ImageRow(Schema):
    """One image; null where its labels do not tell."""

    id: str
    group: str | None
    regime: Regime
    particles: int | None
    detections: int
    aji_plus: float | None
    f1: float | None
    second_aji_plus: float | None = Field(description="AJI+ against the other annotator")
    clear_missed: tuple[int, ...] = Field(description="labels of clear particles that were not found")
    holes_taken: tuple[int, ...] = Field(description="labels of holes taken for particles")
    out_of_distribution: bool
    seconds: float


class SizeClass(Schema):
    """Particles of a range of equivalent circular diameters; an upper edge of null is open."""

    from_px: float
    to_px: float | None
    particles: int
    recall: float | None
    precision: float | None
    f1: float | None = Field(
        description="null where neither a particle nor a false detection is of this size"
    )


class GroupFigures(Schema):
    """Figures of the images of one group, such as a powder."""

    images: int
    particles: int
    aji_plus: float
    aji_plus_pooled: float
    f1: float


class CertaintyFigures(Schema):
    """Certain against uncertain labels, on particles matched at IoU 0.5 of judged images.

    ``ece`` is read beside ``ece_floor``, what a perfectly calibrated model of the same confidences shows on average.
    ``auroc_geometry`` is a logistic model on log area, solidity, contact fraction and edge contact, fitted out of
    fold: a confidence that does not beat it has learned shape only.
    """

    images: int
    particles: int
    certain: int
    auroc: float | None
    auroc_interval_95: tuple[float, float] | None
    ece: float | None
    ece_floor: float | None
    ece_bins: int
    auroc_objectness: float | None
    auroc_geometry: float | None
    ece_geometry: float | None


class EvaluationReport(Schema):
    """How well a segmenter does on labelled images; null where the labels do not tell.

    ``aji_plus`` and ``f1`` are means over images, ``_pooled`` is over all particles. F1, precision and recall are at
    IoU 0.5. Both sides empty gives an image 1, one side empty 0; they are counted in ``images_both_empty`` and
    ``images_one_empty``.
    """

    regime: str = Field(description="the regime asked for; auto routes by magnification")
    part: str | None
    split: str | None
    images: int
    images_by_regime: dict[str, int]
    particles: int | None
    detections: int
    aji_plus: float | None
    aji_plus_pooled: float | None
    aji_plus_interval_95: tuple[float, float] | None
    f1: float | None
    f1_pooled: float | None
    f1_interval_95: tuple[float, float] | None
    precision: float | None
    recall: float | None
    average_precision: float | None = Field(description="mean over IoU 0.5 to 0.95")
    average_precision_50: float | None
    images_both_empty: int
    images_one_empty: int
    sizes: tuple[SizeClass, ...]
    detection_floor_px: float | None
    groups: dict[str, GroupFigures]
    second_aji_plus: float | None = Field(description="against the other annotator, on images that have one")
    annotators_aji_plus: float | None = Field(
        description="of the two annotators, the ceiling on those images"
    )
    mask_quality_auroc: float | None
    mask_quality_ece: float | None
    mask_quality_ece_floor: float | None
    auroc: float | None = Field(description="of confidence; the same as in certainty")
    ece: float | None = Field(description="of confidence; the same as in certainty")
    certainty: CertaintyFigures | None
    clear_particles: int | None
    clear_recall: float | None
    holes: int | None
    holes_taken: int | None
    holes_taken_names: tuple[str, ...] = Field(description="IMAGE:LABEL of each")
    images_out_of_distribution: int
    seconds: float = Field(description="in the segmenter")
    rows: tuple[ImageRow, ...]
