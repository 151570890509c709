"""The report of an evaluation, as it is printed in JSON; ``docs/evaluation.md`` defines each figure."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Schema
from schemas.morphology import Regime

Interval = tuple[float, float]


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
    d50_number_px: float | None = None
    d50_number_labelled_px: float | None = None
    d50_area_px: float | None = None
    d50_area_labelled_px: float | None = None
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
    aji_plus_interval_95: Interval | None
    aji_plus_pooled: float
    f1: float
    f1_interval_95: Interval | None


class BoundaryFigures(Schema):
    """Distance of matched outlines from the labelled ones: means over particles, intervals over images."""

    particles: int
    mean_px: float
    mean_px_interval_95: Interval | None
    p95_px: float = Field(description="mean over particles of each one's 95th percentile")
    p95_px_interval_95: Interval | None
    mean_relative: float = Field(description="in units of the labelled diameter")
    p95_relative: float


class SizeErrorFigures(Schema):
    """Equivalent circular diameter of matched particles against the labelled ones, from the ratio's logarithm."""

    particles: int
    bias: float = Field(description="geometric mean of the ratio, less 1")
    bias_interval_95: Interval | None
    spread: float = Field(description="standard deviation of the ratio's logarithm")
    median_ratio: float


class D50Error(Schema):
    """D50 of frames over the labels' D50, frames of at least ``D50_PARTICLES_MIN`` labelled particles."""

    frames: int
    median_ratio: float
    median_ratio_interval_95: Interval | None
    median_error: float = Field(description="median of |ratio - 1|")
    bias: float = Field(description="geometric mean of the ratio, less 1")
    bias_interval_95: Interval | None
    smallest_ratio: float
    largest_ratio: float


class D50Figures(Schema):
    """Errors of D50 by weighting; null where no frame has enough particles on both sides."""

    particles_min: int
    number: D50Error | None
    area: D50Error | None


class ExtremeFigures(Schema):
    """Smallest and largest particle: equivalent diameters, and share of the frame's area."""

    smallest_labelled_px: float
    smallest_found_px: float | None
    largest_labelled_px: float
    largest_found_px: float | None
    smallest_labelled_share: float
    smallest_found_share: float | None
    largest_labelled_share: float
    largest_found_share: float | None


class LabelClassFigures(Schema):
    """Accuracy on the labels that are certain, or on those that are not, of judged images.

    ``recall`` and ``mean_iou`` are of the labels matched at IoU 0.5 by any detection; ``aji_plus`` compares these
    labels with the detections of the same word alone (mean over the images that have either).
    """

    particles: int
    detections: int = Field(description="of the same word")
    recall: float | None
    mean_iou: float | None
    aji_plus: float | None
    aji_plus_interval_95: Interval | None


class ReliabilityBin(Schema):
    """One of the bins of equal mass: what was promised, and what came."""

    particles: int
    mean_probability: float
    share: float


class CertaintyFigures(Schema):
    """Certain against uncertain labels of judged images.

    ``ece`` is read beside ``ece_floor``, what a perfectly calibrated model of the same confidences shows on average.
    ``auroc_geometry`` is a logistic model on log area, solidity, contact fraction and edge contact, fitted out of
    fold: a confidence that does not beat it has learned shape only. Intervals are of a bootstrap over images;
    ``auroc_gain`` is the AUROC of confidence less that of the better rival, ``auroc_gain_over``, on the same draws.
    """

    images: int
    particles: int
    certain: int
    auroc: float | None
    auroc_interval_95: Interval | None
    auroc_objectness: float | None
    auroc_objectness_interval_95: Interval | None
    auroc_geometry: float | None
    auroc_geometry_interval_95: Interval | None
    auroc_gain: float | None
    auroc_gain_interval_95: Interval | None
    auroc_gain_over: str | None
    ece: float | None
    ece_floor: float | None
    ece_bins: int
    ece_geometry: float | None
    size_correlation: float | None = Field(description="Spearman, confidence and equivalent diameter")
    reliability: tuple[ReliabilityBin, ...]
    histogram_certain: tuple[int, ...] = Field(description="confidence in ten classes from 0 to 1")
    histogram_uncertain: tuple[int, ...]


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
    simulator_versions: tuple[str, ...] = Field(description="of the images that are simulated")
    particles: int | None
    detections: int
    aji_plus: float | None
    aji_plus_sd: float | None = Field(description="standard deviation over images")
    aji_plus_pooled: float | None
    aji_plus_interval_95: Interval | None
    f1: float | None
    f1_pooled: float | None
    f1_interval_95: Interval | None
    precision: float | None
    recall: float | None
    average_precision: float | None = Field(description="mean over IoU 0.5 to 0.95")
    average_precision_50: float | None
    images_both_empty: int
    images_one_empty: int
    sizes: tuple[SizeClass, ...]
    detection_floor_px: float | None
    boundary: BoundaryFigures | None
    size_error: SizeErrorFigures | None
    d50: D50Figures | None
    extremes: ExtremeFigures | None
    groups: dict[str, GroupFigures] = Field(description="by powder, or by the regime that a data set names")
    second_aji_plus: float | None = Field(
        description="against the other annotator, where there is one; mean over images"
    )
    annotators_aji_plus: float | None = Field(
        description="of the two annotators, the ceiling on those images"
    )
    annotators_aji_plus_sd: float | None
    mask_quality_n: int
    mask_quality_auroc: float | None
    mask_quality_ece: float | None
    mask_quality_ece_floor: float | None
    mask_quality_reliability: tuple[ReliabilityBin, ...]
    auroc: float | None = Field(description="this and the next seven: the same as in certainty")
    auroc_objectness: float | None
    auroc_geometry: float | None
    auroc_gain: float | None
    auroc_gain_interval_95: Interval | None
    ece: float | None
    ece_floor: float | None
    ece_n: int
    certainty: CertaintyFigures | None = Field(description="on particles matched at IoU 0.5")
    true_boxes: CertaintyFigures | None = Field(description="on the boxes of all labels, as in the paper")
    certain_labels: LabelClassFigures | None
    uncertain_labels: LabelClassFigures | None
    clear_particles: int | None
    clear_recall: float | None
    holes: int | None
    holes_taken: int | None
    holes_taken_names: tuple[str, ...] = Field(description="IMAGE:LABEL of each")
    images_out_of_distribution: int
    seconds: float = Field(description="in the segmenter")
    rows: tuple[ImageRow, ...]


class Difference(Schema):
    """First less second on the same images, with the interval of a paired bootstrap over images."""

    difference: float
    interval_95: Interval | None
    share_not_better: float = Field(description="share of resamples in which the first is not better")
    images: int


class ModelDifference(Schema):
    """Two models on the same images; null where the labels do not tell."""

    first: str
    second: str
    aji_plus: Difference | None
    f1: Difference | None
    auroc: Difference | None = Field(description="of confidence, each on what it found itself")
    auroc_true_boxes: Difference | None


class Comparison(Schema):
    """Several models side by side, and every pair of them compared."""

    models: dict[str, EvaluationReport]
    differences: tuple[ModelDifference, ...]
