"""The page of an evaluation: figures side by side, charts, and the images that went best and worst."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labsem import __version__
from labsem.evaluation import charts
from labsem.evaluation.measure import ImageResult
from labsem.evaluation.overlays import COLOURS, draw_errors, encode_jpeg
from labsem.evaluation.report import Comparison
from labsem.evaluation.table import figure_rows
from labsem.frames import write_atomically
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage

PAGE = "index.html"
OVERLAYS = "overlays"
SHOWN = 3
"""So many of the best and of the worst images are in the page itself; the others lie beside it."""

_CHARTS = (
    ("AJI+ by image", charts.aji_by_image, ""),
    ("Particles found, by size", charts.size_classes, "Matched at IoU 0.5."),
    ("Calibration", charts.reliability, "The floor is what a perfectly calibrated model shows by chance."),
    ("Confidence of certain and of uncertain labels", charts.confidence_histograms, ""),
    ("D50 of frames with many particles", charts.d50_scatter, "The band is 5 % to either side."),
)


class OverlayWriter:
    """Draws each image as it is measured: give :meth:`observe` to :func:`labsem.evaluation.measure_images`.

    Parameters
    ----------
    folder
        Of the page; pictures go into ``overlays/MODEL/IMAGE.jpg`` under it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[tuple[str, str], str] = {}

    def observe(
        self, image: LabelledImage, model: str, segmentation: Segmentation, result: ImageResult
    ) -> None:
        """Write one picture."""
        path = Path(OVERLAYS, _plain(model), f"{_plain(image.id)}.jpg")
        (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / path, encode_jpeg(draw_errors(image, segmentation, result)))
        self._written[model, image.id] = path.as_posix()

    def path(self, model: str, image_id: str) -> str | None:
        """Of a picture, relative to the page."""
        return self._written.get((model, image_id))


def write_page(folder: Path, comparison: Comparison, overlays: OverlayWriter, title: str) -> Path:
    """Write ``index.html``, which needs nothing from elsewhere; links to the other pictures are relative.

    Parameters
    ----------
    folder
        Made where it does not exist.
    overlays
        That observed the measuring.
    title
        What was evaluated: the data set and its part.

    Returns
    -------
    Path of the page.
    """
    from jinja2 import Environment, StrictUndefined

    folder.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    environment.filters["url"] = quote
    source = files("labsem.evaluation").joinpath("page.html.j2").read_text("utf-8")
    drawn = ((heading, draw(comparison.models), note) for heading, draw, note in _CHARTS)
    page = environment.from_string(source).render(
        version=__version__,
        title=title,
        models=comparison.models,
        simulators=sorted({v for report in comparison.models.values() for v in report.simulator_versions}),
        figures=figure_rows(comparison.models),
        differences=[
            (each.first, each.second, what, getattr(each, name))
            for each in comparison.differences
            for name, what in _DIFFERENCES
            if getattr(each, name) is not None
        ],
        charts=[(heading, _embedded(png, "png"), note) for heading, png, note in drawn if png is not None],
        shown=[(name, *_best_and_worst(folder, comparison, overlays, name)) for name in comparison.models],
        colours={name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in COLOURS.items()},
        rows=_rows(comparison, overlays),
    )
    write_atomically(folder / PAGE, page.encode())
    return folder / PAGE


_DIFFERENCES = (
    ("aji_plus", "AJI+"),
    ("f1", "F1 at IoU 0.5"),
    ("auroc", "AUROC of confidence, matched particles"),
    ("auroc_true_boxes", "AUROC of confidence, labels' boxes"),
)


def _best_and_worst(
    folder: Path, comparison: Comparison, overlays: OverlayWriter, model: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    known = sorted(
        (row for row in comparison.models[model].rows if row.aji_plus is not None),
        key=lambda row: row.aji_plus or 0.0,
    )
    count = min(SHOWN, len(known) // 2) or len(known)
    pictures: list[list[dict[str, Any]]] = []
    for rows in (known[-count:][::-1], known[:count] if len(known) > 1 else []):
        found = [(row, overlays.path(model, row.id)) for row in rows]
        pictures.append(
            [
                {
                    "row": row,
                    "path": path,
                    "source": _embedded((folder / path).read_bytes(), "jpeg"),
                }
                for row, path in found
                if path is not None
            ]
        )
    return pictures[0], pictures[1]


def _rows(comparison: Comparison, overlays: OverlayWriter) -> list[dict[str, Any]]:
    models = list(comparison.models)
    together = zip(*(comparison.models[name].rows for name in models), strict=True)
    return [
        {
            "id": rows[0].id,
            "group": rows[0].group,
            "regime": rows[0].regime.value,
            "particles": rows[0].particles,
            "models": [
                {"row": row, "path": overlays.path(name, row.id)}
                for name, row in zip(models, rows, strict=True)
            ],
        }
        for rows in together
    ]


def _embedded(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
