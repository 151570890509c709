"""The figures of evaluation reports as rows of one table: a model a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from labsem.evaluation.report import CertaintyFigures, EvaluationReport, Interval, LabelClassFigures

Cell = Callable[[EvaluationReport], str | None]


def figure_rows(reports: Mapping[str, EvaluationReport]) -> list[tuple[str, list[str]]]:
    """Name and one cell for each model; figures that no model has are left out."""
    rows = []
    for name, cell in _FIGURES:
        cells = [cell(report) for report in reports.values()]
        if any(value is not None for value in cells):
            rows.append((name, [value if value is not None else "-" for value in cells]))
    return rows


def size_rows(reports: Mapping[str, EvaluationReport]) -> list[tuple[str, list[str]]]:
    """Recall at IoU 0.5 with the number of labelled particles, by diameter in pixels."""
    known = [report.sizes for report in reports.values() if report.sizes]
    return [
        (
            f"{sizes[0].from_px:g} to {sizes[0].to_px:g}"
            if sizes[0].to_px
            else f"{sizes[0].from_px:g} and over",
            [f"{_number(size.recall) or '-'} of {size.particles}" for size in sizes],
        )
        for sizes in zip(*known, strict=True)
    ]


def _number(value: float | None, interval: Interval | None = None, *, digits: int = 3) -> str | None:
    if value is None:
        return None
    if interval is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _percent(value: float | None, interval: Interval | None = None) -> str | None:
    if value is None:
        return None
    ends = "" if interval is None else f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    return f"{100 * value:+.1f} %{ends}"


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _d50(report: EvaluationReport, weighting: str, cell: str) -> str | None:
    error = getattr(report.d50, weighting) if report.d50 else None
    if error is None:
        return None
    if cell == "bias":
        return f"{_percent(error.bias, error.bias_interval_95)}, n {error.frames}"
    if cell == "error":
        return f"{100 * error.median_error:.1f} %"
    return _number(error.median_ratio, error.median_ratio_interval_95)


def _trust(name: str, figure: Callable[[CertaintyFigures], str | None]) -> Cell:
    def cell(report: EvaluationReport) -> str | None:
        figures: CertaintyFigures | None = getattr(report, name)
        return None if figures is None else figure(figures)

    return cell


def _gain(figures: CertaintyFigures) -> str | None:
    if figures.auroc_gain is None:
        return None
    return f"{_number(figures.auroc_gain, figures.auroc_gain_interval_95)} over {figures.auroc_gain_over}"


def _calibration(error: float | None, floor: float | None, count: int) -> str | None:
    return None if error is None or floor is None else f"{error:.3f}, floor {floor:.3f}, n {count}"


def _label_class(figures: LabelClassFigures | None) -> str | None:
    if figures is None:
        return None
    return ", ".join(_number(value) or "-" for value in (figures.recall, figures.mean_iou, figures.aji_plus))


def _trust_rows(name: str, where: str) -> tuple[tuple[str, Cell], ...]:
    return (
        (f"particles, {where}", _trust(name, lambda f: f"{f.particles} ({f.certain} certain)")),
        (f"AUROC of confidence, {where}", _trust(name, lambda f: _number(f.auroc, f.auroc_interval_95))),
        (
            f"AUROC of objectness, {where}",
            _trust(name, lambda f: _number(f.auroc_objectness, f.auroc_objectness_interval_95)),
        ),
        (
            f"AUROC of geometry, {where}",
            _trust(name, lambda f: _number(f.auroc_geometry, f.auroc_geometry_interval_95)),
        ),
        (f"gain of confidence, {where}", _trust(name, _gain)),
        (
            f"ECE of confidence, {where}",
            _trust(name, lambda f: _calibration(f.ece, f.ece_floor, f.particles)),
        ),
        (f"confidence against size (Spearman), {where}", _trust(name, lambda f: _number(f.size_correlation))),
    )


_FIGURES: tuple[tuple[str, Cell], ...] = (
    ("regime", lambda r: r.regime),
    ("images", lambda r: str(r.images)),
    ("labelled particles", lambda r: _count(r.particles)),
    ("detections", lambda r: str(r.detections)),
    ("AJI+ (mean over images)", lambda r: _number(r.aji_plus, r.aji_plus_interval_95)),
    ("AJI+ (spread over images, SD)", lambda r: _number(r.aji_plus_sd)),
    ("AJI+ (pooled)", lambda r: _number(r.aji_plus_pooled)),
    ("F1 at IoU 0.5 (mean over images)", lambda r: _number(r.f1, r.f1_interval_95)),
    ("precision", lambda r: _number(r.precision)),
    ("recall", lambda r: _number(r.recall)),
    ("average precision, IoU 0.5 to 0.95", lambda r: _number(r.average_precision)),
    ("detection floor, px", lambda r: _number(r.detection_floor_px, digits=1)),
    (
        "outline: mean distance, px",
        lambda r: (
            _number(r.boundary.mean_px, r.boundary.mean_px_interval_95, digits=2) if r.boundary else None
        ),
    ),
    (
        "outline: 95th percentile, px",
        lambda r: _number(r.boundary.p95_px, r.boundary.p95_px_interval_95, digits=2) if r.boundary else None,
    ),
    (
        "outline: mean | 95th, of the diameter",
        lambda r: (
            f"{100 * r.boundary.mean_relative:.1f} | {100 * r.boundary.p95_relative:.1f} %"
            if r.boundary
            else None
        ),
    ),
    (
        "diameter: bias",
        lambda r: _percent(r.size_error.bias, r.size_error.bias_interval_95) if r.size_error else None,
    ),
    ("diameter: spread (log)", lambda r: _number(r.size_error.spread) if r.size_error else None),
    ("D50 by number: bias", lambda r: _d50(r, "number", "bias")),
    ("D50 by number: median ratio", lambda r: _d50(r, "number", "ratio")),
    ("D50 by number: median error", lambda r: _d50(r, "number", "error")),
    ("D50 by area: bias", lambda r: _d50(r, "area", "bias")),
    ("D50 by area: median ratio", lambda r: _d50(r, "area", "ratio")),
    ("D50 by area: median error", lambda r: _d50(r, "area", "error")),
    (
        "smallest found | labelled, px",
        lambda r: (
            f"{_number(r.extremes.smallest_found_px, digits=1)} | {r.extremes.smallest_labelled_px:.1f}"
            if r.extremes
            else None
        ),
    ),
    (
        "largest found | labelled, px",
        lambda r: (
            f"{_number(r.extremes.largest_found_px, digits=1)} | {r.extremes.largest_labelled_px:.1f}"
            if r.extremes
            else None
        ),
    ),
    ("AJI+ against the other annotator", lambda r: _number(r.second_aji_plus)),
    (
        "AJI+ of the two annotators",
        lambda r: (
            None
            if r.annotators_aji_plus is None
            else f"{r.annotators_aji_plus:.3f}, SD {_number(r.annotators_aji_plus_sd) or '-'}"
        ),
    ),
    *_trust_rows("certainty", "matched"),
    *_trust_rows("true_boxes", "true boxes"),
    ("certain labels: recall, mean IoU, AJI+", lambda r: _label_class(r.certain_labels)),
    ("uncertain labels: recall, mean IoU, AJI+", lambda r: _label_class(r.uncertain_labels)),
    (
        "ECE of mask quality",
        lambda r: _calibration(r.mask_quality_ece, r.mask_quality_ece_floor, r.mask_quality_n),
    ),
    ("AUROC of mask quality", lambda r: _number(r.mask_quality_auroc)),
    ("clear particles found", lambda r: _number(r.clear_recall)),
    ("holes taken for particles", lambda r: _count(r.holes_taken)),
    ("images out of distribution", lambda r: _count(r.images_out_of_distribution or None)),
    ("seconds for an image", lambda r: f"{r.seconds / max(r.images, 1):.2f}" if r.seconds else None),
)
