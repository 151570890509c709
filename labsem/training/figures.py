"""Pictures of the training report, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.certainty import calibration_floor, expected_calibration_error, reliability

_BLUE, _ORANGE, _GREEN, _GREY = "#1565c0", "#e65100", "#2e7d32", "#9e9e9e"
_CLASSES = 20


def loss_curves(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Every loss against the step, as a running mean, from the rows of ``losses.csv``."""
    names = [name for name in rows[0] if name.startswith("loss_")]
    step = np.array([int(row["step"]) for row in rows])
    window = max(1, len(rows) // 60)
    figure, axes = _axes("step", "loss (running mean)")
    for name in names:
        values = np.array([float(row[name] or "nan") for row in rows])
        axes.plot(
            _means(step, window), _means(values, window), label=name.removeprefix("loss_").replace("_", " ")
        )
    axes.set_yscale("log")
    axes.legend(fontsize=8, ncols=2)
    return _png(figure)


def validation_curve(rows: Sequence[Mapping[str, str]]) -> bytes:
    """AJI+ and F1 of the looks at validation images, or their score where that is all there is."""
    step = [int(row["step"]) for row in rows]
    figure, axes = _axes("step", "on validation images")
    names = ("aji_plus", "f1") if rows[0]["aji_plus"] else ("score",)
    for name, colour in zip(names, (_BLUE, _ORANGE), strict=False):
        axes.plot(
            step, [float(row[name]) for row in rows], "o-", color=colour, label=name.replace("_plus", "+")
        )
    axes.legend()
    return _png(figure)


def aji_by_image(values: NDArray[np.float64], particles: NDArray[np.int64]) -> bytes:
    """AJI+ of each image, lowest first; the point's size is its number of particles."""
    order = np.argsort(values, kind="stable")
    figure, axes = _axes("image, by rank", "AJI+")
    axes.scatter(
        np.arange(len(values)), values[order], s=8 + 4 * np.sqrt(particles[order]), color=_BLUE, alpha=0.6
    )
    axes.axhline(float(values.mean()), color=_GREY, linestyle="--")
    axes.text(0, float(values.mean()), f" mean {values.mean():.3f}", va="bottom")
    axes.set_ylim(0, 1)
    return _png(figure)


def reliability_diagram(probabilities: NDArray[np.float64], outcomes: NDArray[np.bool_], what: str) -> bytes:
    """Share of outcomes against the mean probability in bins of equal mass, with the error and its floor."""
    figure, axes = _axes(f"mean {what}", "share that came true", square=True)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--")
    numbers, means, shares = (
        np.array(column) for column in zip(*reliability(probabilities, outcomes), strict=True)
    )
    spread = 1.96 * np.sqrt(shares * (1 - shares) / numbers)
    axes.errorbar(means, shares, yerr=spread, fmt="o-", color=_BLUE, capsize=2)
    error, floor = expected_calibration_error(probabilities, outcomes), calibration_floor(probabilities)
    axes.set_title(f"calibration error {error:.3f} (perfect: {floor:.3f}), n = {len(outcomes)}", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return _png(figure)


def confidence_histogram(confidence: NDArray[np.float64], certain: NDArray[np.bool_]) -> bytes:
    """Confidence of particles with certain and with uncertain labels (the paper's figure 5a)."""
    figure, axes = _axes("confidence", "share of the particles of each kind, %")
    edges = np.linspace(0, 1, _CLASSES + 1)
    for chosen, colour, name in ((certain, _GREEN, "certain"), (~certain, _ORANGE, "uncertain")):
        if chosen.any():
            weights = np.full(int(chosen.sum()), 100 / chosen.sum())
            axes.hist(
                confidence[chosen],
                edges,
                weights=weights,
                color=colour,
                alpha=0.6,
                label=f"{name} label ({chosen.sum()})",
            )
    axes.axvline(0.5, color=_GREY, linestyle="--")
    axes.legend()
    return _png(figure)


def learning_curve(
    shares: Sequence[float], means: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> bytes:
    """AJI+ on the same validation images against the share of the images that were learned from."""
    figure, axes = _axes("images learned from, %", "AJI+ on validation images")
    low, high = (np.array(side) for side in zip(*intervals, strict=True))
    centre = np.array(means)
    axes.errorbar(
        100 * np.array(shares),
        centre,
        yerr=np.stack([np.maximum(centre - low, 0), np.maximum(high - centre, 0)]),
        fmt="o-",
        color=_BLUE,
        capsize=3,
    )
    axes.set_xticks([round(100 * share) for share in shares])
    return _png(figure)


def _axes(x: str, y: str, *, square: bool = False) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.6) if square else (7, 4.2), dpi=110, layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _means(values: NDArray[Any], window: int) -> NDArray[np.float64]:
    whole = len(values) // window * window
    means: NDArray[np.float64] = values[:whole].reshape(-1, window).mean(axis=1)
    return means
