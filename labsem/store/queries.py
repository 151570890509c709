"""Pages that the command line, the request server and the HTTP API show; none changes anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from numpy.typing import NDArray
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from labsem.store import analyses
from labsem.store.acts import to_schema
from labsem.store.samples import condition, open_acts, pending_frames, unknown_sample
from labsem.store.tables import ActRow, AnalysisRow, FrameRow, RejectedRow, SampleRow, SummaryRow
from schemas.acts import Act, ActState
from schemas.base import SampleId, Schema, SourceId, UtcTime
from schemas.morphology import FrameMorphology, Regime, SampleMorphology, SampleState
from schemas.requests import FrameAnswer, HistoryAnswer, HistoryFrame, SamplesAnswer
from schemas.requests import SampleRow as SampleLine


class FrameLine(Schema):
    """One line of the list of frames."""

    frame_id: UUID
    sample_id: SampleId
    instrument_id: SourceId
    acquired_at: UtcTime
    image_root: str
    path: str
    regime: Regime
    hfw_um: float | None
    particle_count: int
    uncertain_fraction: float | None
    d50_number_all_um: float | None
    decision: str
    superseded_by: UUID | None


class RejectedLine(Schema):
    """What could not be processed, why, and what to do."""

    rejected_id: int
    at: UtcTime
    source: str
    code: str
    message: str
    remedy: str
    sample_id: str | None
    image_root: str | None
    path: str | None
    frame_id: UUID | None
    retryable: bool = Field(description="whether labsem frames retry can do anything")
    closed_at: UtcTime | None


@dataclass(frozen=True)
class FrameParticles:
    """A frame's current analysis with its particles (columns as of :func:`labsem.store.analyses.particles`)."""

    frame_id: UUID
    morphology: FrameMorphology
    particles: dict[str, NDArray[Any]]


def samples(session: Session, limit: int = 100, offset: int = 0) -> SamplesAnswer:
    """A page of samples, the newest first."""
    frame = (
        select(
            FrameRow.sample_id,
            func.count().label("frames"),
            func.min(FrameRow.acquired_at).label("first"),
            func.max(FrameRow.acquired_at).label("last"),
        )
        .group_by(FrameRow.sample_id)
        .subquery()
    )
    rows = session.execute(
        select(
            SampleRow,
            frame.c.frames,
            frame.c.first,
            frame.c.last,
            pending_frames(SampleRow.sample_id),
            open_acts(SampleRow.sample_id),
        )
        .outerjoin(frame, frame.c.sample_id == SampleRow.sample_id)
        .order_by(SampleRow.created_at.desc(), SampleRow.sample_id)
        .limit(limit)
        .offset(offset)
    )
    return SamplesAnswer(
        samples=tuple(
            SampleLine(
                sample_id=row.sample_id,
                sample_name=row.sample_name,
                state=SampleState(row.state),
                sample_revision=row.revision,
                frames=frames or 0,
                frames_pending=pending,
                acts_open=open_,
                first_frame_at=first,
                last_frame_at=last,
            )
            for row, frames, first, last, pending, open_ in rows
        ),
        total=session.scalar(select(func.count()).select_from(SampleRow)) or 0,
    )


def history(session: Session, sample_id: str, limit: int = 200, offset: int = 0) -> HistoryAnswer:
    """A sample's summary as it stands now, a page of its frames in order of acquisition, and its acts.

    Raises
    ------
    NotFoundError
        Where the sample is unknown.
    """
    rows = session.execute(
        select(AnalysisRow.summary, FrameRow.superseded_by)
        .join(FrameRow, FrameRow.frame_id == AnalysisRow.frame_id)
        .where(FrameRow.sample_id == sample_id, AnalysisRow.current)
        .order_by(FrameRow.acquired_at, FrameRow.recorded_at, FrameRow.frame_id)
        .limit(limit)
        .offset(offset)
    )
    summary = sample_summary(session, sample_id)
    if summary is None:
        raise unknown_sample(sample_id)
    return HistoryAnswer(
        sample=summary,
        frames=tuple(
            HistoryFrame(morphology=FrameMorphology.read(payload), superseded_by=superseded)
            for payload, superseded in rows
        ),
        frames_total=session.scalar(
            select(func.count()).select_from(FrameRow).where(FrameRow.sample_id == sample_id)
        )
        or 0,
        acts=acts(session, sample_id=sample_id),
        rejected=session.scalar(
            select(func.count()).where(RejectedRow.sample_id == sample_id, RejectedRow.closed_at.is_(None))
        )
        or 0,
    )


def sample_summary(session: Session, sample_id: str) -> SampleMorphology | None:
    """Latest summary, with what is expected of the sample now; None where it is unknown."""
    if session.get(SampleRow, sample_id) is None:
        return None
    now = condition(session, sample_id)
    live: dict[str, Any] = {
        "state": now.state,
        "frames_pending": now.frames_pending,
        "acts_open": now.acts_open,
        "sample_name": now.sample_name,
        "labels": now.labels,
    }
    row = session.get(SummaryRow, sample_id)
    if row is not None:
        return SampleMorphology.read(row.payload).model_copy(update=live)
    return SampleMorphology(sample_id=sample_id, sample_revision=max(now.revision, 1), frames=0, **live)


