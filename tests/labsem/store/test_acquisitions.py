"""Acquisitions: refused before anything moves, one at a time, counted frame by frame, ended early or by a person."""

from __future__ import annotations

from uuid import uuid4

import pytest

from labsem.store import RefusedError, acquisitions, acts, instruments, samples
from schemas.acts import ActKind, ActState, Capabilities, InstrumentState, InstrumentStatus
from schemas.base import utc_now
from schemas.image import ImageAcquired
from schemas.plans import Place, Plan
from schemas.requests import RequestAcquisition
from schemas.settings import RescanSettings
from tests.labsem.store.test_acts import STREAM, asked

ABLE = Capabilities(
    can_act=True,
    hfw_min_um=1.0,
    hfw_max_um=2000.0,
    stage_x_range_mm=(-5.0, 5.0),
    stage_y_range_mm=(-5.0, 5.0),
    detectors=("bsd",),
    frame_averages_max=16,
)


def tell(store, state=InstrumentState.AVAILABLE, able=ABLE):
    with store.write() as session:
        instruments.update(
            session, InstrumentStatus(instrument_id="sem-1", state=state, driver="test", capabilities=able)
        )


def plan(count=3, **more) -> Plan:
    return Plan(places=tuple(Place(x_mm=0.1 * i, y_mm=0.0) for i in range(count)), hfw_um=(80.0,), **more)


SETTINGS = RescanSettings()


def request(store, wanted=None, settings=SETTINGS, **fields):
    asking = RequestAcquisition(
        **{
            "request_id": uuid4(),
            "sample_id": "powder-1",
            "instrument_id": "sem-1",
            "plan": wanted or plan(),
            **fields,
        }
    )
    with store.write() as session:
        return acquisitions.request_acquisition(session, asking, stream=STREAM, settings=settings)


def claim(store):
    with store.write() as session:
        return acts.claim(session, "sem-1", uuid4(), running_for_s=60.0)


def frame(store, act, index):
    event = ImageAcquired(
        frame_id=uuid4(),
        sample_id=act.sample_id,
        instrument_id="sem-1",
        image_root="root",
        path=f"{index}.tif",
        size_bytes=1,
        sha256="0" * 64,
        acquired_at=utc_now(),
        act_id=act.act_id,
        index=index,
    )
    with store.write() as session:
        return acts.frame_arrived(session, event, analysis_within_s=60.0, running_for_s=60.0)


def state(store, act) -> ActState:
    with store.read() as session:
        return acts.get(session, act.act_id).state


def test_a_request_makes_one_act_with_its_plan_and_labels(store):
    tell(store)
    request_id = uuid4()
    act = request(store, labels=("trial-1",), request_id=request_id)
    assert (act.kind, act.state, act.frames_planned) == (ActKind.ACQUISITION, ActState.APPROVED, 3)
    assert act.plan == plan()
    assert request(store, request_id=request_id).act_id == act.act_id
    with store.read() as session:
        now = samples.condition(session, "powder-1")
    assert (now.acts_open, now.labels) == (1, ("trial-1",))
    assert request(store, settings=RescanSettings(approval="ask")).state is ActState.REQUESTED


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            Plan(places=(Place(x_mm=0, y_mm=0), Place(x_mm=9, y_mm=0)), hfw_um=(80.0,)),
            "place 2 of the plan, x = 9",
        ),
        (Plan(places=(Place(x_mm=0, y_mm=-7),), hfw_um=(80.0,)), "y = -7"),
        (plan().model_copy(update={"hfw_um": (3000.0,)}), "a field of 3000"),
        (plan(detector="sed"), "no detector 'sed'"),
        (plan(dwell_time_ns=100.0), "dwell time cannot be set"),
        (plan(frame_averages=64), "64 averages"),
        (plan(until_d50_within=0.01), "more exact than the instrument's scale"),
    ],
)
def test_what_the_instrument_cannot_do_is_refused(store, wanted, why):
    tell(store)
    with store.write() as session:
        instruments.ensure(session, "sem-1", scale_relative_uncertainty=0.03)
    with pytest.raises(RefusedError, match=why):
        request(store, wanted)


def test_an_instrument_that_cannot_act_is_refused(store):
    with pytest.raises(RefusedError, match="start labsem instrument"):
        request(store)
    tell(store, able=Capabilities(can_act=False, cannot=("act",)))
    with pytest.raises(RefusedError, match="cannot act"):
        request(store)


def test_one_plan_runs_at_a_time_and_rescans_come_in_between(store):
    tell(store)
    first, second = request(store), request(store)
    rescan = asked(store)
    assert claim(store).act_id == rescan.act_id
    assert claim(store).act_id == first.act_id
    assert claim(store) is None
    another = asked(store, where=None, requested_by="person")
    assert claim(store).act_id == another.act_id
    with store.write() as session:
        acts.cancel(session, first.act_id)
    assert state(store, first) is ActState.CANCELLED
    assert claim(store).act_id == second.act_id


def test_frames_are_counted_once_and_the_last_one_acquires_it(store):
    tell(store)
    act = request(store)
    claim(store)
    assert frame(store, act, 0).frames_done == 1
    assert frame(store, act, 0).frames_done == 1
    assert frame(store, act, 1).state is ActState.RUNNING
    done = frame(store, act, 2)
    assert (done.state, done.frames_done) == (ActState.ACQUIRED, 3)
    late = frame(store, act, 2)
    assert len(late.late_frames) == 1
    with store.write() as session:
        (closed,) = acquisitions.close_analysed(session, "powder-1")
    assert (closed.state, closed.outcome.improved) == (ActState.RESOLVED, None)
    assert "all 3 planned" in closed.outcome.detail


def test_it_ends_early_where_its_aim_is_reached(store):
    tell(store)
    act = request(store)
    claim(store)
    frame(store, act, 0)
    with store.write() as session:
        running, analysed = acquisitions.plan_of(session, act.act_id)
        assert (running.act_id, analysed) == (act.act_id, 0)
        ended = acquisitions.end_early(session, act.act_id, "enough", analysis_within_s=60.0)
        assert ended.state is ActState.ACQUIRED
        assert acquisitions.end_early(session, act.act_id, "again", analysis_within_s=60.0) is None
        assert acts.held(session, "sem-1") == ()
        (closed,) = acquisitions.close_analysed(session, "powder-1")
    assert (closed.outcome.detail, closed.frames_done) == ("enough", 1)


def test_a_person_who_has_the_instrument_makes_no_plan_fail(store):
    tell(store)
    act = request(store)
    with store.write() as session:
        acts.claim(session, "sem-1", uuid4(), running_for_s=-1.0)
    tell(store, InstrumentState.HELD)
    with store.write() as session:
        assert acts.sweep(session) == ()
        acquisitions.prolong(session, "sem-1", running_for_s=60.0, analysis_within_s=60.0)
    tell(store)
    with store.write() as session:
        assert acts.sweep(session) == ()
        acquisitions.prolong(session, "sem-1", running_for_s=-1.0, analysis_within_s=60.0)
    with store.write() as session:
        (ended,) = acts.sweep(session)
    assert (ended.act_id, ended.state) == (act.act_id, ActState.FAILED)
