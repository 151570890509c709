"""Frames, their events and the rescans of a gateway, over real sockets and databases."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from drivers.errors import VacuumError
from labsem.frames import read_frame, sha256_of_file, sidecar_path
from labsem.store import acts, asking, instruments, samples
from labsem.streams import MemoryCursors, RequestRefusedError, Subscriber
from schemas.acts import ActState, InstrumentState, InstrumentStatus, RescanParameters, RescanReason
from schemas.base import utc_now
from schemas.image import ImageAcquired
from schemas.requests import ErrorCode
from schemas.settings import RescanSettings
from services.gateway import AcquisitionPlan, PlannedFrame, demo_plan
from services.gateway.acts import ActsClient


def planned(x_mm: float = 0.2, **more) -> PlannedFrame:
    return PlannedFrame("demo-1", x_mm, 0.1, 250.0, **more)


def ask_rescan(analysis, event: ImageAcquired, parameters: RescanParameters):
    with analysis.store.write() as session:
        instruments.ensure(session, event.instrument_id)
        samples.frame_came(session, event.sample_id, settle_after_s=60)
        asked = asking.create_rescan(
            session,
            asking.Place(
                event.sample_id, event.instrument_id, event.position_x_mm, event.position_y_mm, 60.0
            ),
            stream=analysis.stream,
            frame_before=event.frame_id,
            reasons=(RescanReason.BLURRED,),
            parameters=parameters,
            settings=RescanSettings(),
            requested_by="person",
        )
    assert asked.act is not None, asked.refusal
    return asked.act.act_id


def act_of(analysis, act_id):
    with analysis.store.read() as session:
        return acts.get(session, act_id)


def test_a_planned_frame_lies_on_disk_as_its_event_says(run, microscope, settings, until):
    plan = AcquisitionPlan((planned(labels=("trial-9",)),))
    with run(microscope, plan) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        (event,) = running.events()
    path = settings.image_roots["virtual-1"] / event.path
    assert event.size_bytes == path.stat().st_size
    assert event.sha256 == sha256_of_file(path)
    assert event.labels == ("trial-9",)
    assert ImageAcquired.read(sidecar_path(path).read_bytes()) == event
    frame = read_frame(path)
    assert (frame.width_px, frame.height_px) == (192, 128)
    assert frame.hfw_um == pytest.approx(250.0)
    assert microscope.moves == [(0.2, 0.1)]


def test_a_subscriber_is_told_of_status_and_frames_in_order(run, microscope, settings, until):
    got = []
    plan = AcquisitionPlan((planned(), planned(0.6)))
    own = settings.instrument
    with (
        run(microscope, plan) as running,
        Subscriber(
            "t", own.events, own.requests, MemoryCursors(), lambda s, e, name, raw: got.append((e, name))
        ),
    ):
        until(lambda: len(got) >= 3, "three messages")
        announced = running.events()
    assert [e.sequence for e, _ in got[:3]] == [1, 2, 3]
    assert [name.split("/")[0] for _, name in got[:3]] == [
        "instrument-status",
        "image-acquired",
        "image-acquired",
    ]
    assert len(announced) == 2


def test_an_approved_rescan_is_done_at_the_place_of_its_frame(run, microscope, analysis, until):
    with run(microscope, AcquisitionPlan((planned(), planned(1.7)))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        first, _ = running.events()
        act_id = ask_rescan(analysis, first, RescanParameters(autofocus=True, dwell_time_ns=700.0))
        until(lambda: len(running.events()) == 3, "the rescan's frame")
        answer = running.events()[2]
    assert answer.act_id == act_id
    assert answer.sample_id == first.sample_id
    assert (answer.position_x_mm, answer.position_y_mm) == (first.position_x_mm, first.position_y_mm)
    assert answer.acquisition.hfw_um == first.acquisition.hfw_um
    assert answer.acquisition.dwell_time_ns == 800.0
    assert microscope.moves == [(0.2, 0.1), (1.7, 0.1), (0.2, 0.1)]
    assert microscope.touched[-2:] == ["autofocus", "acquire"]
    assert act_of(analysis, act_id).state is ActState.RUNNING  # the frame's event has not been taken in here


def test_a_remedy_that_needs_no_move_makes_none(run, microscope, analysis, until):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        ask_rescan(analysis, running.events()[0], RescanParameters(frame_averages=16))
        until(lambda: len(running.events()) == 2, "the rescan's frame")
    assert microscope.moves == [(0.2, 0.1)]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        (RescanParameters(hfw_um=0.01), "hfw_um 0.01"),
        (RescanParameters(position_x_mm=900.0, position_y_mm=0.0), "x_mm 900"),
        (RescanParameters(detector="stem"), "stem"),
        (RescanParameters(frame_averages=255), "frame_averages 255"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_touched(
    run, microscope, analysis, until, parameters, named
):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        before, state = list(microscope.touched), microscope.state()
        act_id = ask_rescan(analysis, running.events()[0], parameters)
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the refusal")
        assert microscope.touched == before
        assert microscope.state() == state
    assert named in act_of(analysis, act_id).failure


@pytest.mark.parametrize("command", ["set_hfw", "autofocus", "acquire"])
def test_a_step_that_fails_is_reported_and_everything_restored(run, microscope, analysis, until, command):
    with run(microscope, AcquisitionPlan((planned(), planned(1.7)))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        first = running.events()[0]
        state = microscope.state()
        microscope.fail(command, "timeout")
        act_id = ask_rescan(analysis, first, RescanParameters(hfw_um=120.0, autofocus=True, detector="sed"))
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the failure")
        until(lambda: microscope.state() == state, "the old state")
        assert len(running.events()) == 2
    assert command in act_of(analysis, act_id).failure
    assert not list(running.folder.glob("*.restore.json"))


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        ("acquire", "timeout", "no answer in time"),
        ("acquire", "torn", "lines missing"),
        ("acquire", "vacuum", "vented"),
        ("acquire", "licence", "licence does not cover"),
        ("move_to", "stuck", "stands still"),
        ("set_hfw", "busy", "another user"),
        ("autofocus", "disconnect", "the connection broke"),
    ],
)
def test_after_each_fault_the_instrument_is_as_it_was_and_the_next_rescan_succeeds(
    run, microscope, analysis, until, monkeypatch, command, kind, said
):
    monkeypatch.setattr("services.gateway.gateway.RECONNECT_EVERY_S", 0.05)
    with run(microscope, AcquisitionPlan((planned(), planned(1.7)))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        first = running.events()[0]
        before = microscope.state()
        wanted = RescanParameters(hfw_um=120.0, autofocus=True, detector="sed", accelerating_voltage_kv=6.0)
        microscope.fail(command, kind)
        failed = ask_rescan(analysis, first, wanted)
        until(lambda: act_of(analysis, failed).state is ActState.FAILED, "the failure")
        until(lambda: microscope._state == before, "the old state")
        again = ask_rescan(analysis, first, wanted)
        until(lambda: any(e.act_id == again for e in running.events()), "the second rescan's frame")
        events = running.events()
    assert said in act_of(analysis, failed).failure
    assert [event.act_id for event in events] == [None, None, again]
    assert (events[-1].acquisition.hfw_um, events[-1].acquisition.detector) == (120.0, "sed")


def test_a_broken_connection_is_a_fault_until_it_is_back(run, microscope, analysis, until, monkeypatch):
    monkeypatch.setattr("services.gateway.gateway.RECONNECT_EVERY_S", 0.05)
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        first = running.events()[0]
        microscope.fail("acquire", "disconnect")
        act_id = ask_rescan(analysis, first, RescanParameters(frame_averages=2))
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the failure")
        states = [InstrumentState.AVAILABLE, InstrumentState.FAULT, InstrumentState.AVAILABLE]
        until(lambda: [s.state for s in running.events(InstrumentStatus)] == states, "fault and recovery")
        again = ask_rescan(analysis, first, RescanParameters(frame_averages=2))
        until(lambda: any(e.act_id == again for e in running.events()), "the second rescan's frame")


def test_a_restart_announces_orphans_once_and_reports_what_no_frame_answers(
    run, microscope, analysis, until, settings
):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        (first,) = running.events()
    # What an earlier run leaves when it dies: a claimed act; a whole frame with its sidecar, not journalled,
    # that answers another; a sidecar whose frame was never renamed.
    lost, answered = (ask_rescan(analysis, first, RescanParameters(hfw_um=h)) for h in (100.0, 120.0))
    with analysis.store.write() as session:
        for _ in range(2):
            acts.claim(session, "virtual-1", uuid4(), running_for_s=300)
    root = settings.image_roots["virtual-1"]
    data = (root / first.path).read_bytes()
    orphan = first.model_copy(update={"frame_id": uuid4(), "path": "orphan.tif", "act_id": answered})
    (root / orphan.path).write_bytes(data)
    (root / "orphan.json").write_bytes(orphan.to_bytes())
    (root / "never.json").write_bytes(
        first.model_copy(update={"frame_id": uuid4(), "path": "never.tif"}).to_bytes()
    )
    (root / ".x.tif.part").write_bytes(b"half")
    for _ in range(2):
        with run(microscope) as running:
            until(lambda: act_of(analysis, lost).state is ActState.FAILED, "the report")
            assert [e.frame_id for e in running.events()] == [first.frame_id, orphan.frame_id]
    assert act_of(analysis, lost).failure.startswith("interrupted")
    assert act_of(analysis, answered).state is ActState.RUNNING
    assert not (root / "never.json").exists()
    assert not (root / ".x.tif.part").exists()
    assert len(microscope.moves) == 1


def test_a_restart_restores_what_was_noted_before_a_crash(run, microscope, analysis, settings):
    microscope.connect(1)
    noted = {**microscope.state().__dict__, "hfw_um": 77.0, "x_mm": 0.4}
    (settings.data_dir / "gateway-virtual-1.restore.json").write_text(json.dumps(noted))
    with run(microscope):
        assert (microscope.state().hfw_um, microscope.state().x_mm) == (77.0, 0.4)
    assert not (settings.data_dir / "gateway-virtual-1.restore.json").exists()


def test_it_acquires_without_an_analysis_side(run, microscope, until):
    with run(microscope, AcquisitionPlan((planned(), planned(0.9)))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        assert len(running.events()) == 2


def test_a_planned_frame_is_tried_again_and_then_left_out(run, microscope, until):
    for _ in range(3):
        microscope.fail("acquire", "timeout")
    with run(microscope, AcquisitionPlan((planned(), planned(0.9)))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        assert [e.position_x_mm for e in running.events()] == [0.9]


def test_a_vented_microscope_ends_the_start(run, microscope):
    microscope.fail("connect", "vacuum")
    with pytest.raises(VacuumError, match="vented"), run(microscope):
        pass


def test_the_demo_plan_has_blurred_and_hurried_frames_on_each_sample():
    plan = demo_plan(8, 7)
    assert [f.sample_id for f in plan.frames] == ["demo-1"] * 4 + ["demo-2"] * 4
    assert demo_plan(8, 7) == plan
    assert len({(f.x_mm, f.y_mm) for f in demo_plan(200, 3).frames}) == 200
    assert sum(f.dwell_time_ns < 100 for f in plan.frames) == 2


def test_a_frame_that_cannot_be_written_fails_its_act_and_the_gateway_goes_on(
    run, microscope, analysis, until, settings
):
    with run(microscope, AcquisitionPlan((planned(),))) as running:
        until(lambda: running.gateway.plan_left == 0, "the plan")
        (first,) = running.events()
        folder = (settings.image_roots["virtual-1"] / first.path).parent
        aside = folder.rename(folder.with_name("aside"))
        folder.write_text("no folder")
        act_id = ask_rescan(analysis, first, RescanParameters(frame_averages=2))
        until(lambda: act_of(analysis, act_id).state is ActState.FAILED, "the failure")
        folder.unlink()
        aside.rename(folder)
        again = ask_rescan(analysis, first, RescanParameters(frame_averages=2))
        until(lambda: any(e.act_id == again for e in running.events()), "the next rescan's frame")
    assert "cannot be written" in act_of(analysis, act_id).failure


def test_a_report_is_made_again_until_it_is_taken(analysis, settings, until, monkeypatch):
    client = ActsClient(settings.daemon.requests, "virtual-1")
    event = ImageAcquired(
        frame_id=uuid4(),
        sample_id="demo-1",
        instrument_id="virtual-1",
        image_root="virtual-1",
        path="x.tif",
        size_bytes=1,
        sha256="0" * 64,
        acquired_at=utc_now(),
        position_x_mm=0.0,
        position_y_mm=0.0,
    )
    act_id = ask_rescan(analysis, event, RescanParameters())
    assert client.claim().act_id == act_id
    plain, refused = acts.report, []

    def busy(*arguments):
        refused.append(arguments)
        raise RequestRefusedError(ErrorCode.BUSY, "later")

    monkeypatch.setattr(acts, "report", busy)
    client.report(act_id, "first try")
    assert len(refused) == 1
    assert act_of(analysis, act_id).state is ActState.RUNNING
    monkeypatch.setattr(acts, "report", plain)
    until(lambda: client.claim() is None and act_of(analysis, act_id).state is ActState.FAILED, "the report")
    assert act_of(analysis, act_id).failure == "first try"
