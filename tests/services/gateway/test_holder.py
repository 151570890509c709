"""The holder's map at the gateway: plans keep to their sample's slot, and found frames take their sample by place."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from drivers.base import FoundFrame
from labsem.streams import RequestClient
from schemas.acts import ActState, RescanParameters
from schemas.base import utc_now
from schemas.holder import Holder, Slot
from schemas.image import Acquisition
from schemas.plans import Place, Plan
from schemas.requests import GetHolder, HolderAnswer, SetHolder
from services.gateway.holder import HolderShelf
from services.gateway.plan import AcquisitionPlan
from tests.services.gateway.test_acquisition import ask
from tests.services.gateway.test_gateway import act_of, ask_rescan, planned

HOLDER = Holder(
    slots=(
        Slot(slot="A1", sample_id="demo-1", x_mm=0.0, y_mm=0.0, radius_mm=6.0),
        Slot(slot="A2", sample_id="demo-2", sample_name="Second", x_mm=15.0, y_mm=0.0, radius_mm=6.0),
    )
)


def request(settings, asked):
    return RequestClient(settings.instrument.requests, timeout_s=10.0).ask(asked, HolderAnswer).holder


def plan(*places, **more) -> Plan:
    return Plan(places=tuple(Place(x_mm=x, y_mm=y) for x, y in places), hfw_um=(250.0,), **more)


def test_a_map_is_kept_over_restarts(run, microscope, settings, analysis):
    with run(microscope):
        assert request(settings, GetHolder()) == Holder()
        assert request(settings, SetHolder(holder=HOLDER)) == HOLDER
    with run(microscope):
        assert request(settings, GetHolder()) == HOLDER
        request(settings, SetHolder(holder=Holder()))
    with run(microscope):
        assert request(settings, GetHolder()) == Holder()


def test_places_count_from_the_middle_of_the_slot(run, microscope, settings, analysis, until):
    with run(microscope) as running:
        request(settings, SetHolder(holder=HOLDER))
        ask(analysis, microscope, plan((0.1, 0.2), (-0.1, 0.2), on_slot=True), sample_id="demo-2")
        until(lambda: len(running.events()) == 2, "the plan")
        events = running.events()
    assert [event.position_x_mm for event in events] == pytest.approx([15.1, 14.9])
    assert {event.sample_id for event in events} == {"demo-2"}


@pytest.mark.parametrize(
    ("wanted", "sample", "why"),
    [
        (plan((0.0, 0.0), (15.0, 0.0)), "demo-1", "place 2 of the plan, 15, 0 mm, is on slot A2, demo-2"),
        (plan((7.5, 0.0)), "demo-1", "is on no slot"),
        (plan((0.0, 0.0)), "demo-9", "not on the holder (A1: demo-1, A2: demo-2)"),
    ],
)
def test_a_plan_that_leaves_its_sample_moves_nothing(
    run, microscope, settings, analysis, until, wanted, sample, why
):
    with run(microscope):
        request(settings, SetHolder(holder=HOLDER))
        act_id = ask(analysis, microscope, wanted, sample_id=sample)
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the refusal")
    assert why in act_of(analysis, act_id).failure
    assert microscope.moves == []


def test_a_slot_is_needed_for_places_on_a_slot(run, microscope, analysis, until):
    act_id = ask(analysis, microscope, plan((0.0, 0.0), on_slot=True))
    with run(microscope):
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the refusal")
    assert "no holder is set" in act_of(analysis, act_id).failure


def test_a_found_frame_takes_its_sample_by_its_place(tmp_path):
    from services.gateway.watching import WatchedShelf

    shelf = HolderShelf(tmp_path / "holder.json")
    shelf.set(SetHolder(holder=HOLDER))
    watched = WatchedShelf.__new__(WatchedShelf)
    watched._holder, watched._image_root, watched._instrument_id = shelf, "root", "sem-1"
    found = FoundFrame("a.tif", 1, "0" * 64, utc_now(), "named", "named", Acquisition(), 15.5, 1.0)
    event = watched._event(found)
    assert (event.sample_id, event.sample_name) == ("demo-2", "Second")
    elsewhere = FoundFrame("a.tif", 1, "0" * 64, utc_now(), "named", "Named", Acquisition(), 50.0, 1.0)
    assert (watched._event(elsewhere).sample_id, watched._event(elsewhere).sample_name) == ("named", "Named")


def test_an_unreadable_map_is_said_and_forgotten(tmp_path):
    file = tmp_path / "holder.json"
    file.write_text("{torn")
    assert HolderShelf(file).get(GetHolder()).holder == Holder()


def test_the_command_line_sets_and_shows_it(run, microscope, settings, analysis, monkeypatch, tmp_path):
    from services.cli.main import app

    monkeypatch.setenv("LABSEM_INSTRUMENT__REQUESTS", settings.instrument.requests)
    runner = CliRunner()
    file = tmp_path / "holder.toml"
    file.write_text('[[slots]]\nslot = "A1"\nsample_id = "x-1"\nx_mm = 0\ny_mm = 0.0\nradius_mm = 6.0\n')
    with run(microscope):
        assert "no holder is set" in runner.invoke(app, ["holder", "show"]).output
        assert "x-1" in runner.invoke(app, ["holder", "load", str(file)]).output
        said = runner.invoke(app, ["holder", "put", "A2", "x-2", "--at", "15,0", "--json"])
        assert [slot["sample_id"] for slot in json.loads(said.output)["slots"]] == ["x-1", "x-2"]
        said = runner.invoke(app, ["holder", "put", "A3", "x-3", "--at", "16,0"])
        assert said.exit_code == 2
        file.write_text("[[slots]]\nslot = 1\n")
        assert runner.invoke(app, ["holder", "load", str(file)]).exit_code == 1
        assert "no holder is set" in runner.invoke(app, ["holder", "clear"]).output


def test_another_place_of_a_rescan_is_kept_on_its_samples_slot(tmp_path):
    shelf = HolderShelf(tmp_path / "holder.json")
    far, around = Place(x_mm=6.5, y_mm=0.0), Place(x_mm=5.5, y_mm=0.0)
    assert shelf.kept("demo-1", far, around) == far, "nobody told where the slots are"
    shelf.set(SetHolder(holder=HOLDER))
    assert shelf.kept("demo-1", around, None) == around
    assert shelf.kept("demo-1", far, around) == Place(x_mm=4.5, y_mm=0.0), "mirrored"
    assert shelf.kept("elsewhere", far, around) == far
    with pytest.raises(ValueError, match="not on the slot of demo-1"):
        shelf.kept("demo-1", Place(x_mm=15.0, y_mm=0.0), Place(x_mm=0.0, y_mm=0.0))


def test_a_rescan_off_its_samples_slot_fails_and_moves_nothing(run, microscope, settings, analysis, until):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        (first,) = running.events()
        request(settings, SetHolder(holder=HOLDER))
        moves = list(microscope.moves)
        act_id = ask_rescan(analysis, first, RescanParameters(position_x_mm=15.0, position_y_mm=0.0))
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the refusal")
    assert "not on the slot of demo-1" in act_of(analysis, act_id).failure
    assert microscope.moves == moves
