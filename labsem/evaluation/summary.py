"""Figures of many images from what was measured on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.aji import aji_plus_pooled
from labsem.evaluation.bootstrap import mean_interval
from labsem.evaluation.certainty import auroc, calibration_floor, expected_calibration_error
from labsem.evaluation.detection import Counts, average_precision, counts_by_size, detection_floor_px
from labsem.evaluation.dimensions import boundary_figures, d50_figures, extreme_figures, size_error_figures
from labsem.evaluation.judgement import measure_certainty, measure_label_class, reliability_bins
from labsem.evaluation.measure import ImageResult, LabelResult, LandmarkResult
from labsem.evaluation.report import EvaluationReport, GroupFigures, ImageRow, SizeClass


def summarize(
    results: Sequence[ImageResult], regime: str, part: str | None = None, split: str | None = None
) -> EvaluationReport:
    """Put the results of images together.

    Parameters
    ----------
    results
        One for each image.
    regime
        What was asked for: ``low``, ``high``, ``joint`` or ``auto``.
    part, split
        The part of the split that these images are, if they are one.
    """
    labelled = [result.labels for result in results if result.labels is not None]
    return EvaluationReport(
        regime=regime,
        part=part,
        split=split,
        images=len(results),
        images_by_regime=dict(Counter(result.regime.value for result in results)),
        simulator_versions=tuple(sorted({r.simulator_version for r in results if r.simulator_version})),
        detections=sum(result.detections for result in results),
        **_label_figures(labelled),
        groups=_groups(results),
        **_certainty_figures(results),
        **_landmark_figures(results),
        images_out_of_distribution=sum(result.out_of_distribution for result in results),
        seconds=sum(result.seconds for result in results),
        rows=tuple(_row(result) for result in results),
    )


def _certainty_figures(results: Sequence[ImageResult]) -> dict[str, object]:
    judged = [result.certainty for result in results if result.certainty is not None]
    boxes = [result.true_boxes for result in results if result.true_boxes is not None]
    figures = measure_certainty(judged) if judged else None
    return {
        "auroc": figures and figures.auroc,
        "auroc_objectness": figures and figures.auroc_objectness,
        "auroc_geometry": figures and figures.auroc_geometry,
        "auroc_gain": figures and figures.auroc_gain,
        "auroc_gain_interval_95": figures and figures.auroc_gain_interval_95,
        "ece": figures and figures.ece,
        "ece_floor": figures and figures.ece_floor,
        "ece_n": figures.particles if figures else 0,
        "certainty": figures,
        "true_boxes": measure_certainty(boxes) if boxes else None,
        "certain_labels": measure_label_class([r.certain_labels for r in results if r.certain_labels]),
        "uncertain_labels": measure_label_class([r.uncertain_labels for r in results if r.uncertain_labels]),
    }


def _label_figures(labelled: Sequence[LabelResult]) -> dict[str, object]:
    ajis = np.array([one.aji.value for one in labelled])
    f1s = np.array([one.matched.counts.f1 for one in labelled])
    counts = sum((one.matched.counts for one in labelled), Counts(0, 0, 0))
    overlaps = [one.overlaps for one in labelled]
    scores = [one.objectness for one in labelled]
    empty = [one.overlaps.empty for one in labelled]
    right = np.concatenate([np.zeros(0, bool), *(one.matched.predicted_right for one in labelled)])
    quality = np.concatenate([np.zeros(0), *(one.mask_quality for one in labelled)])
    annotators = _known([one.annotators_aji_plus for one in labelled])
    any_labels = bool(labelled)
    return {
        "particles": counts.matched + counts.missed if any_labels else None,
        "aji_plus": float(ajis.mean()) if any_labels else None,
        "aji_plus_sd": _deviation(ajis),
        "aji_plus_pooled": aji_plus_pooled(one.aji for one in labelled) if any_labels else None,
        "aji_plus_interval_95": mean_interval(ajis),
        "f1": float(f1s.mean()) if any_labels else None,
        "f1_pooled": counts.f1 if any_labels else None,
        "f1_interval_95": mean_interval(f1s),
        "precision": counts.precision,
        "recall": counts.recall,
        "average_precision": average_precision(overlaps, scores),
        "average_precision_50": average_precision(overlaps, scores, (0.5,)),
        "images_both_empty": sum(truth and predicted for truth, predicted in empty),
        "images_one_empty": sum(truth != predicted for truth, predicted in empty),
        "sizes": _sizes(labelled) if any_labels else (),
        "detection_floor_px": detection_floor_px(
            np.concatenate([np.zeros(0), *(one.matched.truth_ecd_px for one in labelled)]),
            np.concatenate([np.zeros(0, bool), *(one.matched.truth_found for one in labelled)]),
        ),
        "boundary": boundary_figures(labelled),
        "size_error": size_error_figures(labelled),
        "d50": d50_figures(labelled),
        "extremes": extreme_figures(labelled),
        "second_aji_plus": _mean(_known([one.second_aji_plus for one in labelled])),
        "annotators_aji_plus": _mean(annotators),
        "annotators_aji_plus_sd": _deviation(annotators),
        "mask_quality_n": len(quality),
        "mask_quality_auroc": auroc(quality, right),
        "mask_quality_ece": expected_calibration_error(quality, right),
        "mask_quality_ece_floor": calibration_floor(quality),
        "mask_quality_reliability": reliability_bins(quality, right),
    }


def _sizes(labelled: Sequence[LabelResult]) -> tuple[SizeClass, ...]:
    return tuple(
        SizeClass(
            from_px=low,
            to_px=None if np.isinf(high) else high,
            particles=counts.matched + counts.missed,
            recall=counts.recall,
            precision=counts.precision,
            f1=counts.f1 if counts != Counts(0, 0, 0) else None,
        )
        for low, high, counts in counts_by_size([one.matched for one in labelled])
    )


def _groups(results: Sequence[ImageResult]) -> dict[str, GroupFigures]:
    members: dict[str, list[LabelResult]] = {}
    for result in results:
        if result.group is not None and result.labels is not None:
            members.setdefault(result.group, []).append(result.labels)
    return {name: _group(labelled) for name, labelled in sorted(members.items())}


def _group(labelled: Sequence[LabelResult]) -> GroupFigures:
    ajis = np.array([one.aji.value for one in labelled])
    f1s = np.array([one.matched.counts.f1 for one in labelled])
    return GroupFigures(
        images=len(labelled),
        particles=sum(len(one.overlaps.truth_ids) for one in labelled),
        aji_plus=float(ajis.mean()),
        aji_plus_interval_95=mean_interval(ajis),
        aji_plus_pooled=aji_plus_pooled(one.aji for one in labelled),
        f1=float(f1s.mean()),
        f1_interval_95=mean_interval(f1s),
    )


def _landmark_figures(results: Sequence[ImageResult]) -> dict[str, object]:
    marked: list[tuple[str, LandmarkResult]] = [
        (result.id, result.landmarks) for result in results if result.landmarks is not None
    ]
    found = sum(len(one.found) for _, one in marked)
    clear = found + sum(len(one.missed) for _, one in marked)
    names = tuple(f"{name}:{label}" for name, one in marked for label in one.taken)
    return {
        "clear_particles": clear if marked else None,
        "clear_recall": found / clear if clear else None,
        "holes": sum(one.holes for _, one in marked) if marked else None,
        "holes_taken": len(names) if marked else None,
        "holes_taken_names": names,
    }


def _row(result: ImageResult) -> ImageRow:
    labels, marks = result.labels, result.landmarks
    return ImageRow(
        id=result.id,
        group=result.group,
        regime=result.regime,
        particles=len(labels.overlaps.truth_ids) if labels else None,
        detections=result.detections,
        aji_plus=labels.aji.value if labels else None,
        f1=labels.matched.counts.f1 if labels else None,
        second_aji_plus=labels.second_aji_plus if labels else None,
        d50_number_px=labels.found_sizes.number_px if labels else None,
        d50_number_labelled_px=labels.labelled_sizes.number_px if labels else None,
        d50_area_px=labels.found_sizes.area_px if labels else None,
        d50_area_labelled_px=labels.labelled_sizes.area_px if labels else None,
        clear_missed=marks.missed if marks else (),
        holes_taken=marks.taken if marks else (),
        out_of_distribution=result.out_of_distribution,
        seconds=result.seconds,
    )


def _known(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([value for value in values if value is not None])


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _deviation(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
