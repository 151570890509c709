"""What follows from a frame: the policy's decision, and the rescan that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import structlog
from sqlalchemy.orm import Session

from labsem.store import acts, analyses, asking, instruments, samples
from labsem.store.asking import Place
from labsem.store.tables import FrameRow
from schemas.acts import INTERRUPTED, Act, ActKind, ActState
from schemas.image import ImageAcquired
from schemas.morphology import Decision, FrameMorphology
from schemas.requests import Report
from schemas.settings import Settings
from services.policy import Attempts, FrameEvidence, PolicyDecision, decide

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DecidedPlace:
    """Where a frame was taken, as its event or its row says; None where neither does."""

    position_x_mm: float | None
    position_y_mm: float | None

    @classmethod
    def of(cls, frame: ImageAcquired | FrameRow) -> Self:
        """Of an event or a stored frame."""
        return cls(frame.position_x_mm, frame.position_y_mm)


def decide_on(
    session: Session,
    frame: FrameMorphology,
    place: DecidedPlace,
    settings: Settings,
    *,
    plain: bool = False,
    plan_goes_on: bool = False,
) -> Decision:
    """Judge a frame by its numbers and, where a rescan would help, ask for it in this writing transaction."""
    evidence = FrameEvidence.of(
        frame,
        regime=frame.regime,
        acquisition=frame.acquisition,
        position_x_mm=place.position_x_mm,
        position_y_mm=place.position_y_mm,
        plan_goes_on=plan_goes_on,
    )
    status = None if plain else instruments.status(session, frame.instrument_id)
    capabilities = None if status is None else status.capabilities
    rescans = settings.rescans
    found = decide(evidence, settings=rescans, capabilities=capabilities)
    if found.kind != "rescan":
        return _told(found)
    where = Place.of(
        sample_id=frame.sample_id,
        instrument_id=frame.instrument_id,
        settings=rescans,
        hfw_um=frame.acquisition.hfw_um,
        position_x_mm=place.position_x_mm,
        position_y_mm=place.position_y_mm,
        act_id=frame.act_id,
    )
    tried = asking.tried(session, where, frame.frame_id, rescans)
    attempts = Attempts(
        site=tried.site,
        sample=tried.sample,
        hour=tried.hour,
        remedies=tried.remedies,
        reasons=tried.reasons,
        cooling_s=tried.cooling_s,
    )
    found = decide(evidence, settings=rescans, capabilities=capabilities, attempts=attempts)
    if found.kind != "rescan":
        return _told(found)
    asked = asking.create_rescan(
        session,
        where,
        stream=settings.daemon.stream,
        frame_before=frame.frame_id,
        reasons=found.reasons,
        parameters=found.parameters,
        settings=rescans,
        labels=frame.labels,
    )
    if asked.act is None:
        detail = f"{found.detail}; not asked for: {asked.refusal}"
        return Decision(kind="advised", reasons=found.reasons, detail=detail)
    return Decision(kind="rescan", reasons=found.reasons, detail=found.detail, act_id=asked.act.act_id)


def take_report(session: Session, report: Report, settings: Settings) -> Act:
    """Note that an act failed; the policy decides anew on the frame of a rescan whose gateway was interrupted.

    Raises
    ------
    NotFoundError, ConflictError
        As of :func:`labsem.store.acts.report`.
    """
    before = acts.get(session, report.act_id)
    samples.lock(session, before.sample_id)  # first, as everywhere
    act = acts.report(session, report.act_id, report.instrument_id, report.reason)
    interrupted = act.state is ActState.FAILED and (act.failure or "").startswith(INTERRUPTED)
    policys = act.kind is ActKind.RESCAN and act.requested_by == asking.POLICY
    if before.state is ActState.RUNNING and interrupted and policys and act.frame_before is not None:
        frame = FrameMorphology.read(analyses.current_analysis(session, act.frame_before).summary)
        place = DecidedPlace.of(session.get_one(FrameRow, act.frame_before))
        decision = decide_on(session, frame, place, settings)
        log.info("decided_anew", act_id=str(act.act_id), decision=decision.kind, detail=decision.detail)
    return act


def _told(found: PolicyDecision) -> Decision:
    return Decision(kind=found.kind, reasons=found.reasons, detail=found.detail)
