"""Charts of evaluation reports, several models in one, as PNG. Drawing needs matplotlib (extra ``analysis``)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from labsem.evaluation.report import CertaintyFigures, EvaluationReport, ReliabilityBin, SizeClass

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vP*"
_DPI = 110
_GUIDE = "#9e9e9e"

Reports = Mapping[str, EvaluationReport]


def aji_by_image(reports: Reports) -> bytes | None:
    """AJI+ of every image, each model's from its worst to its best; None without labels."""
    values = {
        name: sorted(row.aji_plus for row in report.rows if row.aji_plus is not None)
        for name, report in reports.items()
    }
    if not any(values.values()):
        return None
    figure, axes = _figure(1)
    for place, (name, known) in enumerate(values.items()):
        mean = f"{np.mean(known):.3f}" if known else "-"
        axes[0].plot(
            np.arange(1, len(known) + 1),
            known,
            _MARKERS[place % len(_MARKERS)],
            color=_colour(place),
            markersize=4,
            label=f"{name}: mean {mean}",
        )
    axes[0].set(xlabel="image, by its rank", ylabel="AJI+", ylim=(-0.02, 1.02))
    return _png(figure)


def size_classes(reports: Reports) -> bytes | None:
    """Recall and precision at IoU 0.5 by diameter; None without labels."""
    known = {name: report.sizes for name, report in reports.items() if report.sizes}
    if not known:
        return None
    figure, axes = _figure(2)
    first = next(iter(known.values()))
    for panel, what in zip(axes, ("recall", "precision"), strict=True):
        for place, (name, sizes) in enumerate(known.items()):
            drawn = [(k, getattr(size, what)) for k, size in enumerate(sizes)]
            drawn = [(k, value) for k, value in drawn if value is not None]
            panel.plot(
                [k for k, _ in drawn],
                [value for _, value in drawn],
                "-" + _MARKERS[place % len(_MARKERS)],
                color=_colour(place),
                label=name,
            )
        panel.set_xticks(
            range(len(first)), [f"{_range(size)}\nn {size.particles}" for size in first], fontsize=8
        )
        panel.set(ylim=(-0.02, 1.02), ylabel=what, xlabel="diameter, px; labelled particles")
    return _png(figure)


def reliability(reports: Reports) -> bytes | None:
    """What confidence and mask quality promise against what comes, in bins of equal mass; None without either."""
    panels: dict[str, dict[str, tuple[tuple[ReliabilityBin, ...], float | None, float | None]]] = {
        "confidence: share of certain labels": {
            name: (report.certainty.reliability, report.ece, report.ece_floor)
            for name, report in reports.items()
            if report.certainty is not None
        },
        "mask quality: share of masks at IoU 0.5": {
            name: (
                report.mask_quality_reliability,
                report.mask_quality_ece,
                report.mask_quality_ece_floor,
            )
            for name, report in reports.items()
            if report.mask_quality_reliability
        },
    }
    panels = {title: known for title, known in panels.items() if known}
    if not panels:
        return None
    figure, axes = _figure(len(panels), height=4.4)
    for panel, (title, known) in zip(axes, panels.items(), strict=True):
        panel.plot([0, 1], [0, 1], color=_GUIDE, linewidth=1, linestyle="--")
        for place, (name, (bins, error, floor)) in enumerate(known.items()):
            panel.plot(
                [one.mean_probability for one in bins],
                [one.share for one in bins],
                "-" + _MARKERS[place % len(_MARKERS)],
                color=_colour(place),
                markersize=4,
                label=f"{name}: ECE {error:.3f}, floor {floor:.3f}, n {sum(one.particles for one in bins)}",
            )
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="promised", ylabel="came", aspect="equal")
        panel.set_title(title, loc="left", fontsize=10)
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    return _png(figure, legend=False)


def confidence_histograms(reports: Reports) -> bytes | None:
    """Confidence of particles whose labels are certain, and uncertain, one panel each; None where none was judged."""
    panels: list[tuple[str, CertaintyFigures]] = []
    for name, report in reports.items():
        for what, figures in (("matched particles", report.certainty), ("labels' boxes", report.true_boxes)):
            if figures is not None:
                panels.append((f"{name}, {what}", figures))
    if not panels:
        return None
    figure, axes = _figure(len(panels), columns=2)
    for panel, (title, figures) in zip(axes, panels, strict=True):
        classes = len(figures.histogram_certain)
        left = np.arange(classes) / classes
        for counts, word, colour in (
            (figures.histogram_certain, "certain", COLOURS[0]),
            (figures.histogram_uncertain, "uncertain", COLOURS[1]),
        ):
            total = sum(counts)
            panel.bar(
                left,
                [100 * count / max(total, 1) for count in counts],
                1 / classes,
                align="edge",
                alpha=0.6,
                color=colour,
                label=f"{word}: {total}",
            )
        panel.set(xlim=(0, 1), xlabel="confidence", ylabel="% of the labels of the word")
        value = "-" if figures.auroc is None else f"{figures.auroc:.3f}"
        panel.set_title(f"{title}: AUROC {value}", loc="left", fontsize=10)
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    return _png(figure, legend=False)


def d50_scatter(reports: Reports) -> bytes | None:
    """D50 of frames of many particles against their labels' D50; None without such a frame."""
    figure, axes = _figure(2, height=4.4)
    drawn: list[float] = []
    for panel, weighting in zip(axes, ("number", "area"), strict=True):
        for place, (name, report) in enumerate(reports.items()):
            least = report.d50.particles_min if report.d50 else 0
            points = [
                (labelled, found)
                for labelled, found, particles in (
                    (
                        getattr(row, f"d50_{weighting}_labelled_px"),
                        getattr(row, f"d50_{weighting}_px"),
                        row.particles or 0,
                    )
                    for row in report.rows
                )
                if labelled is not None and found is not None and particles >= least
            ]
            if points:
                drawn += [value for point in points for value in point]
                panel.plot(
                    *zip(*points, strict=True),
                    _MARKERS[place % len(_MARKERS)],
                    color=_colour(place),
                    markersize=5,
                    label=name,
                )
        panel.set_title(f"by {weighting}", loc="left", fontsize=10)
        panel.set(xlabel="D50 of the labels, px", ylabel="D50 found, px", xscale="log", yscale="log")
    if not drawn:
        return None
    line = np.array([min(drawn) * 0.9, max(drawn) * 1.1])
    for panel in axes:
        panel.plot(line, line, color=_GUIDE, linewidth=1)
        panel.fill_between(line, line * 0.95, line * 1.05, color=_GUIDE, alpha=0.25, linewidth=0)
        panel.set(xlim=line, ylim=line, aspect="equal")
        for axis in (panel.xaxis, panel.yaxis):
            _plain_ticks(axis)
    return _png(figure)


def _figure(panels: int, *, columns: int = 2, height: float = 3.6) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(panels, columns)
    rows = -(-panels // columns)
    figure = Figure(figsize=(9.6, height * rows), dpi=_DPI, layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel().tolist()
    for spare in axes[panels:]:
        spare.remove()
    for panel in axes[:panels]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    return figure, axes[:panels]


def _png(figure: Figure, *, legend: bool = True) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if legend:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _range(size: SizeClass) -> str:
    return f"{size.from_px:g}+" if size.to_px is None else f"{size.from_px:g}-{size.to_px:g}"


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
