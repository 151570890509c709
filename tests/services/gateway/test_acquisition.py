"""Acquisitions at the gateway: every frame once, at its place, with rescans in between; ended, failed, resumed."""

from __future__ import annotations

from uuid import uuid4

import pytest

from labsem.store import acquisitions, acts, instruments
from schemas.acts import ActState, InstrumentState, InstrumentStatus, RescanParameters
from schemas.plans import Place, Plan
from schemas.requests import RequestAcquisition
from schemas.settings import RescanSettings
from tests.services.gateway.conftest import CountingMicroscope
from tests.services.gateway.test_gateway import act_of, ask_rescan


def plan(count=4, **more) -> Plan:
    return Plan(
        places=tuple(Place(x_mm=0.1 * i, y_mm=0.05) for i in range(count)), hfw_um=(250.0, 120.0), **more
    )


def ask(analysis, microscope, wanted: Plan, sample_id: str = "demo-1"):
    with analysis.store.write() as session:
        instruments.update(
            session,
            InstrumentStatus(
                instrument_id="virtual-1",
                state=InstrumentState.AVAILABLE,
                driver="virtual",
                capabilities=microscope.capabilities(),
            ),
        )
        act = acquisitions.request_acquisition(
            session,
            RequestAcquisition(
                request_id=uuid4(),
                sample_id=sample_id,
                instrument_id="virtual-1",
                plan=wanted,
                labels=("trial-3",),
            ),
            stream=analysis.stream,
            settings=RescanSettings(),
        )
    return act.act_id


def arrive(analysis, event):
    with analysis.store.write() as session:
        acts.frame_arrived(session, event, analysis_within_s=60.0)


def test_every_frame_comes_once_at_its_place(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan())
    with run(microscope) as running:
        until(lambda: len(running.events()) == 8, "the plan")
        events = running.events()
    assert [event.index for event in events] == list(range(8))
    assert {event.act_id for event in events} == {act_id}
    assert {event.labels for event in events} == {("trial-3",)}
    assert [event.acquisition.hfw_um for event in events] == [250.0, 120.0] * 4
    assert [event.position_x_mm for event in events] == pytest.approx(
        [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    )
    assert microscope.touched.count("autofocus") == 1


def test_a_rescan_comes_before_the_next_place(run, microscope, analysis, until):
    with run(microscope) as running:
        act_id = ask(analysis, microscope, plan())
        until(lambda: len(running.events()) >= 2, "two frames")
        changes = RescanParameters(
            autofocus=True,
            accelerating_voltage_kv=6.0,
            detector="sed",
            charge_reduction="high",
            frame_averages=9,
        )
        rescan = ask_rescan(analysis, running.events()[0], changes)
        until(lambda: len(running.events()) == 9, "the plan and the rescan")
        events, gas = running.events(), microscope.state().charge_reduction
    answers = [event.act_id == rescan for event in events]
    assert answers.count(True) == 1
    assert answers.index(True) < 8
    planned = [event for event in events if event.act_id == act_id]
    assert [event.index for event in planned] == list(range(8))
    # The plan leaves them open; a rescan in between is no reason to take its frames in another way.
    for name in ("accelerating_voltage_kv", "detector", "frame_averages"):
        assert len({getattr(event.acquisition, name) for event in planned}) == 1, name
    assert gas == "off"


def test_a_gateway_that_starts_again_goes_on_at_the_first_frame_not_taken(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan(count=8))
    with run(microscope) as running:
        until(lambda: len(running.events()) >= 3, "three frames")
    with run(CountingMicroscope(seed=7)) as running:
        taken = len(running.events())
        assert 3 <= taken < 16
        until(lambda: len(running.events()) == 16, "the rest")
        events = running.events()
    assert [event.index for event in events] == list(range(16))
    assert act_of(analysis, act_id).state is ActState.RUNNING


def test_a_cancelled_one_takes_no_further_frame(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan(count=150))
    with run(microscope) as running:
        until(lambda: len(running.events()) >= 3, "three frames")
        with analysis.store.write() as session:
            acts.cancel(session, act_id, "enough")
        until(lambda: running.gateway.plan_left == 0, "the end")
        taken = len(running.events())
    assert taken < 300
    assert act_of(analysis, act_id).state is ActState.CANCELLED


def test_a_frame_that_cannot_be_taken_fails_the_acquisition_and_restores(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan())
    before = microscope._state
    microscope.fail("acquire", "vacuum")
    with run(microscope) as running:
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the failure")
        until(lambda: microscope._state.hfw_um == before.hfw_um, "the restored field")
        until(lambda: running.gateway.plan_left == 0, "the rest being dropped")
    assert "frame 0" in act_of(analysis, act_id).failure
    assert "vented" in act_of(analysis, act_id).failure


def test_a_passing_fault_is_tried_again(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan(count=2))
    microscope.fail("acquire", "torn", times=2)
    with run(microscope) as running:
        until(lambda: len(running.events()) == 4, "the plan")
        for event in running.events():
            arrive(analysis, event)
    assert act_of(analysis, act_id).state is ActState.ACQUIRED
