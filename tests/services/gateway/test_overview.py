"""A picture of the holder between two frames: everything is put back, and a plan goes on."""

from __future__ import annotations

import base64
from uuid import uuid4

import imagecodecs
import pytest
from typer.testing import CliRunner

from drivers.base import BasicMicroscope
from drivers.virtual import VirtualMicroscope
from labsem.streams import RequestClient, RequestRefusedError
from schemas.acts import Capabilities
from schemas.requests import Hold, OverviewAnswer, Release, TakeOverview
from services.gateway import AcquisitionPlan
from services.gateway.overview import OverviewDesk
from tests.services.gateway.test_gateway import planned
from tests.services.gateway.test_hold import ask as ask_desk


def ask(settings, request: TakeOverview) -> OverviewAnswer:
    return RequestClient(settings.instrument.requests, timeout_s=10.0).ask(request, OverviewAnswer)


def picture_of(answer: OverviewAnswer):
    return imagecodecs.png_decode(base64.b64decode(answer.png_base64))


def test_it_is_taken_amid_a_plan_and_everything_is_as_it_was(run, microscope, settings, analysis, until):
    places = tuple(planned(0.1 * number) for number in range(12))
    request = TakeOverview(request_id=uuid4())
    with run(microscope, AcquisitionPlan(places)) as running:
        until(lambda: running.gateway.frames_done >= 2, "two frames")
        until(lambda: ask(settings, request).state == "taken", "the picture")
        picture = picture_of(ask(settings, request))
        until(lambda: running.gateway.plan_left == 0, "the plan")
        events = running.events()
    assert picture.shape[2] == 3
    assert picture.std() > 10
    assert [event.position_x_mm for event in events] == pytest.approx([0.1 * n for n in range(12)])
    assert len({event.acquisition.hfw_um for event in events}) == 1
    assert not list(settings.data_dir.glob("*.restore.json"))


def test_it_waits_while_a_person_has_the_instrument(run, microscope, settings, analysis, until):
    request = TakeOverview(request_id=uuid4())
    with run(microscope):
        ask_desk(settings, Hold(by="Ada"))
        assert ask(settings, request).state == "waiting"
        microscope.move_to(1.0, 1.0, 1.0)
        before = microscope.state()
        assert ask(settings, request).state == "waiting"
        ask_desk(settings, Release(by="Ada"))
        until(lambda: ask(settings, request).state == "taken", "the picture")
        assert microscope.state() == before


def test_a_camera_that_fails_is_told_of_and_does_no_harm(run, microscope, settings, analysis, until):
    first, second = (TakeOverview(request_id=uuid4()) for _ in range(2))
    with run(microscope):
        microscope.fail("overview", "vacuum")
        until(lambda: ask(settings, first).state == "failed", "the failure")
        assert "vented" in ask(settings, first).problem
        until(lambda: ask(settings, second).state == "taken", "the next one")


def test_the_command_line_writes_it(run, microscope, settings, analysis, monkeypatch, tmp_path):
    from services.cli.main import app

    monkeypatch.setenv("LABSEM_INSTRUMENT__REQUESTS", settings.instrument.requests)
    target = tmp_path / "holder.png"
    with run(microscope):
        result = CliRunner().invoke(app, ["instrument", "overview", str(target)])
    assert result.exit_code == 0, result.output
    assert imagecodecs.png_decode(target.read_bytes()).ndim == 3


def test_an_instrument_without_a_camera_refuses():
    class Blind(BasicMicroscope):
        def capabilities(self) -> Capabilities:
            return Capabilities(can_act=True)

    desk = OverviewDesk(Blind(), lambda: None)
    with pytest.raises(RequestRefusedError, match="no navigation camera"):
        desk.ask(TakeOverview(request_id=uuid4()))
    assert not desk.wanted


class Stubborn(VirtualMicroscope):
    """Does not activate so many times once the sample lies under the camera."""

    refusals = 1

    def overview(self, timeout_s: float):
        picture = super().overview(timeout_s)
        self.fail("activate", "timeout", self.refusals)
        return picture


@pytest.mark.parametrize(("refusals", "brought_back"), [(1, True), (2, False)])
def test_a_sample_left_under_the_camera_is_brought_back(tmp_path, refusals, brought_back):
    microscope = Stubborn(latency=0.0)
    microscope.refusals = refusals
    microscope.connect(1.0)
    microscope.move_to(1.0, -2.0, 1.0)
    before, note = microscope.state(), tmp_path / "x.restore.json"
    desk = OverviewDesk(microscope, lambda: None)
    request = TakeOverview(request_id=uuid4())
    desk.ask(request)
    assert desk.take(note) is not None
    assert desk.ask(request).state == "failed"
    assert note.exists() is not brought_back
    if not brought_back:
        microscope.activate(1.0)
    assert microscope.status().mode == "sem"
    assert microscope.state() == before
