"""The tables of a whole run: ``images.csv``, ``particles.csv`` and the picture of all sizes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from labsem.frames import write_atomically
from services.analyze.run import SIZES_PICTURE, FrameResult, RunReport


def write_tables(report: RunReport) -> None:
    """Write ``images.csv`` (every file, failed ones with their reason) and ``particles.csv`` (all particles)."""
    write_atomically(report.out / "images.csv", images_csv(report).encode())
    write_atomically(report.out / "particles.csv", particles_csv(report).encode())


def images_csv(report: RunReport) -> str:
    """One line for each file. It depends on files, model and options only, not on when or how often the run went."""
    known = next((result.summary.row() for result in report.results if result.summary is not None), {})
    columns = ["name", "path", "status", "error", "remedy", *known]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for result in report.results:
        row = {} if result.summary is None else result.summary.row()
        writer.writerow(
            {
                "name": result.name,
                "path": str(result.path),
                "status": "failed" if result.summary is None else "analysed",
                "error": result.error,
                "remedy": result.remedy,
                **{key: _cell(value) for key, value in row.items()},
            }
        )
    return text.getvalue()


def particles_csv(report: RunReport) -> str:
    """The particles of all frames, each line with its frame's name in front."""
    lines: list[str] = []
    for result in report.analysed:
        header, *rows = _particle_rows(report, result)
        if not lines:
            lines.append(_line(["name", *header]))
        lines.extend(_line([result.name, *row]) for row in rows)
    return "".join(lines)


def write_sizes(report: RunReport) -> None:
    """Write the number distribution of all particles with a scale that no edge cuts; none, where there are none."""
    from labsem.figures import draw_sizes

    ecd, certain, weights = [], [], []
    for result in report.analysed:
        header, *rows = _particle_rows(report, result)
        if result.summary is None or result.summary.acquisition.pixel_size_nm is None:
            continue
        for row in rows:
            particle = dict(zip(header, row, strict=True))
            if particle["cut_by_edge"] == "false":
                ecd.append(float(particle["ecd_um"]))
                certain.append(particle["certain"] == "true")
                weights.append(float(particle["edge_weight"]))
    picture = report.out / SIZES_PICTURE
    if ecd:
        draw_sizes(
            np.array(ecd),
            np.array(certain),
            picture,
            weights=np.array(weights),
            title="All frames with a scale",
        )
    else:
        picture.unlink(missing_ok=True)


def _particle_rows(report: RunReport, result: FrameResult) -> Iterator[list[str]]:
    if result.summary is None:
        return
    with (report.out / result.summary.outputs["particles"]).open(newline="") as file:
        yield from csv.reader(file)


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value)
    return f"{value:.7g}" if isinstance(value, float) else str(value)
