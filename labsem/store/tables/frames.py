"""Tables of what was seen: samples, instruments, frames, analyses, particles, masks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from labsem.store.tables.base import Base, Name, RowId, Sha256Text


class SampleRow(Base):
    """A sample and whether more of it is expected; its row is the lock under which it is revised."""

    __tablename__ = "samples"
    __table_args__ = (Index(None, "state", "settle_at"),)

    sample_id: Mapped[str] = mapped_column(Name, primary_key=True)
    sample_name: Mapped[str | None] = mapped_column(String(200))
    labels: Mapped[list[str]]
    revision: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(16))
    settle_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class SummaryRow(Base):
    """The latest summary of a sample."""

    __tablename__ = "summaries"

    sample_id: Mapped[str] = mapped_column(Name, ForeignKey("samples.sample_id"), primary_key=True)
    revision: Mapped[int]
    payload: Mapped[bytes]
    at: Mapped[datetime]


class InstrumentRow(Base):
    """An instrument as its gateway last told of it."""

    __tablename__ = "instruments"

    instrument_id: Mapped[str] = mapped_column(Name, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    driver: Mapped[str | None] = mapped_column(String(64))
    can_act: Mapped[bool] = mapped_column(default=False)
    status: Mapped[bytes | None]
    status_at: Mapped[datetime | None]
    held_by: Mapped[str | None] = mapped_column(String(200))
    held_until: Mapped[datetime | None]
    scale_relative_uncertainty: Mapped[float | None]
    scale_verified: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class FrameRow(Base):
    """A frame, with the event that told of it as it came."""

    __tablename__ = "frames"
    __table_args__ = (Index(None, "sample_id", "acquired_at"),)

    frame_id: Mapped[UUID] = mapped_column(primary_key=True)
    sample_id: Mapped[str] = mapped_column(Name, ForeignKey("samples.sample_id"))
    instrument_id: Mapped[str] = mapped_column(Name, ForeignKey("instruments.instrument_id"), index=True)
    stream: Mapped[str] = mapped_column(Name)
    event: Mapped[bytes]
    image_root: Mapped[str] = mapped_column(Name)
    path: Mapped[str] = mapped_column(String(1024))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Sha256Text, index=True)
    acquired_at: Mapped[datetime]
    position_x_mm: Mapped[float | None]
    position_y_mm: Mapped[float | None]
    scan_rotation_deg: Mapped[float | None]
    act_id: Mapped[UUID | None] = mapped_column(index=True)
    act_index: Mapped[int | None]
    superseded_by: Mapped[UUID | None] = mapped_column(ForeignKey("frames.frame_id"))
    recorded_at: Mapped[datetime]


class ModelRow(Base):
    """Weights behind a number, by their hash."""

    __tablename__ = "models"

    sha256: Mapped[str] = mapped_column(Sha256Text, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any] | None]
    registered_at: Mapped[datetime]


class AnalysisRow(Base):
    """A frame x a model x settings, never overwritten; one of a frame's analyses is current.

    ``analysis_no`` is the short key that each particle repeats.
    """

    __tablename__ = "analyses"
    __table_args__ = (
        UniqueConstraint(
            "frame_id", "model_sha256", "settings_sha256", "code_version", name="uq_analyses_identity"
        ),
        Index(
            "uq_analyses_current",
            "frame_id",
            unique=True,
            sqlite_where=text("current"),
            postgresql_where=text("current"),
        ),
    )

    analysis_no: Mapped[int] = mapped_column(RowId, primary_key=True)
    analysis_id: Mapped[UUID] = mapped_column(unique=True)
    frame_id: Mapped[UUID] = mapped_column(ForeignKey("frames.frame_id", ondelete="CASCADE"))
    model_sha256: Mapped[str] = mapped_column(Sha256Text, ForeignKey("models.sha256"))
    settings: Mapped[dict[str, Any]]
    settings_sha256: Mapped[str] = mapped_column(Sha256Text)
    code_version: Mapped[str] = mapped_column(String(64))
    current: Mapped[bool]
    regime: Mapped[str] = mapped_column(String(16))
    pixel_size_nm: Mapped[float | None]
    hfw_um: Mapped[float | None]
    particle_count: Mapped[int]
    uncertain_fraction: Mapped[float | None]
    d50_number_all_um: Mapped[float | None]
    decision: Mapped[str] = mapped_column(String(16))
    summary: Mapped[bytes]
    analysed_at: Mapped[datetime]


class ParticleRow(Base):
    """One particle of an analysis: numbers only, lengths in pixels (micrometres follow from the analysis)."""

    __tablename__ = "particles"
    __table_args__ = ({"sqlite_with_rowid": False},)

    analysis_no: Mapped[int] = mapped_column(
        RowId, ForeignKey("analyses.analysis_no", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    label: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    y0: Mapped[int]
    x0: Mapped[int]
    y1: Mapped[int]
    x1: Mapped[int]
    centroid_x_px: Mapped[float]
    centroid_y_px: Mapped[float]
    area_px: Mapped[float]
    area_full_px: Mapped[float]
    ecd_px: Mapped[float]
    feret_max_px: Mapped[float | None]
    feret_min_px: Mapped[float | None]
    perimeter_px: Mapped[float | None]
    aspect_ratio: Mapped[float | None]
    circularity_iso: Mapped[float | None]
    form_factor: Mapped[float | None]
    solidity: Mapped[float | None]
    convexity: Mapped[float | None]
    orientation_deg: Mapped[float | None]
    objectness: Mapped[float]
    confidence: Mapped[float]
    mask_quality: Mapped[float]
    certain: Mapped[bool]
    cut_by_edge: Mapped[bool]
    edge_weight: Mapped[float]


class AnalysisMaskRow(Base):
    """All masks of an analysis in one blob (see :mod:`labsem.store.masks`)."""

    __tablename__ = "analysis_masks"

    analysis_no: Mapped[int] = mapped_column(
        RowId, ForeignKey("analyses.analysis_no", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    blob: Mapped[bytes]
