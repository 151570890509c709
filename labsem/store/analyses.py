"""Analyses: a frame x a model x settings, with particles and masks, never overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Boolean, Integer, insert, select, update
from sqlalchemy.orm import Session

from labsem.segmentation import Segmentation
from labsem.store import clock, instruments, samples
from labsem.store.errors import NotFoundError
from labsem.store.masks import decode_masks, encode_masks
from labsem.store.tables import AnalysisMaskRow, AnalysisRow, FrameRow, ModelRow, ParticleRow
from labsem.store.writing import ROW_LOCK, insert_missing
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology, ModelReference

_COLUMNS = {column.name: column for column in ParticleRow.__table__.columns if column.name != "analysis_no"}
PARTICLE_COLUMNS = tuple(_COLUMNS)
"""Stored numbers of a particle; lengths and areas in pixels, since a scale may be corrected later."""

_LENGTHS = ("ecd", "feret_max", "feret_min", "perimeter")
_AREAS = ("area", "area_full")


def register_model(
    session: Session, model: ModelReference, *, manifest: Mapping[str, Any] | None = None
) -> None:
    """Make the weights behind numbers known, by their hash; once is enough."""
    insert_missing(
        session,
        ModelRow,
        {
            "sha256": model.sha256,
            "name": model.name,
            "version": model.version,
            "manifest": None if manifest is None else dict(manifest),
            "registered_at": clock.now(session),
        },
    )


def record_frame(session: Session, event: ImageAcquired, *, payload: bytes, stream: str) -> None:
    """Store a frame, with its sample and instrument where they are missing; once is enough.

    ``payload`` is the event as it came.
    """
    samples.ensure(session, event.sample_id)
    instruments.ensure(session, event.instrument_id)
    insert_missing(
        session,
        FrameRow,
        {
            "frame_id": event.frame_id,
            "sample_id": event.sample_id,
            "instrument_id": event.instrument_id,
            "stream": stream,
            "event": payload,
            "image_root": event.image_root,
            "path": event.path,
            "size_bytes": event.size_bytes,
            "sha256": event.sha256,
            "acquired_at": event.acquired_at,
            "position_x_mm": event.position_x_mm,
            "position_y_mm": event.position_y_mm,
            "scan_rotation_deg": event.scan_rotation_deg,
            "act_id": event.act_id,
            "act_index": event.index,
            "recorded_at": clock.now(session),
        },
    )


def record_analysis(
    session: Session,
    *,
    event: ImageAcquired,
    payload: bytes,
    stream: str,
    morphology: FrameMorphology,
    particles: Mapping[str, NDArray[Any]],
    segmentation: Segmentation,
    settings: Mapping[str, Any],
    code_version: str,
) -> bool:
    """Store a frame with an analysis that becomes its current one; earlier ones stay.

    Parameters
    ----------
    event, payload, stream
        The frame's event, as it came, and from where.
    particles
        Arrays of equal length by name, those of :data:`PARTICLE_COLUMNS`; lengths in micrometres are not stored.
    settings
        What the numbers depend on beside frame and model; becomes part of the analysis's identity.

    Returns
    -------
    bool
        False where this frame was analysed before by this model, settings and code version: nothing is stored.

    Raises
    ------
    ValueError
        Where a column of the particles is missing.
    """
    register_model(session, morphology.model)
    record_frame(session, event, payload=payload, stream=stream)
    digest = settings_sha256(settings)
    frame = session.get_one(FrameRow, event.frame_id, with_for_update=ROW_LOCK)
    same = select(AnalysisRow.analysis_no).where(
        AnalysisRow.frame_id == frame.frame_id,
        AnalysisRow.model_sha256 == morphology.model.sha256,
        AnalysisRow.settings_sha256 == digest,
        AnalysisRow.code_version == code_version,
    )
    if session.execute(same).first() is not None:
        return False
    session.execute(
        update(AnalysisRow)
        .where(AnalysisRow.frame_id == frame.frame_id, AnalysisRow.current)
        .values(current=False)
    )
    row = AnalysisRow(
        analysis_id=morphology.analysis_id,
        frame_id=frame.frame_id,
        model_sha256=morphology.model.sha256,
        settings=json.loads(_canonical(settings)),
        settings_sha256=digest,
        code_version=code_version,
        current=True,
        regime=morphology.regime.value,
        pixel_size_nm=morphology.acquisition.pixel_size_nm,
        hfw_um=morphology.acquisition.hfw_um,
        particle_count=morphology.particle_count,
        uncertain_fraction=morphology.uncertain_fraction.value,
        d50_number_all_um=morphology.d50_number_all_um,
        decision=morphology.decision.kind,
        summary=morphology.to_bytes(),
        analysed_at=morphology.analysed_at,
    )
    session.add(row)
    session.flush()
    rows = _particle_rows(row.analysis_no, particles)
    if rows:
        session.execute(insert(ParticleRow), rows)
    session.add(AnalysisMaskRow(analysis_no=row.analysis_no, blob=encode_masks(segmentation)))
    session.flush()
    return True


def supersede(session: Session, frame_id: UUID, by: UUID) -> None:
    """Note that a frame no longer counts in its sample's statistics, since another shows the same place better.

    Raises
    ------
    NotFoundError
        Where either frame is unknown.
    """
    for each in (frame_id, by):
        if session.get(FrameRow, each) is None:
            raise unknown_frame(each)
    session.execute(update(FrameRow).where(FrameRow.frame_id == frame_id).values(superseded_by=by))


def current_analysis(session: Session, frame_id: UUID) -> AnalysisRow:
    """The analysis of a frame that counts.

    Raises
    ------
    NotFoundError
        Where the frame is unknown.
    """
    row = session.scalars(
        select(AnalysisRow).where(AnalysisRow.frame_id == frame_id, AnalysisRow.current)
    ).one_or_none()
    if row is None:
        raise unknown_frame(frame_id)
    return row


def particles(session: Session, analysis: AnalysisRow) -> dict[str, NDArray[Any]]:
    """Particles of an analysis as arrays in order of their labels; NaN where a number is null.

    Beside :data:`PARTICLE_COLUMNS`, lengths and areas in micrometres under the same names with ``_um`` and
    ``_um2``, NaN without a scale.
    """
    table = ParticleRow.__table__
    found = session.execute(
        select(*_COLUMNS.values()).where(table.c.analysis_no == analysis.analysis_no).order_by(table.c.label)
    ).all()
    columns = list(zip(*found, strict=True)) if found else [()] * len(_COLUMNS)
    arrays = {
        name: _array(column, values) for (name, column), values in zip(_COLUMNS.items(), columns, strict=True)
    }
    scale = np.nan if analysis.pixel_size_nm is None else analysis.pixel_size_nm / 1000.0
    for name in _LENGTHS:
        arrays[f"{name}_um"] = arrays[f"{name}_px"] * scale
    for name in _AREAS:
        arrays[f"{name}_um2"] = arrays[f"{name}_px"] * scale**2
    return arrays


def segmentation(session: Session, frame_id: UUID) -> Segmentation:
    """Masks of a frame's current analysis, exact to the pixel.

    Raises
    ------
    NotFoundError
        Where the frame is unknown.
    """
    row = session.get_one(AnalysisMaskRow, current_analysis(session, frame_id).analysis_no)
    return decode_masks(row.blob)


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """Hash of settings, whatever the order of their names."""
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()


def unknown_frame(frame_id: UUID) -> NotFoundError:
    """The error for a frame without a row."""
    return NotFoundError(
        f"frame {frame_id} is not known or not analysed yet; labsem frames list shows those that are"
    )


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _particle_rows(analysis_no: int, given: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    missing = [name for name in PARTICLE_COLUMNS if name not in given]
    if missing:
        raise ValueError(f"particles lack the columns {', '.join(missing)}; give a ParticleTable's columns()")
    lists = [_values(column, np.asarray(given[name])) for name, column in _COLUMNS.items()]
    return [
        {"analysis_no": analysis_no, **dict(zip(_COLUMNS, values, strict=True))}
        for values in zip(*lists, strict=True)
    ]


def _values(column: Any, array: NDArray[Any]) -> list[Any]:
    """Plain Python numbers, as the drivers want them; NaN is null."""
    if isinstance(column.type, Boolean | Integer):
        return list(array.tolist())
    numbers = array.astype(np.float64)
    return [None if np.isnan(number) else number for number in numbers.tolist()]


def _array(column: Any, values: tuple[Any, ...]) -> NDArray[Any]:
    if isinstance(column.type, Boolean):
        return np.array(values, dtype=np.bool_)
    if isinstance(column.type, Integer):
        return np.array(values, dtype=np.int64)
    return np.array(values, dtype=np.float64)  # None becomes NaN
