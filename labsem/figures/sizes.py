"""The size distribution of a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsem.frames import write_atomically
from labsem.morphology import weighted_quantile

_BLUE, _GREY = "#1565c0", "#9e9e9e"


def draw_sizes(
    ecd: NDArray[np.float64],
    certain: NDArray[np.bool_],
    path: str | Path,
    *,
    weights: NDArray[np.float64] | None = None,
    unit: str = "µm",
    title: str = "",
    detection_floor: float | None = None,
) -> None:
    """Write a PNG: number histogram of the equivalent circular diameter, certain and all, and its cumulative curve.

    Diameters are in ``unit``, of the particles not cut by the edge, ``weights`` their edge-correction weights.
    ``detection_floor`` in the same unit is drawn as a line: sizes left of it are missing, not absent.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), dpi=120, layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set_xlabel(f"equivalent circular diameter, {unit}")
    axes.set_ylabel("share of particles by number, %")
    weight = np.ones(len(ecd)) if weights is None else weights
    kept = (weight > 0) & (ecd > 0)
    sizes, weight, sure = ecd[kept], weight[kept], certain[kept]
    if title:
        axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=11)
    if len(sizes):
        share = 100 * weight / weight.sum()
        bins = _bins(sizes)
        axes.hist(sizes, bins, weights=share, color=_GREY, label=f"all ({len(sizes)})")
        axes.hist(sizes[sure], bins, weights=share[sure], color=_BLUE, label=f"certain ({int(sure.sum())})")
        axes.set_xscale("log")
        median = float(weighted_quantile(sizes, weight, 0.5))
        axes.axvline(median, color="black", linewidth=1.2, label=f"D50, number, all: {median:.3g} {unit}")
        cumulative = axes.twinx()
        order = np.argsort(sizes)
        cumulative.plot(sizes[order], np.cumsum(share[order]), color="black", linewidth=1, linestyle=":")
        cumulative.set_ylim(0, 102)
        cumulative.set_ylabel("cumulative, % (dotted)")
        if detection_floor is not None:
            axes.axvline(
                detection_floor,
                color="#c62828",
                linewidth=1.2,
                linestyle="--",
                label=f"detection floor: {detection_floor:.3g} {unit}",
            )
        _plain_ticks(axes)
        figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=4)
    else:
        axes.text(0.5, 0.5, "no particles", transform=axes.transAxes, ha="center", va="center", fontsize=14)
        axes.set_xticks([])
        axes.set_yticks([])
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    write_atomically(path, buffer.getvalue())


def _bins(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(sizes.min()) * 0.98, float(sizes.max()) * 1.02
    edges: NDArray[np.float64] = np.geomspace(low, high, int(np.clip(np.sqrt(len(sizes)) * 1.5, 6, 40)) + 1)
    return edges


def _plain_ticks(axes: Any) -> None:
    """1, 2, 5 steps written as plain numbers, where a logarithmic axis would write powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
