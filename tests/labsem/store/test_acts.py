"""Acts: asked for within limits, claimed once, ended by reports, frames and deadlines; each change is journalled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from labsem.store import (
    ConflictError,
    NotFoundError,
    RefusedError,
    Store,
    acts,
    asking,
    instruments,
    journal,
    queries,
)
from schemas.acts import (
    Act,
    ActChanged,
    ActOutcome,
    ActState,
    Capabilities,
    InstrumentState,
    InstrumentStatus,
    RescanParameters,
    RescanReason,
)
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology
from schemas.requests import RequestRescan
from schemas.settings import RescanSettings

STREAM = "analysis.bench-a"
SETTINGS = RescanSettings()


def place(**fields: Any) -> asking.Place:
    return asking.Place.of(
        **{
            "sample_id": "powder-1",
            "instrument_id": "sem-1",
            "settings": SETTINGS,
            "hfw_um": 100.0,
            "position_x_mm": 1.0,
            "position_y_mm": 2.0,
            **fields,
        }
    )


def ask(
    session: Session, where: asking.Place | None = None, settings: RescanSettings = SETTINGS, **fields: Any
) -> asking.Asked:
    return asking.create_rescan(
        session,
        where or place(),
        **{
            "stream": STREAM,
            "frame_before": uuid4(),
            "reasons": (RescanReason.UNCERTAIN, RescanReason.BLURRED),
            "parameters": RescanParameters(autofocus=True, dwell_time_ns=2000.0),
            "settings": settings,
            **fields,
        },
    )


def asked(store: Store, **fields: Any) -> Act:
    with store.write() as session:
        act = ask(session, **fields).act
    assert act is not None
    return act


def claim(store: Store, claim_id: UUID | None = None, running_for_s: float = 300) -> Act | None:
    with store.write() as session:
        return acts.claim(session, "sem-1", claim_id or uuid4(), running_for_s=running_for_s)


def tell(store: Store, state: InstrumentState) -> None:
    status = InstrumentStatus(
        instrument_id="sem-1", state=state, driver="virtual", capabilities=Capabilities(can_act=True)
    )
    with store.write() as session:
        instruments.update(session, status)


def changes(store: Store) -> list[ActChanged]:
    with store.read() as session:
        return [ActChanged.read(message.payload) for message in journal.unsent(session, STREAM, 0)]


def test_a_rescan_goes_its_way_and_tells_each_step(
    store: Store, make_event: Callable[..., ImageAcquired]
) -> None:
    act = asked(store, labels=("trial-7",))
    assert act.state is ActState.APPROVED
    assert act.expires_at is not None
    assert (act.expires_at - act.created_at).total_seconds() == SETTINGS.expires_after_s
    running = claim(store)
    assert running is not None
    assert (running.act_id, running.state) == (act.act_id, ActState.RUNNING)
    assert running.parameters == RescanParameters(autofocus=True, dwell_time_ns=2000.0)
    event = make_event(act_id=act.act_id)
    with store.write() as session:
        assert [each.act_id for each in acts.held(session, "sem-1")] == [act.act_id]
        acquired = acts.frame_arrived(session, event, analysis_within_s=900)
        again = acts.frame_arrived(session, event, analysis_within_s=900)
    assert acquired is not None
    assert (acquired.state, acquired.frame_after, acquired.frames_done) == (
        ActState.ACQUIRED,
        event.frame_id,
        1,
    )
    assert again == acquired
    outcome = ActOutcome(improved=True, uncertain_fraction_before=0.5, uncertain_fraction_after=0.2)
    with store.write() as session:
        resolved = acts.resolve(session, act.act_id, outcome)
        assert acts.held(session, "sem-1") == ()
        assert acts.open_for_sample(session, "powder-1") == ()
    assert (resolved.state, resolved.outcome) == (ActState.RESOLVED, outcome)
    told = changes(store)
    assert [each.state.value for each in told] == ["approved", "running", "acquired", "resolved"]
    assert [each.revision for each in told] == [1, 2, 3, 4]
    assert told[-1].outcome == outcome
    assert told[0].labels == ("trial-7",)
    with store.read() as session:
        assert queries.acts(session, sample_id="powder-1") == (resolved,)
        assert queries.acts(session, states=(ActState.RUNNING,)) == ()


def test_approval(store: Store) -> None:
    settings = RescanSettings(approval="ask", attempts_per_site=9)
    act = asked(store, settings=settings)
    assert act.state is ActState.REQUESTED
    assert claim(store) is None
    with store.write() as session:
        assert acts.approve(session, act.act_id).state is ActState.APPROVED
        assert acts.approve(session, act.act_id).revision == 2, "asking again changes nothing"
        with pytest.raises(ConflictError, match="is approved and cannot be denied; cancel"):
            acts.deny(session, act.act_id)
        cancelled = acts.cancel(session, act.act_id, "not today")
        assert acts.cancel(session, act.act_id) == cancelled
        with pytest.raises(ConflictError, match="is cancelled and cannot be approved"):
            acts.approve(session, act.act_id)
    assert (cancelled.state, cancelled.failure) == (ActState.CANCELLED, "not today")
    other = asked(store, settings=settings)
    with store.write() as session:
        denied = acts.deny(session, other.act_id, "no")
        assert acts.deny(session, other.act_id) == denied
        with pytest.raises(ConflictError):
            acts.cancel(session, other.act_id)
        with pytest.raises(NotFoundError, match="labsem rescans list"):
            acts.approve(session, uuid4())
    assert claim(store) is None
    with store.write() as session:
        refused = ask(session, settings=RescanSettings(approval="off"))
        assert refused.act is None
        assert "off" in refused.refusal


def test_the_same_claim_gets_the_same_act(store: Store) -> None:
    first, second = asked(store), asked(store, where=place(position_x_mm=9.0))
    one = uuid4()
    answers = [claim(store, one), claim(store, one), claim(store)]
    assert [answer.act_id if answer else None for answer in answers] == [
        first.act_id,
        first.act_id,
        second.act_id,
    ]
    assert claim(store) is None
    with store.write() as session:
        acts.report(session, first.act_id, "sem-1", "stage error")
    assert claim(store, one) is None, "an act that has ended is not done again"
    with store.write() as session, pytest.raises(ConflictError):
        acts.claim(session, "sem-2", one, running_for_s=1)


def test_nothing_is_given_while_a_person_has_the_instrument(store: Store) -> None:
    asked(store)
    for state in (InstrumentState.HOLD_REQUESTED, InstrumentState.HELD, InstrumentState.FAULT):
        tell(store, state)
        assert claim(store) is None
    tell(store, InstrumentState.AVAILABLE)
    assert claim(store) is not None


def test_claimers_at_once_get_different_acts(database_url: str) -> None:
    got: list[UUID] = []
    with Store.open(database_url) as store:
        expected = {asked(store, where=place(position_x_mm=float(n))).act_id for n in range(6)}

        def work() -> None:
            while (act := claim(store)) is not None:
                got.append(act.act_id)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while (act := claim(store)) is not None:  # a claimer that only met locked rows may have left some
            got.append(act.act_id)
    assert len(got) == len(expected)
    assert set(got) == expected


def test_a_failure_is_reported_once(store: Store) -> None:
    act = asked(store)
    with store.write() as session, pytest.raises(ConflictError, match="cannot be reported"):
        acts.report(session, act.act_id, "sem-1", "never claimed")
    claim(store)
    with store.write() as session:
        with pytest.raises(ConflictError, match="belongs to instrument 'sem-1'"):
            acts.report(session, act.act_id, "sem-2", "x")
        failed = acts.report(session, act.act_id, "sem-1", "stage error")
        assert acts.report(session, act.act_id, "sem-1", "again") == failed
        with pytest.raises(ConflictError):
            acts.resolve(session, act.act_id, ActOutcome(improved=None))
        with pytest.raises(ConflictError):
            acts.fail(session, act.act_id, "x")
    assert (failed.state, failed.failure) == (ActState.FAILED, "stage error")


def test_deadlines_end_acts(store: Store, make_event: Callable[..., ImageAcquired]) -> None:
    soon = RescanSettings(expires_after_s=1e-6)
    unbegun = asked(store, settings=soon)
    assert claim(store) is None, "an expired act is not given, swept or not"
    running = asked(store, where=place(position_x_mm=5.0))
    assert claim(store, running_for_s=0) is not None
    acquired = asked(store, where=place(position_x_mm=9.0))
    assert claim(store) is not None
    with store.write() as session:
        acts.frame_arrived(session, make_event(act_id=acquired.act_id), analysis_within_s=0)
    waiting = asked(store, where=place(position_x_mm=20.0))
    with store.write() as session:
        ended = {act.act_id: act for act in acts.sweep(session)}
        assert acts.sweep(session) == ()
        assert acts.get(session, waiting.act_id).state is ActState.APPROVED
    assert {act_id: (act.state.value, act.failure) for act_id, act in ended.items()} == {
        unbegun.act_id: ("expired", "not begun in time"),
        running.act_id: ("failed", "no frame came in time"),
        acquired.act_id: ("failed", "the frame was not analysed in time"),
    }
    assert [each.state.value for each in changes(store)].count("failed") == 2


def test_a_late_frame_is_noted(store: Store, make_event: Callable[..., ImageAcquired]) -> None:
    act = asked(store)
    claim(store)
    with store.write() as session:
        acts.report(session, act.act_id, "sem-1", "interrupted")
    late = make_event(act_id=act.act_id)
    for _ in range(2):
        with store.write() as session:
            noted = acts.frame_arrived(session, late, analysis_within_s=900)
    assert noted is not None
    assert (noted.state, noted.late_frames) == (ActState.FAILED, (late.frame_id,))
    with store.write() as session:
        assert acts.frame_arrived(session, make_event(), analysis_within_s=1) is None
        assert acts.frame_arrived(session, make_event(act_id=uuid4()), analysis_within_s=1) is None


def test_attempts_are_bounded(store: Store) -> None:
    def attempt(where: asking.Place, settings: RescanSettings = SETTINGS) -> str:
        with store.write() as session:
            result = ask(session, where, settings)
            if result.act is not None:
                acts.cancel(session, result.act.act_id)
            return result.refusal

    near, far = place(position_x_mm=1.02), place(position_x_mm=1.03)
    assert attempt(place()) == ""
    assert attempt(near) == "", "20 um away is within a quarter of the field width of 100 um"
    assert "attempts_per_site" in attempt(place())
    assert attempt(far) == ""
    sample = RescanSettings(attempts_per_site=9, attempts_per_sample=3)
    assert "attempts_per_sample" in attempt(place(position_x_mm=7.0), sample)
    hour = RescanSettings(attempts_per_hour=3)
    assert "attempts_per_hour" in attempt(place(sample_id="powder-2"), hour)
    assert attempt(place(sample_id="powder-2", instrument_id="sem-2"), hour) == ""
    with store.write() as session:
        assert asking.tried(session, place(), uuid4(), RescanSettings()) == asking.Tried(
            site=2, sample=3, hour=3
        )
        assert ask(session, requested_by="planner").act is not None, "a planner's own are not bounded"
        refused = ask(session, settings=RescanSettings(attempts_per_site=9))
        assert "still open" in refused.refusal


def test_a_rescans_frame_is_of_its_acts_site(store: Store, make_event: Callable[..., ImageAcquired]) -> None:
    act = asked(store)
    claim(store)
    event = make_event(act_id=act.act_id)
    with store.write() as session:
        acts.frame_arrived(session, event, analysis_within_s=900)
        acts.resolve(session, act.act_id, ActOutcome(improved=False))
        moved = place(position_x_mm=500.0, act_id=act.act_id)
        assert asking.tried(session, moved, event.frame_id, RescanSettings()).site == 1
        nowhere = place(position_x_mm=None, position_y_mm=None, hfw_um=None, act_id=None)
        assert asking.tried(session, nowhere, event.frame_id, RescanSettings()).site == 0


def test_two_daemons_do_not_both_ask(database_url: str) -> None:
    results: list[asking.Asked] = []
    start = threading.Barrier(2)
    with Store.open(database_url) as store:

        def work(stream: str) -> None:
            start.wait()
            with store.write() as session:
                results.append(ask(session, stream=stream))

        threads = [threading.Thread(target=work, args=(f"analysis.{n}",)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(result.act is None for result in results) == [False, True]


def test_a_planner_asks_for_a_stored_frames_place(
    store: Store, record: Callable[..., FrameMorphology], make_event: Callable[..., ImageAcquired]
) -> None:
    event = make_event()
    request = RequestRescan(request_id=uuid4(), frame_id=event.frame_id, labels=("trial-1",))
    with store.write() as session:
        with pytest.raises(NotFoundError):
            asking.request_rescan(session, request, stream=STREAM, settings=SETTINGS)
        record(session, event)
        with pytest.raises(RefusedError, match="cannot act"):
            asking.request_rescan(session, request, stream=STREAM, settings=SETTINGS)
    tell(store, InstrumentState.AVAILABLE)
    with store.write() as session:
        act = asking.request_rescan(session, request, stream=STREAM, settings=SETTINGS)
    with store.write() as session:
        assert asking.request_rescan(session, request, stream=STREAM, settings=SETTINGS) == act
    assert (act.state, act.requested_by, act.frame_before) == (ActState.APPROVED, "planner", event.frame_id)
    assert (act.parameters.position_x_mm, act.parameters.position_y_mm) == (1.0, -2.0)
    assert act.labels == ("trial-1",)
    assert len(changes(store)) == 1
