"""A frame with the outlines of its particles, drawn at the frame's own resolution."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from labsem.frames import write_atomically
from labsem.segmentation import Segmentation

CERTAIN_COLOUR = "#00e676"
UNCERTAIN_COLOUR = "#ff5252"

_DPI = 100.0
_ROUND = (1.0, 2.0, 5.0)


def draw_overlay(
    pixels: NDArray[Any],
    segmentation: Segmentation,
    pixel_size_nm: float | None,
    path: str | Path,
    *,
    caption: str = "",
    labels: Collection[int] | None = None,
) -> None:
    """Write a PNG: the frame in grey, certain particles outlined green and solid, uncertain ones red and dashed.

    A strip below the frame, so that no pixel is hidden, holds the scale bar (a round length of a tenth to a quarter
    of the width; left out without a scale), the legend with counts, and the caption.

    Parameters
    ----------
    pixels
        (H, W) uint8 or uint16, the frame that was segmented. The picture has the same width.
    labels
        Draw these particles only (values of the label image); all where none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    height, width = pixels.shape
    unit = max(0.55, min(width / 1400, 3.0))
    strip = math.ceil(64 * unit)
    # A little more, since the canvas has the whole pixels of a product that may fall just short of them.
    size_in = ((width + 0.01) / _DPI, (height + strip + 0.01) / _DPI)
    figure = Figure(figsize=size_in, dpi=_DPI, facecolor="none")
    axes = figure.add_axes((0, strip / (height + strip), 1, height / (height + strip)))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.axis("off")
    outlines: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    counts = {True: 0, False: 0}
    for index, certain in enumerate(segmentation.certain.tolist()):
        if labels is not None and index + 1 not in labels:
            continue
        found = visible_outlines(segmentation, index)
        counts[certain] += bool(found)
        outlines[certain].extend(found)
    line = max(1.8, 1.6 * unit)
    axes.add_collection(LineCollection(outlines[True], colors=CERTAIN_COLOUR, linewidths=line * 0.72))
    axes.add_collection(
        LineCollection(
            outlines[False], colors=UNCERTAIN_COLOUR, linewidths=line * 0.72, linestyles=[(0, (4, 2.5))]
        )
    )
    _draw_strip(figure, width, height, strip, unit, pixel_size_nm, counts, caption)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = _laid_on(stretch(pixels), np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
    write_atomically(path, bytes(imagecodecs.png_encode(picture)))


def _laid_on(grey: NDArray[np.uint8], drawing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A transparent drawing (H', W, 4) on a grey frame (H, W) and the black below it, (H', W, 3).

    Matplotlib could show the frame itself, in ten times the memory.
    """
    picture = np.zeros((*drawing.shape[:2], 3), np.uint8)
    picture[: grey.shape[0]] = grey[..., None]
    drawn = np.nonzero(drawing[..., 3])
    alpha = drawing[..., 3][drawn][:, None].astype(np.uint32)
    blend = drawing[..., :3][drawn] * alpha + picture[drawn] * (255 - alpha)
    picture[drawn] = ((blend + 127) // 255).astype(np.uint8)
    return picture


def _draw_strip(
    figure: Any,
    width: int,
    height: int,
    strip: int,
    unit: float,
    pixel_size_nm: float | None,
    counts: dict[bool, int],
    caption: str,
) -> None:
    axes = figure.add_axes((0, 0, 1, strip / (height + strip)))
    axes.set(xlim=(0, width), ylim=(0, strip))
    axes.axis("off")
    size = 15 * unit * 0.72
    low, high = strip * 0.28, strip * 0.72
    margin = 18 * unit
    text: dict[str, Any] = {"color": "white", "fontsize": size, "va": "center"}
    if pixel_size_nm is None:
        axes.text(margin, low, "no scale: sizes in pixels", **text)
    else:
        length_um = round_length(0.25 * width * pixel_size_nm / 1e3)
        bar = length_um * 1e3 / pixel_size_nm
        axes.plot(
            [margin, margin + bar],
            [low, low],
            color="white",
            linewidth=5 * unit * 0.72,
            solid_capstyle="butt",
        )
        axes.text(margin + bar + 10 * unit, low, length_label(length_um), **text)
    axes.text(margin, high, _shorten(caption, int(0.62 * width / (8.5 * unit))), **text)
    for row, certain, colour, dashes, name in (
        (high, True, CERTAIN_COLOUR, "-", "certain"),
        (low, False, UNCERTAIN_COLOUR, (0, (4, 2.5)), "uncertain"),
    ):
        start = width - 185 * unit
        axes.plot(
            [start, start + 40 * unit], [row, row], color=colour, linewidth=3 * unit * 0.72, linestyle=dashes
        )
        axes.text(start + 50 * unit, row, f"{counts[certain]} {name}", **text)


def visible_outlines(segmentation: Segmentation, index: int) -> list[NDArray[np.float64]]:
    """Outlines (M, 2) of x, y in the frame of what is seen of one detection."""
    y0, x0 = (int(value) for value in segmentation.boxes[index][:2])
    padded = np.pad(segmentation.visible_mask(index), 1).astype(np.float32)
    contours: list[NDArray[np.float64]] = find_contours(padded, 0.5)  # type: ignore[no-untyped-call]
    return [contour[:, ::-1] + (x0 - 1, y0 - 1) for contour in contours]


def stretch(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey on 8 bits: 8-bit pixels as they are, 16-bit ones from their 0.1 to their 99.9 percentile."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, (0.1, 99.9))
    levels = (np.arange(1 << 16, dtype=np.float32) - low) * (255 / max(float(high - low), 1.0))
    grey: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)[pixels]
    return grey


def round_length(longest_um: float) -> float:
    """The longest of 1, 2, 5 x 10^n micrometres that is no longer than ``longest_um``."""
    decade = 10.0 ** math.floor(math.log10(longest_um))
    return max(step * decade for step in _ROUND if step * decade <= longest_um * (1 + 1e-9))


def length_label(length_um: float) -> str:
    """A length in the unit that fits it."""
    if length_um >= 1000:
        return f"{length_um / 1000:g} mm"
    return f"{length_um:g} µm" if length_um >= 1 else f"{length_um * 1000:.3g} nm"


def _shorten(text: str, longest: int) -> str:
    # A dollar would start a formula.
    clean = " ".join(text.split()).replace("$", r"\$")
    return clean if len(clean) <= longest else clean[: max(1, longest - 1)] + "…"
