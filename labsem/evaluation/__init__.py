"""How accurate a segmentation is: :func:`evaluate` for a report, single measures for everything else."""

from labsem.evaluation.aji import AjiSums, aji_plus, aji_plus_pooled, aji_sums
from labsem.evaluation.annotators import evaluate_annotators
from labsem.evaluation.baseline import otsu_watershed
from labsem.evaluation.bootstrap import PairedDifference, bootstrap_interval, mean_interval, paired_bootstrap
from labsem.evaluation.certainty import auroc, calibration_floor, expected_calibration_error
from labsem.evaluation.compare import compare, compare_two
from labsem.evaluation.detection import (
    Counts,
    Match,
    average_precision,
    counts_by_size,
    detection_floor_px,
    match,
)
from labsem.evaluation.geometry import geometry_features, out_of_fold_logistic
from labsem.evaluation.judgement import measure_certainty
from labsem.evaluation.landmarks import clear_found, holes_taken
from labsem.evaluation.measure import CertaintyResult, ImageResult, Segments, TrustAt, measure_image
from labsem.evaluation.overlap import Overlaps, assign, find_overlaps
from labsem.evaluation.report import CertaintyFigures, Comparison, EvaluationReport, ImageRow, ModelDifference
from labsem.evaluation.run import (
    Candidate,
    candidates_by_regime,
    evaluate,
    evaluate_regimes,
    measure_images,
    route_image,
    select_part,
)
from labsem.evaluation.summary import summarize

__all__ = [
    "AjiSums",
    "Candidate",
    "CertaintyFigures",
    "CertaintyResult",
    "Comparison",
    "Counts",
    "EvaluationReport",
    "ImageResult",
    "ImageRow",
    "Match",
    "ModelDifference",
    "Overlaps",
    "PairedDifference",
    "Segments",
    "TrustAt",
    "aji_plus",
    "aji_plus_pooled",
    "aji_sums",
    "assign",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "calibration_floor",
    "candidates_by_regime",
    "clear_found",
    "compare",
    "compare_two",
    "counts_by_size",
    "detection_floor_px",
    "evaluate",
    "evaluate_annotators",
    "evaluate_regimes",
    "expected_calibration_error",
    "find_overlaps",
    "geometry_features",
    "holes_taken",
    "match",
    "mean_interval",
    "measure_certainty",
    "measure_image",
    "measure_images",
    "otsu_watershed",
    "out_of_fold_logistic",
    "paired_bootstrap",
    "route_image",
    "select_part",
    "summarize",
]
