"""Asking for a rescan: attempts are counted, and the row made, under a lock on the site's row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from labsem.store import acts, analyses, clock, instruments, journal, samples
from labsem.store.errors import RefusedError
from labsem.store.tables import ActRow, FrameRow, InstrumentRow, SiteRow
from labsem.store.writing import ROW_LOCK
from schemas.acts import INTERRUPTED, Act, ActKind, ActState, RescanParameters, RescanReason
from schemas.requests import RequestRescan
from schemas.settings import RescanSettings

HOUR_S = 3600.0
POLICY = "policy"


@dataclass(frozen=True)
class Asked:
    """The act that was made; or None, and why."""

    act: Act | None
    refusal: str = ""


@dataclass(frozen=True)
class Tried:
    """Rescans that the policy asked for before: at the site, on the sample, and by the instrument within the hour.

    Attributes
    ----------
    remedies, reasons
        Of those at the site that brought a frame: what was done, oldest first, and all that it was done for.
    cooling_s
        Time until the instrument may be asked again after a rescan that it reported as failed.
    """

    site: int
    sample: int
    hour: int
    remedies: tuple[RescanParameters, ...] = ()
    reasons: frozenset[RescanReason] = frozenset()
    cooling_s: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a frame was taken: its position, and the radius within which another frame is of the same site."""

    sample_id: str
    instrument_id: str
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    radius_um: float | None = None
    act_id: UUID | None = None

    @classmethod
    def of(
        cls,
        *,
        sample_id: str,
        instrument_id: str,
        settings: RescanSettings,
        hfw_um: float | None,
        position_x_mm: float | None = None,
        position_y_mm: float | None = None,
        act_id: UUID | None = None,
    ) -> Place:
        """Place of a frame by its field width; ``act_id`` is the act that it answers, whose site is its own."""
        radius = None if hfw_um is None else settings.site_radius_fraction * hfw_um
        return cls(sample_id, instrument_id, position_x_mm, position_y_mm, radius, act_id)


def tried(session: Session, place: Place, frame_id: UUID, settings: RescanSettings) -> Tried:
    """Count the policy's attempts; the rows of sample, site and instrument stay locked, so that the count holds."""
    return _count(session, place, _site(session, place, frame_id), settings)


def create_rescan(
    session: Session,
    place: Place,
    *,
    stream: str,
    frame_before: UUID,
    reasons: Sequence[RescanReason],
    parameters: RescanParameters,
    settings: RescanSettings,
    requested_by: acts.Requester = "policy",
    request_id: UUID | None = None,
    labels: Sequence[str] = (),
) -> Asked:
    """Make a rescan's row, approved or to be approved as the settings say.

    The policy's own are bounded by the settings' attempts, and there is one open at a site at a time. What a
    planner or a person asks for is not bounded; it waits for an approval only where the settings say ``ask``.

    Returns
    -------
    Asked
        With the act, or with the refusal in words. The same ``request_id`` gets the same act.
    """
    if request_id is not None:
        before = session.scalars(select(ActRow).where(ActRow.request_id == request_id)).one_or_none()
        if before is not None:
            return Asked(acts.to_schema(before))
    by_policy = requested_by == POLICY
    if by_policy and settings.approval == "off":
        return Asked(None, "rescans are off (rescans.approval)")
    site = _site(session, place, frame_before)
    if by_policy:
        refusal = _open_at(session, site) or _exhausted(_count(session, place, site, settings), settings)
        if refusal:
            return Asked(None, refusal)
    journal.ensure(session, stream)
    samples.reopen(session, place.sample_id)
    moment = clock.now(session)
    state = ActState.REQUESTED if settings.approval == "ask" else ActState.APPROVED
    row = ActRow(
        act_id=uuid4(),
        stream=stream,
        kind=ActKind.RESCAN.value,
        sample_id=place.sample_id,
        instrument_id=place.instrument_id,
        site_id=site.site_id,
        state=state.value,
        revision=1,
        reasons=[reason.value for reason in reasons],
        parameters=parameters.model_dump(mode="json"),
        requested_by=requested_by,
        request_id=request_id,
        frame_before=frame_before,
        frames_planned=1,
        frames_done=0,
        created_at=moment,
        expires_at=moment + timedelta(seconds=settings.expires_after_s),
        late_frames=[],
        labels=list(labels),
    )
    session.add(row)
    return Asked(acts.announce(session, row))


def request_rescan(session: Session, request: RequestRescan, *, stream: str, settings: RescanSettings) -> Act:
    """Make the rescan of a stored frame's place that a planner or a person asks for.

    Where the request gives no position, it is the frame's own.

    Raises
    ------
    NotFoundError
        Where the frame is unknown.
    RefusedError
        Where its instrument cannot act.
    """
    frame = session.get(FrameRow, request.frame_id)
    if frame is None:
        raise analyses.unknown_frame(request.frame_id)
    status = instruments.status(session, frame.instrument_id)
    if status is None or not status.capabilities.can_act:
        raise RefusedError(
            f"instrument {frame.instrument_id!r} of frame {request.frame_id} cannot act: no gateway with a driver "
            "that moves the microscope has told of it; take the frame by hand"
        )
    parameters = request.parameters
    if parameters.position_x_mm is None and parameters.position_y_mm is None:
        parameters = parameters.model_copy(
            update={"position_x_mm": frame.position_x_mm, "position_y_mm": frame.position_y_mm}
        )
    place = Place.of(
        sample_id=frame.sample_id,
        instrument_id=frame.instrument_id,
        settings=settings,
        hfw_um=analyses.current_analysis(session, frame.frame_id).hfw_um,
        position_x_mm=frame.position_x_mm,
        position_y_mm=frame.position_y_mm,
        act_id=frame.act_id,
    )
    asked = create_rescan(
        session,
        place,
        stream=stream,
        frame_before=frame.frame_id,
        reasons=(RescanReason.REQUESTED,),
        parameters=parameters,
        settings=settings,
        requested_by=request.requested_by,
        request_id=request.request_id,
        labels=request.labels,
    )
    if asked.act is None:
        raise RefusedError(asked.refusal)
    return asked.act