def frame(session: Session, frame_id: UUID) -> FrameAnswer:
    """A frame with its current analysis.

    Raises
    ------
    NotFoundError
        Where the frame is unknown.
    """
    analysis = analyses.current_analysis(session, frame_id)
    row = session.get_one(FrameRow, frame_id)
    return FrameAnswer(
        morphology=FrameMorphology.read(analysis.summary),
        image_root=row.image_root,
        path=row.path,
        sha256=row.sha256,
        superseded_by=row.superseded_by,
    )


def frames(
    session: Session, *, sample_id: str | None = None, limit: int = 100, offset: int = 0
) -> tuple[FrameLine, ...]:
    """A page of frames, the newest first."""
    query = (
        select(FrameRow, AnalysisRow)
        .join(AnalysisRow, AnalysisRow.frame_id == FrameRow.frame_id)
        .where(AnalysisRow.current)
        .order_by(FrameRow.acquired_at.desc(), FrameRow.recorded_at.desc(), FrameRow.frame_id)
        .limit(limit)
        .offset(offset)
    )
    if sample_id is not None:
        query = query.where(FrameRow.sample_id == sample_id)
    return tuple(
        FrameLine(
            frame_id=row.frame_id,
            sample_id=row.sample_id,
            instrument_id=row.instrument_id,
            acquired_at=row.acquired_at,
            image_root=row.image_root,
            path=row.path,
            regime=Regime(analysis.regime),
            hfw_um=analysis.hfw_um,
            particle_count=analysis.particle_count,
            uncertain_fraction=analysis.uncertain_fraction,
            d50_number_all_um=analysis.d50_number_all_um,
            decision=analysis.decision,
            superseded_by=row.superseded_by,
        )
        for row, analysis in session.execute(query)
    )


def rejected(
    session: Session,
    *,
    sample_id: str | None = None,
    include_closed: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> tuple[RejectedLine, ...]:
    """A page of what could not be processed, the newest first."""
    query = select(RejectedRow).order_by(RejectedRow.rejected_id.desc()).limit(limit).offset(offset)
    if not include_closed:
        query = query.where(RejectedRow.closed_at.is_(None))
    if sample_id is not None:
        query = query.where(RejectedRow.sample_id == sample_id)
    return tuple(
        RejectedLine(
            rejected_id=row.rejected_id,
            at=row.at,
            source=row.source,
            code=row.code,
            message=row.message,
            remedy=row.remedy,
            sample_id=row.sample_id,
            image_root=row.image_root,
            path=row.path,
            frame_id=row.frame_id,
            retryable=row.inbox_id is not None or row.plain,
            closed_at=row.closed_at,
        )
        for row in session.scalars(query)
    )


def acts(
    session: Session,
    *,
    sample_id: str | None = None,
    states: Collection[ActState] = (),
    limit: int = 200,
    offset: int = 0,
) -> tuple[Act, ...]:
    """A page of acts, in the order in which they were asked for."""
    query = select(ActRow).order_by(ActRow.created_at, ActRow.act_id).limit(limit).offset(offset)
    if sample_id is not None:
        query = query.where(ActRow.sample_id == sample_id)
    if states:
        query = query.where(ActRow.state.in_([state.value for state in states]))
    return tuple(to_schema(row) for row in session.scalars(query))


def current_frames(session: Session, sample_id: str) -> tuple[FrameParticles, ...]:
    """Frames that count in a sample's statistics, in order of acquisition, with their particles."""
    rows = session.scalars(
        select(AnalysisRow)
        .join(FrameRow, FrameRow.frame_id == AnalysisRow.frame_id)
        .where(FrameRow.sample_id == sample_id, FrameRow.superseded_by.is_(None), AnalysisRow.current)
        .order_by(FrameRow.acquired_at, FrameRow.recorded_at, FrameRow.frame_id)
    ).all()
    return tuple(
        FrameParticles(row.frame_id, FrameMorphology.read(row.summary), analyses.particles(session, row))
        for row in rows
    )


def earlier_samples(
    session: Session, instrument_id: str, *, before_sample: str, limit: int = 20
) -> tuple[str, ...]:
    """Other samples of an instrument with at least two frames that count, the newest first.

    The variance between their frames stands in for a sample with too few of its own.
    """
    counted = aliased(AnalysisRow)
    query = (
        select(FrameRow.sample_id)
        .join(counted, counted.frame_id == FrameRow.frame_id)
        .where(
            FrameRow.instrument_id == instrument_id,
            FrameRow.sample_id != before_sample,
            FrameRow.superseded_by.is_(None),
            counted.current,
        )
        .group_by(FrameRow.sample_id)
        .having(func.count() > 1)
        .order_by(func.max(FrameRow.acquired_at).desc())
        .limit(limit)
    )
    return tuple(session.scalars(query))
