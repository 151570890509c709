"""Tables of what is to be done: acts, the sites they visit, and scheduled jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from labsem.store.tables.base import Base, Name, RowId


class SiteRow(Base):
    """A place of a sample; its row is the lock under which attempts are counted."""

    __tablename__ = "sites"

    site_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    sample_id: Mapped[str] = mapped_column(Name, ForeignKey("samples.sample_id"), index=True)
    instrument_id: Mapped[str] = mapped_column(Name, ForeignKey("instruments.instrument_id"))
    frame_id: Mapped[UUID]
    position_x_mm: Mapped[float | None]
    position_y_mm: Mapped[float | None]
    radius_um: Mapped[float | None]


class ActRow(Base):
    """An act; every transition compares and sets ``state`` and raises ``revision``."""

    __tablename__ = "acts"
    __table_args__ = (
        Index(None, "instrument_id", "state"),
        Index(None, "sample_id", "state"),
    )

    act_id: Mapped[UUID] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(String(16))
    sample_id: Mapped[str] = mapped_column(Name, ForeignKey("samples.sample_id"))
    instrument_id: Mapped[str] = mapped_column(Name, ForeignKey("instruments.instrument_id"))
    site_id: Mapped[int | None] = mapped_column(ForeignKey("sites.site_id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int]
    reasons: Mapped[list[str]]
    parameters: Mapped[dict[str, Any]]
    plan: Mapped[dict[str, Any] | None]
    requested_by: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[UUID | None] = mapped_column(unique=True)
    claim_id: Mapped[UUID | None] = mapped_column(unique=True)
    frame_before: Mapped[UUID | None]
    frame_after: Mapped[UUID | None]
    frames_planned: Mapped[int] = mapped_column(default=1)
    frames_done: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    running_until: Mapped[datetime | None]
    analysis_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[dict[str, Any] | None]
    failure: Mapped[str | None] = mapped_column(Text)
    late_frames: Mapped[list[str]]
    labels: Mapped[list[str]]


class JobRow(Base):
    """A scheduled sweep: when it ran, when it is due, and who runs it now."""

    __tablename__ = "jobs"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    every_s: Mapped[float]
    last_run_at: Mapped[datetime | None]
    next_due_at: Mapped[datetime]
    leased_by: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
