"""A person comes first: hold, release and stop, by request and by the command line."""

from __future__ import annotations

import threading
import time

import pytest
from typer.testing import CliRunner

from labsem.streams import RequestClient
from schemas.acts import InstrumentState, InstrumentStatus
from schemas.plans import Place, Plan
from schemas.requests import Hold, InstrumentAnswer, Release, Stop
from services.gateway import AcquisitionPlan, PlannedFrame
from tests.services.gateway.test_acquisition import ask as ask_acquisition
from tests.services.gateway.test_gateway import act_of, ask_rescan, planned


def ask(settings, request):
    client = RequestClient(settings.instrument.requests, timeout_s=10.0)
    return client.ask(request, InstrumentAnswer).status


def states(running):
    return [status.state for status in running.events(InstrumentStatus)]


@pytest.fixture
def grid():
    return AcquisitionPlan(tuple(PlannedFrame("demo-1", 0.1 * i, 0.1, 250.0) for i in range(6)))


def test_a_hold_in_mid_grid_and_a_move_by_hand_leave_the_grid_whole(
    run, microscope, settings, analysis, until, grid
):
    with run(microscope, grid) as running:
        until(lambda: running.gateway.frames_done >= 2, "two frames")
        status = ask(settings, Hold(by="Ada"))
        assert status.held_by == "Ada"
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
        done = running.gateway.frames_done
        touched = len(microscope.touched)
        microscope.move_to(2.0, 2.0, 1.0)
        microscope.set_hfw(80.0)
        microscope.set_detector("sed")
        by_hand = len(microscope.touched) - touched
        time.sleep(0.5)
        assert running.gateway.frames_done == done
        assert len(microscope.touched) == touched + by_hand
        assert ask(settings, Release(by="Ada")).held_by is None
        until(lambda: running.gateway.plan_left == 0, "the rest of the grid")
        events = running.events()
    assert [event.position_x_mm for event in events] == pytest.approx([0.1 * i for i in range(6)])
    assert {event.acquisition.hfw_um for event in events} == {250.0}
    assert InstrumentState.AVAILABLE in states(running)


def test_an_acquisition_that_is_held_in_mid_grid_goes_on_at_its_right_places(
    run, microscope, settings, analysis, until
):
    wanted = Plan(
        places=tuple(Place(x_mm=0.1 * i, y_mm=0.1) for i in range(40)), hfw_um=(250.0,), detector="bsd"
    )
    with run(microscope) as running:
        act_id = ask_acquisition(analysis, microscope, wanted)
        until(lambda: running.gateway.frames_done >= 2, "two frames")
        ask(settings, Hold(by="Ada"))
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
        done = running.gateway.frames_done
        assert done < 40
        microscope.move_to(2.0, 2.0, 1.0)
        microscope.set_hfw(80.0)
        microscope.set_detector("sed")
        time.sleep(0.5)
        assert running.gateway.frames_done == done
        ask(settings, Release(by="Ada"))
        until(lambda: len(running.events()) == 40, "the rest of the grid")
        events = running.events()
    assert [event.index for event in events] == list(range(40))
    assert {event.act_id for event in events} == {act_id}
    assert [event.position_x_mm for event in events] == pytest.approx([0.1 * i for i in range(40)])
    assert {(event.acquisition.hfw_um, event.acquisition.detector) for event in events} == {(250.0, "bsd")}


def test_no_claim_is_made_while_it_is_held(run, microscope, settings, analysis, until):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the frame")
        (event,) = running.events()
        ask(settings, Hold(by="Ada"))
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
        from schemas.acts import RescanParameters

        act_id = ask_rescan(analysis, event, RescanParameters(autofocus=True))
        moves = len(microscope.touched)
        time.sleep(1.0)
        assert act_of(analysis, act_id).state == "approved"
        assert len(microscope.touched) == moves
        ask(settings, Release(by="Ada"))
        until(lambda: len(running.events()) == 2, "the rescan")


def test_a_hold_ends_by_itself_and_outlives_the_gateway(run, microscope, settings, analysis, until, grid):
    with run(microscope) as running:
        ask(settings, Hold(by="Ada", for_s=3600.0))
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
    with run(microscope, grid) as running:
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold after a restart")
        held = running.events(InstrumentStatus)[-1]
        assert held.held_by == "Ada"
        assert held.held_until is not None
        assert running.gateway.frames_done == 0
        ask(settings, Hold(by="Bea", for_s=0.3))
        until(lambda: running.gateway.plan_left == 0, "the grid, once the time was over")
        assert running.events(InstrumentStatus)[-1].held_by is None


def test_stop_cancels_the_scan_blanks_and_holds(run, settings, analysis, until, grid, monkeypatch):
    from tests.services.gateway.conftest import CountingMicroscope

    microscope = CountingMicroscope(seed=7)
    scanning, wait = threading.Event(), microscope._wait

    def slow(command, duration_s, timeout_s):
        if command == "acquire" and not scanning.is_set():
            scanning.set()
            wait(command, 1e6, 600.0)
        wait(command, duration_s, timeout_s)

    monkeypatch.setattr(microscope, "_latency", 1.0)
    monkeypatch.setattr(microscope, "_wait", lambda command, *times: slow(command, *times))
    monkeypatch.setattr("drivers.virtual.Latency.move", 0.0)
    with run(microscope, grid) as running:
        assert scanning.wait(30)
        ask(settings, Stop(by="Ada"))
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
        assert microscope.status().beam_blanked
        assert running.events() == []
        monkeypatch.setattr(microscope, "_latency", 0.0)
        ask(settings, Release(by="Ada"))
        until(lambda: running.gateway.plan_left == 0, "the grid")
        places = [event.position_x_mm for event in running.events()]
    assert places == pytest.approx([0.1 * i for i in range(6)])


def test_the_command_line_holds_releases_and_stops(run, microscope, settings, analysis, until, monkeypatch):
    from services.cli.main import app

    monkeypatch.setenv("LABSEM_INSTRUMENT__REQUESTS", settings.instrument.requests)
    runner = CliRunner()
    with run(microscope) as running:
        said = runner.invoke(app, ["instrument", "hold", "--by", "Ada", "--minutes", "5"])
        assert said.exit_code == 0, said.output
        assert "Ada" in said.output
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the hold")
        said = runner.invoke(app, ["instrument", "release", "--by", "Ada", "--json"])
        assert '"held_by": null' in said.output
        until(lambda: states(running)[-1] is InstrumentState.AVAILABLE, "the release")
        assert runner.invoke(app, ["instrument", "stop", "--by", "Ada"]).exit_code == 0
        until(lambda: states(running)[-1] is InstrumentState.HELD, "the stop")
    monkeypatch.setattr("services.cli.instrument.ASK_TIMEOUT_S", 0.2)
    said = runner.invoke(app, ["instrument", "hold", "--by", "Ada"])
    assert said.exit_code == 1
    assert "no answer" in str(said.exception)
