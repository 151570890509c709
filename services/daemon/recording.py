"""What one transaction stores of an analysed frame: numbers, decision, acts, the sample, and the messages of it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy.orm import Session

from labsem import __version__
from labsem.store import (
    NotFoundError,
    acquisitions,
    acts,
    analyses,
    inbox,
    journal,
    queries,
    samples,
)
from labsem.store.inbox import Leased
from labsem.store.tables import FrameRow
from schemas.acts import Act, ActState
from schemas.base import utc_now
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import FrameMorphology
from schemas.settings import Settings
from services.daemon import comparing, deciding, plans, summaries
from services.daemon.comparing import Side
from services.daemon.deciding import DecidedPlace
from services.daemon.work import FrameProblem, FrameResult

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StoredFrame:
    """Where a stored frame lies and how it was taken."""

    image_root: str
    path: str
    acquisition: Acquisition
    scan_rotation_deg: float | None


def frame_before(session: Session, event: ImageAcquired) -> StoredFrame | None:
    """The frame that the event's frame is to better; None where it answers no act, or one that is not known here."""
    act = _act(session, event)
    if act is None or act.frame_before is None:
        return None
    row = session.get(FrameRow, act.frame_before)
    if row is None:
        return None
    acquisition = _morphology(session, act.frame_before).acquisition
    return StoredFrame(row.image_root, row.path, acquisition, row.scan_rotation_deg)


def record(session: Session, leased: Leased, owner: str, result: FrameResult, settings: Settings) -> None:
    """Store a frame's result with all that follows from it; to be called in one writing transaction.

    Raises
    ------
    LeaseLostError
        Where the frame went to another; the transaction must be rolled back.
    """
    # The sample first, as intake does: two transactions that lock in opposite orders would wait for each other.
    samples.lock(session, leased.event.sample_id)
    inbox.finish(session, leased.inbox_id, owner)
    event = _completed(leased.event, result)
    morphology = _summary(event, result)
    stream = settings.daemon.stream
    act = None if leased.plain else _act(session, event)
    superseded = _resolve(session, act, morphology, result)
    goes_on = act is not None and act.plan is not None and act.state is ActState.RUNNING
    decision = deciding.decide_on(
        session,
        morphology,
        DecidedPlace.of(event),
        settings,
        plain=leased.plain,
        plan_goes_on=goes_on,
    )
    morphology = morphology.model_copy(update={"decision": decision})
    new = analyses.record_analysis(
        session,
        event=event,
        payload=leased.payload,
        stream=leased.stream,
        morphology=morphology,
        particles=result.particles.columns(),
        segmentation=result.segmentation,
        settings=_analysis_settings(settings),
        code_version=__version__,
    )
    if not new:
        log.info("frame_known")
        return
    if superseded is not None:
        analyses.supersede(session, superseded, event.frame_id)
    journal.append(session, stream, morphology)
    summary = summaries.send(session, stream, event.sample_id)
    if act is not None and act.plan is not None:
        plans.after_frame(session, act, summary, settings)
    acquisitions.close_analysed(session, event.sample_id)
    log.info(
        "frame_recorded",
        particles=morphology.particle_count,
        uncertain_fraction=morphology.uncertain_fraction.value,
        decision=decision.kind,
        reasons=[reason.value for reason in decision.reasons],
    )


def reject(session: Session, leased: Leased, owner: str, problem: FrameProblem) -> None:
    """Set a frame aside; the act that it was to answer has failed.

    Raises
    ------
    LeaseLostError
        Where the frame went to another; the transaction must be rolled back.
    """
    samples.lock(session, leased.event.sample_id)
    inbox.reject(
        session, leased.inbox_id, owner, code=problem.code, message=problem.message, remedy=problem.remedy
    )
    act = None if leased.plain else _act(session, leased.event)
    if act is not None and _answers(act, leased.event.frame_id):
        acts.fail(session, act.act_id, f"the new frame was rejected: {problem.message}")
    acquisitions.close_analysed(session, leased.event.sample_id)


def _completed(event: ImageAcquired, result: FrameResult) -> ImageAcquired:
    names = (
        "acquired_at",
        "position_x_mm",
        "position_y_mm",
        "scan_rotation_deg",
        "size_bytes",
        "sha256",
        "acquisition",
    )
    return event.model_copy(update={name: getattr(result, name) for name in names})


def _summary(event: ImageAcquired, result: FrameResult) -> FrameMorphology:
    fields: dict[str, Any] = result.numbers.fields()
    return FrameMorphology(
        frame_id=event.frame_id,
        analysis_id=uuid4(),
        sample_id=event.sample_id,
        instrument_id=event.instrument_id,
        acquired_at=event.acquired_at,
        analysed_at=utc_now(),
        acquisition=result.acquisition,
        regime=result.regime,
        model=result.model,
        databar_rows=result.databar_rows,
        act_id=event.act_id,
        index=event.index,
        labels=event.labels,
        seconds=result.seconds,
        **fields,
    )


def _resolve(session: Session, act: Act | None, after: FrameMorphology, result: FrameResult) -> UUID | None:
    """Compare the frame with the one before; gives the id of the latter where the new one stands for it."""
    if act is None or act.frame_before is None or not _answers(act, after.frame_id):
        return None
    analysis = analyses.current_analysis(session, act.frame_before)
    before = _morphology(session, act.frame_before)
    outcome = comparing.compare(
        Side(before, analyses.particles(session, analysis)),
        Side(after, result.particles.columns()),
        result.registration,
        act.reasons,
    )
    if not comparing.comparable(result.registration):
        new = queries.FrameParticles(after.frame_id, after, result.particles.columns())
        ratios = summaries.d50_interval_ratios(session, after.sample_id, new)
        names = ("d50_interval_ratio_before", "d50_interval_ratio_after")
        outcome = outcome.model_copy(update=dict(zip(names, ratios, strict=True)))
    acts.resolve(session, act.act_id, outcome)
    log.info("act_resolved", act_id=str(act.act_id), improved=outcome.improved, detail=outcome.detail)
    return act.frame_before if comparing.supersedes(before, after, result.registration) else None


def _act(session: Session, event: ImageAcquired) -> Act | None:
    if event.act_id is None:
        return None
    try:
        return acts.get(session, event.act_id)
    except NotFoundError:
        log.warning("act_unknown", act_id=str(event.act_id))
        return None


def _answers(act: Act, frame_id: UUID) -> bool:
    return act.state is ActState.ACQUIRED and act.frame_after == frame_id


def _morphology(session: Session, frame_id: UUID) -> FrameMorphology:
    return FrameMorphology.read(analyses.current_analysis(session, frame_id).summary)


def _analysis_settings(settings: Settings) -> dict[str, Any]:
    """What the numbers depend on beside frame, model and code."""
    return settings.models.model_dump(
        mode="json", include={"precision", "display_width_m", "magnification_split"}
    )
