"""One frame: read, segment, measure, write its files."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from labsem import __version__
from labsem.figures import draw_overlay, write_label_tiff, write_thumbnail
from labsem.frames import (
    InvalidFrameError,
    ReadLimits,
    read_frame,
    sha256_of_file,
    sidecar_path,
    write_atomically,
)
from labsem.morphology import measure_particles, summarize_frame
from labsem.regimes import route
from services.analyze.summary import FrameSummary

if TYPE_CHECKING:
    from labsem.frames import Frame
    from labsem.morphology import ParticleTable
    from schemas.morphology import ModelReference, Regime
    from services.analyze.options import AnalyzeOptions
    from services.segmenters import Segmenter

OUTPUTS = {
    "overlay": "overlays/{}.png",
    "thumbnail": "thumbnails/{}.png",
    "particles": "particles/{}.csv",
    "labels": "labels/{}.ome.tif",
    "summary": "summaries/{}.json",
}
"""Kind of file -> where it lies under the output folder; the summary is written last and says that all is there."""


def analyze_frame(
    path: Path, name: str, out: Path, segmenter: Segmenter, options: AnalyzeOptions
) -> FrameSummary:
    """Analyse one frame and write its overlay, thumbnail, particles, label image and summary under ``out``.

    Raises
    ------
    FrameError
        Where the file cannot be analysed.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        frame = read_frame(
            path,
            limits=ReadLimits.from_settings(options.reading),
            pixel_size_nm=options.pixel_size_nm,
            hfw_um=options.hfw_um,
            display_width_m=options.models.display_width_m,
        )
        digest = sha256_of_file(path)
    regime = frame_regime(frame, options)
    with _timed(seconds, "segmentation"):
        segmentation = segmenter.segment(frame.pixels, regime)
    floor_px = segmenter.detection_floor_px(regime)
    with _timed(seconds, "measurement"):
        table = measure_particles(segmentation, frame.pixel_size_nm)
        table = table.select(_within(table, path, options))
        numbers = summarize_frame(
            table,
            frame.pixels,
            detection_floor_px=floor_px,
            out_of_distribution=segmentation.out_of_distribution,
            covered=segmentation.label_image > 0,
        )
    outputs = {kind: pattern.format(name) for kind, pattern in OUTPUTS.items()}
    kept = [int(label) for label in table.label]
    with _timed(seconds, "writing"):
        for target in outputs.values():
            (out / target).parent.mkdir(parents=True, exist_ok=True)
        caption = f"{path.name} · {len(table)} particles · {regime.value}"
        draw_overlay(
            frame.pixels,
            segmentation,
            frame.pixel_size_nm,
            out / outputs["overlay"],
            caption=caption,
            labels=kept,
        )
        write_thumbnail(frame.pixels, out / outputs["thumbnail"], segmentation=segmentation)
        write_label_tiff(segmentation, frame.pixel_size_nm, out / outputs["labels"], labels=kept)
        write_atomically(out / outputs["particles"], particles_csv(table).encode())
    summary = FrameSummary(
        name=name,
        path=str(path),
        sha256=digest,
        sidecar_sha256=_sidecar_sha256(path),
        options=options.identity(),
        code_version=__version__,
        model=segmenter.model(regime),
        regime=regime,
        outputs=outputs,
        acquisition=frame.acquisition,
        scale_source=frame.metadata.scale_source,
        instrument=frame.metadata.instrument,
        acquired_at=frame.metadata.acquired_at,
        sample_name=frame.metadata.sample_name,
        notes=frame.notes,
        databar_rows=frame.databar_rows,
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        **numbers.fields(),
    )
    write_atomically(out / outputs["summary"], summary.model_dump_json(indent=2).encode())
    return summary


def frame_regime(frame: Frame, options: AnalyzeOptions) -> Regime:
    """The regime that the options name, else that of the frame's magnification."""
    if options.regime is not None:
        return options.regime
    return route(
        frame.acquisition,
        display_width_m=options.models.display_width_m,
        split=options.models.magnification_split,
    )


def finished(
    path: Path, name: str, out: Path, segmenter: Segmenter, options: AnalyzeOptions
) -> FrameSummary | None:
    """The summary of an earlier run, where file, options, model and version are the same and no output is missing."""
    try:
        summary = FrameSummary.model_validate_json((out / OUTPUTS["summary"].format(name)).read_bytes())
    except (OSError, ValidationError):
        return None
    same = (
        summary.path == str(path)
        and summary.options == options.identity()
        and summary.code_version == __version__
        and _same_model(summary.model, segmenter.model(summary.regime))
        and all((out / target).is_file() for target in summary.outputs.values())
        and path.is_file()
        and summary.sha256 == sha256_of_file(path)
        and summary.sidecar_sha256 == _sidecar_sha256(path)
    )
    return summary if same else None


def particles_csv(table: ParticleTable) -> str:
    """The particles of a frame; an empty cell where a number is not known."""
    columns = table.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    cells = [_cells(values) for values in columns.values()]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _cells(values: NDArray[np.generic]) -> list[str]:
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else f"{value:.7g}" for value in values.tolist()]
    return [str(value).lower() if values.dtype.kind == "b" else str(value) for value in values.tolist()]


def _within(table: ParticleTable, path: Path, options: AnalyzeOptions) -> NDArray[np.bool_]:
    keep = np.ones(len(table), np.bool_)
    if options.min_ecd_um is None and options.max_ecd_um is None:
        return keep
    if table.pixel_size_nm is None:
        raise InvalidFrameError(
            path,
            "particles are to be left out by size, and the file names no scale",
            "give --pixel-size-nm or --hfw-um, or leave --min-ecd-um and --max-ecd-um out",
        )
    if options.min_ecd_um is not None:
        keep &= table.ecd_um >= options.min_ecd_um
    if options.max_ecd_um is not None:
        keep &= table.ecd_um <= options.max_ecd_um
    return keep


def _sidecar_sha256(path: Path) -> str | None:
    sidecar = sidecar_path(path)
    return sha256_of_file(sidecar) if sidecar.is_file() else None


def _same_model(one: ModelReference, other: ModelReference) -> bool:
    return (one.name, one.version, one.sha256) == (other.name, other.version, other.sha256)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begun
