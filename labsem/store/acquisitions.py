"""Acquisitions: plans of frames of one sample, asked for, ended early, and closed once all is analysed."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from labsem.store import acts, clock, instruments, journal, samples
from labsem.store.errors import RefusedError
from labsem.store.tables import ActRow, FrameRow
from labsem.store.writing import ROW_LOCK
from schemas.acts import Act, ActKind, ActOutcome, ActState, Capabilities, RescanParameters
from schemas.plans import Plan
from schemas.requests import RequestAcquisition
from schemas.settings import RescanSettings


def request_acquisition(
    session: Session, request: RequestAcquisition, *, stream: str, settings: RescanSettings
) -> Act:
    """Make the acquisition that a planner or a person asks for; it waits for an approval where the settings say so.

    The same ``request_id`` gets the same act.

    Raises
    ------
    RefusedError
        Where the instrument cannot act, a place or setting is out of its reach, or D50 is wanted more exactly than
        its scale is known.
    """
    before = session.scalars(select(ActRow).where(ActRow.request_id == request.request_id)).one_or_none()
    if before is not None:
        return acts.to_schema(before)
    status = instruments.status(session, request.instrument_id)
    if status is None or not status.capabilities.can_act:
        raise RefusedError(
            f"instrument {request.instrument_id!r} cannot act: no gateway with a driver that moves the microscope has "
            "told of it; start labsem instrument there"
        )
    row = instruments.ensure(session, request.instrument_id)
    refusal = out_of_reach(request.plan, status.capabilities) or _too_exact(
        request.plan, row.scale_relative_uncertainty
    )
    if refusal:
        raise RefusedError(refusal)
    samples.ensure(session, request.sample_id, sample_name=request.sample_name, labels=request.labels)
    samples.lock(session, request.sample_id)
    journal.ensure(session, stream)
    samples.reopen(session, request.sample_id)
    moment = clock.now(session)
    state = ActState.REQUESTED if settings.approval == "ask" else ActState.APPROVED
    act = ActRow(
        act_id=uuid4(),
        stream=stream,
        kind=ActKind.ACQUISITION.value,
        sample_id=request.sample_id,
        instrument_id=request.instrument_id,
        state=state.value,
        revision=1,
        reasons=[],
        parameters=RescanParameters().model_dump(mode="json"),
        plan=request.plan.model_dump(mode="json"),
        requested_by=request.requested_by,
        request_id=request.request_id,
        frames_planned=request.plan.frames,
        frames_done=0,
        created_at=moment,
        expires_at=moment + timedelta(seconds=settings.expires_after_s),
        late_frames=[],
        labels=list(request.labels),
    )
    session.add(act)
    return acts.announce(session, act)


def out_of_reach(plan: Plan, able: Capabilities) -> str:
    """Why an instrument cannot take a plan's frames, in words; empty where it can."""
    for axis, reach in (("x", able.stage_x_range_mm), ("y", able.stage_y_range_mm)):
        if reach is None:
            return "the instrument's stage cannot be moved; take the frames by hand"
        for number, place in enumerate(() if plan.on_slot else plan.places):
            value = place.x_mm if axis == "x" else place.y_mm
            if not reach[0] <= value <= reach[1]:
                return (
                    f"place {number + 1} of the plan, {axis} = {value:g} mm, is outside the stage's "
                    f"{reach[0]:g} to {reach[1]:g} mm; choose places within"
                )
    smallest, largest = able.hfw_min_um or 0.0, able.hfw_max_um or float("inf")
    for width in plan.hfw_um:
        if not smallest <= width <= largest:
            return f"a field of {width:g} um is outside the instrument's {smallest:g} to {largest:g} um"
    if plan.detector is not None and plan.detector not in able.detectors:
        return f"there is no detector {plan.detector!r}; there are {', '.join(able.detectors)}"
    if plan.dwell_time_ns is not None and not able.dwell_times_ns:
        return "the dwell time cannot be set; ask for frame_averages"
    if plan.frame_averages is not None and plan.frame_averages > able.frame_averages_max:
        return f"{plan.frame_averages} averages are over the instrument's {able.frame_averages_max}"
    return ""


def plan_of(session: Session, act_id: UUID) -> tuple[Act, int] | None:
    """A running acquisition that may end early, and how many of its frames are analysed; None of any other act."""
    row = session.get(ActRow, act_id)
    if row is None or row.plan is None or row.state != ActState.RUNNING.value:
        return None
    analysed = session.scalar(select(func.count()).where(FrameRow.act_id == act_id)) or 0
    return acts.to_schema(row), analysed


def end_early(session: Session, act_id: UUID, why: str, *, analysis_within_s: float) -> Act | None:
    """Let a running acquisition take no further frame, since it has reached its aim; None where it runs no more."""
    row = session.get(ActRow, act_id, with_for_update=ROW_LOCK, populate_existing=True)
    if row is None or row.state != ActState.RUNNING.value:
        return None
    row.outcome = ActOutcome(improved=None, detail=why).model_dump(mode="json")
    row.analysis_until = clock.after(session, analysis_within_s)
    return acts.move(session, row, ActState.ACQUIRED)


def close_analysed(session: Session, sample_id: str) -> list[Act]:
    """Resolve the sample's acquisitions that have their last frame, once no frame of it waits; under its lock."""
    if session.scalar(select(samples.pending_frames(sample_id))):
        return []
    rows = session.scalars(
        select(ActRow)
        .where(
            ActRow.sample_id == sample_id,
            ActRow.kind == ActKind.ACQUISITION.value,
            ActRow.state == ActState.ACQUIRED.value,
        )
        .order_by(ActRow.created_at)
        .with_for_update()
    ).all()
    for row in rows:
        if row.outcome is None:
            detail = f"all {row.frames_done} planned frames were taken"
            row.outcome = ActOutcome(improved=None, detail=detail).model_dump(mode="json")
    return [acts.move(session, row, ActState.RESOLVED) for row in rows]


def prolong(session: Session, instrument_id: str, *, running_for_s: float, analysis_within_s: float) -> None:
    """Give the open acquisitions of an instrument their time anew: a person gave it back, or a frame was analysed."""
    rows = session.scalars(
        select(ActRow).where(
            ActRow.instrument_id == instrument_id,
            ActRow.kind == ActKind.ACQUISITION.value,
            ActRow.state.in_([ActState.RUNNING.value, ActState.ACQUIRED.value]),
        )
    )
    for row in rows:
        if row.state == ActState.RUNNING.value:
            row.running_until = clock.after(session, running_for_s)
        else:
            row.analysis_until = clock.after(session, analysis_within_s)
    session.flush()


def _too_exact(plan: Plan, scale_relative_uncertainty: float | None) -> str:
    within = plan.until_d50_within
    if within is None or scale_relative_uncertainty is None or within >= scale_relative_uncertainty:
        return ""
    return (
        f"D50 within {within:.1%} is more exact than the instrument's scale is known "
        f"({scale_relative_uncertainty:.1%}); measure the scale against a standard, or ask for less"
    )