def _site(session: Session, place: Place, frame_id: UUID) -> SiteRow:
    """The site of a place, made where it is new, and locked.

    The sample's lock comes first: under it two daemons cannot make the same site twice.
    """
    samples.ensure(session, place.sample_id)
    instruments.ensure(session, place.instrument_id)
    samples.lock(session, place.sample_id)
    site_id = _known_site(session, place, frame_id)
    if site_id is not None:
        return session.get_one(SiteRow, site_id, with_for_update=ROW_LOCK, populate_existing=True)
    site = SiteRow(
        sample_id=place.sample_id,
        instrument_id=place.instrument_id,
        frame_id=frame_id,
        position_x_mm=place.position_x_mm,
        position_y_mm=place.position_y_mm,
        radius_um=place.radius_um,
    )
    session.add(site)
    session.flush()
    return site


def _known_site(session: Session, place: Place, frame_id: UUID) -> int | None:
    """A rescan's frame is of its act's site, wherever the stage really went; another of the nearest within reach."""
    if place.act_id is not None:
        site_id = session.scalar(select(ActRow.site_id).where(ActRow.act_id == place.act_id))
        if site_id is not None:
            return site_id
    sites = session.scalars(
        select(SiteRow)
        .where(SiteRow.sample_id == place.sample_id, SiteRow.instrument_id == place.instrument_id)
        .order_by(SiteRow.site_id)
    ).all()
    same = [site.site_id for site in sites if site.frame_id == frame_id]
    if same:
        return same[0]
    near = [(distance, site.site_id) for site in sites if (distance := _distance_um(site, place)) is not None]
    return min(near)[1] if near else None


def _distance_um(site: SiteRow, place: Place) -> float | None:
    """Distance where the place is within the site's reach."""
    if (
        site.position_x_mm is None
        or site.position_y_mm is None
        or place.position_x_mm is None
        or place.position_y_mm is None
    ):
        return None
    reach = max(site.radius_um or 0.0, place.radius_um or 0.0)
    distance = 1000.0 * math.hypot(
        site.position_x_mm - place.position_x_mm, site.position_y_mm - place.position_y_mm
    )
    return distance if distance <= reach else None


def _count(session: Session, place: Place, site: SiteRow, settings: RescanSettings) -> Tried:
    # Samples on one instrument share its hour, and have no site in common.
    session.get_one(InstrumentRow, place.instrument_id, with_for_update=ROW_LOCK, populate_existing=True)
    hour_ago = clock.after(session, -HOUR_S)
    policy = select(func.count()).select_from(ActRow).where(ActRow.requested_by == POLICY)
    at_site = session.scalars(
        select(ActRow)
        .where(ActRow.requested_by == POLICY, ActRow.site_id == site.site_id)
        .order_by(ActRow.created_at)
    ).all()
    answered = [row for row in at_site if row.frame_after]
    return Tried(
        site=len(at_site),
        sample=session.scalar(policy.where(ActRow.sample_id == place.sample_id)) or 0,
        hour=session.scalar(
            policy.where(ActRow.instrument_id == place.instrument_id, ActRow.created_at > hour_ago)
        )
        or 0,
        remedies=tuple(RescanParameters.model_validate(row.parameters) for row in answered),
        reasons=frozenset(RescanReason(reason) for row in answered for reason in row.reasons),
        cooling_s=_cooling_s(session, place.instrument_id, settings.cool_down_s),
    )


def _cooling_s(session: Session, instrument_id: str, cool_down_s: float) -> float:
    """An instrument that failed rests; one whose gateway was started anew has nothing to rest from."""
    moment = clock.now(session)
    failed_at = session.scalar(
        select(func.max(ActRow.ended_at)).where(
            ActRow.instrument_id == instrument_id,
            ActRow.kind == ActKind.RESCAN.value,
            ActRow.state == ActState.FAILED.value,
            ActRow.frame_after.is_(None),
            ~ActRow.failure.startswith(INTERRUPTED),
            ActRow.ended_at > moment - timedelta(seconds=cool_down_s),
        )
    )
    return 0.0 if failed_at is None else max(cool_down_s - (moment - failed_at).total_seconds(), 0.0)


def _open_at(session: Session, site: SiteRow) -> str:
    open_act = session.scalars(
        select(ActRow.act_id)
        .where(ActRow.site_id == site.site_id, ActRow.state.in_(samples.OPEN))
        .order_by(ActRow.created_at)
    ).first()
    return f"act {open_act} of this place is still open" if open_act else ""


def _exhausted(before: Tried, settings: RescanSettings) -> str:
    for count, limit, what in (
        (before.site, settings.attempts_per_site, "of this place (rescans.attempts_per_site)"),
        (before.sample, settings.attempts_per_sample, "of this sample (rescans.attempts_per_sample)"),
        (before.hour, settings.attempts_per_hour, "within the hour (rescans.attempts_per_hour)"),
    ):
        if count >= limit:
            return f"{count} rescans {what} were tried"
    if before.cooling_s > 0:
        return f"the instrument failed a rescan; it is asked again in {before.cooling_s:.0f} s (rescans.cool_down_s)"
    return ""
