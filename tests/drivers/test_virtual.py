"""The virtual microscope behind the protocol: limits, faults, errors, and frames that a remedy improves."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from drivers.base import Microscope
from drivers.errors import (
    BusyError,
    DisconnectedError,
    LicenceError,
    MicroscopeTimeoutError,
    NotConnectedError,
    OutOfRangeError,
    StoppedError,
    TransferError,
    UnsupportedError,
    VacuumError,
)
from drivers.targets import Target, check_target, go_to, nearest_dwell_time_ns, restore
from drivers.virtual import VirtualMicroscope
from schemas.acts import Capabilities

SMALL = {"latency": 0.0, "width_px": 320, "height_px": 240, "seed": 7}


@pytest.fixture
def microscope():
    microscope = VirtualMicroscope(**SMALL)
    microscope.connect(1.0)
    yield microscope
    microscope.close()


def raised_place(microscope: VirtualMicroscope) -> tuple[float, float]:
    places = [(0.8 * i + 0.4, 0.8 * j + 0.4) for i in range(-5, 5) for j in range(-5, 5)]
    return max(places, key=lambda p: microscope.holder.raised_um(*p))


def test_it_follows_the_protocol_and_says_that_it_is_simulated(microscope):
    assert isinstance(microscope, Microscope)
    assert "simulated" in microscope.name
    assert "stand-in" in __import__("drivers.virtual", fromlist=["x"]).__doc__


def test_nothing_works_before_it_is_connected():
    microscope = VirtualMicroscope(**SMALL)
    assert microscope.capabilities().can_act
    for call in (
        microscope.state,
        lambda: microscope.move_to(0, 0, 1),
        lambda: microscope.set_hfw(100),
        lambda: microscope.autofocus(1),
        lambda: microscope.set_detector("sed"),
        lambda: microscope.set_voltage(10),
        lambda: microscope.set_scan(100, 1),
        lambda: microscope.set_working_distance(6),
        lambda: microscope.acquire(1),
    ):
        with pytest.raises(NotConnectedError, match="connect first") as caught:
            call()
        assert caught.value.retryable


def test_connecting_and_closing_twice_is_harmless(microscope):
    microscope.connect(1.0)
    microscope.close()
    microscope.close()
    with pytest.raises(NotConnectedError):
        microscope.acquire(1.0)


def test_a_frame_reports_what_was_reached(microscope):
    assert microscope.move_to(0.31, -0.2, 1.0) == (0.31, -0.2)
    microscope.set_hfw(150.0)
    microscope.set_detector("sed")
    microscope.set_voltage(5.0)
    microscope.set_scan(800.0, 2)
    frame = microscope.acquire(1.0)
    said = frame.acquisition
    assert frame.pixels.shape == (240, 320)
    assert frame.pixels.dtype == np.uint8
    assert (frame.position_x_mm, frame.position_y_mm) == (0.31, -0.2)
    assert (said.hfw_um, said.detector, said.accelerating_voltage_kv) == (150.0, "sed", 5.0)
    assert (said.dwell_time_ns, said.frame_averages) == (800.0, 2)
    assert said.pixel_size_nm == pytest.approx(150e3 / 320)
    assert said.magnification == pytest.approx(0.5e6 / 150)
    assert frame.acquired_at.tzinfo is not None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda m: m.move_to(99.0, 0.0, 1), "x_mm 99"),
        (lambda m: m.move_to(0.0, float("nan"), 1), "y_mm nan"),
        (lambda m: m.set_hfw(0.001), "hfw_um 0.001"),
        (lambda m: m.set_voltage(200.0), "voltage_kv 200"),
        (lambda m: m.set_working_distance(900.0), "working_distance_mm 900"),
        (lambda m: m.set_scan(1e9, 1), "dwell_time_ns 1e+09"),
        (lambda m: m.set_scan(100.0, 1000), "frame_averages 1000"),
    ],
)
def test_a_value_outside_its_limits_touches_nothing(microscope, call, named):
    before = microscope.state()
    with pytest.raises(OutOfRangeError) as caught:
        call(microscope)
    assert named in str(caught.value)
    assert not caught.value.retryable
    assert microscope.state() == before


def test_a_target_is_checked_as_a_whole_before_its_first_step(microscope):
    before = microscope.state()
    with pytest.raises(UnsupportedError, match="sed, bsd"):
        go_to(microscope, Target(x_mm=1.0, y_mm=1.0, hfw_um=80.0, detector="stem"), 1.0)
    assert microscope.state() == before


def test_an_instrument_that_cannot_act_refuses_every_target():
    with pytest.raises(UnsupportedError, match="only reads"):
        check_target("folder", Capabilities(can_act=False), Target())
    fixed = Capabilities(can_act=True)
    with pytest.raises(UnsupportedError, match="stage"):
        check_target("fixed", fixed, Target(x_mm=1.0))
    with pytest.raises(UnsupportedError, match="dwell"):
        check_target("fixed", fixed, Target(dwell_time_ns=100.0))


def test_the_dwell_time_is_the_next_longer_one_on_offer(microscope):
    able = microscope.capabilities()
    assert nearest_dwell_time_ns(able, 300.0) == 400.0
    assert nearest_dwell_time_ns(able, 400.0) == 400.0
    assert nearest_dwell_time_ns(able, 1e6) == 3200.0


def test_restore_puts_everything_back(microscope):
    before = microscope.state()
    go_to(
        microscope,
        Target(x_mm=1.0, y_mm=0.5, hfw_um=80.0, detector="sed", dwell_time_ns=100.0, autofocus=True),
        1.0,
    )
    microscope.set_voltage(15.0)
    assert microscope.state() != before
    restore(microscope, before, 1.0)
    assert microscope.state() == before


@pytest.mark.parametrize(
    ("kind", "error", "retryable"),
    [
        ("timeout", MicroscopeTimeoutError, True),
        ("busy", BusyError, True),
        ("vacuum", VacuumError, False),
        ("disconnect", DisconnectedError, True),
        ("torn", TransferError, True),
        ("licence", LicenceError, False),
    ],
)
def test_faults_come_on_demand_once(microscope, kind, error, retryable):
    microscope.fail("acquire", kind)
    microscope.state()
    with pytest.raises(error) as caught:
        microscope.acquire(1.0)
    assert caught.value.retryable is retryable
    assert caught.value.command == "acquire"
    if kind == "disconnect":
        with pytest.raises(NotConnectedError):
            microscope.state()
        microscope.connect(1.0)
    microscope.acquire(1.0)


def test_a_scan_longer_than_its_limit_times_out_and_leaves_the_instrument_free():
    microscope = VirtualMicroscope(**{**SMALL, "latency": 50.0})
    with pytest.raises(MicroscopeTimeoutError, match="over the limit"):
        microscope.connect(0.01)
    microscope = VirtualMicroscope(**{**SMALL, "latency": 1e-3})
    microscope.connect(5.0)
    with pytest.raises(MicroscopeTimeoutError, match="move_to"):
        microscope.move_to(0.1, 0.1, 1e-6)
    microscope.move_to(0.1, 0.1, 5.0)


def test_one_command_at_a_time_and_stop_cancels_it(monkeypatch):
    microscope = VirtualMicroscope(**{**SMALL, "latency": 1e-3})
    microscope.connect(60.0)
    begun, ended = threading.Event(), []
    wait = microscope._wait

    def noticed(command, *times):
        begun.set()
        wait(command, 1e6, 600.0)

    monkeypatch.setattr(microscope, "_wait", noticed)

    def work():
        try:
            microscope.autofocus(600.0)
        except StoppedError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    with pytest.raises(BusyError):
        microscope.acquire(1.0)
    microscope.stop()
    thread.join(30)
    assert len(ended) == 1
    monkeypatch.undo()
    microscope.acquire(60.0)


def test_autofocus_makes_a_blurred_place_sharp_and_its_particles_certain(microscope):
    microscope.set_hfw(90.0)
    x_mm, y_mm = raised_place(microscope)
    assert microscope.holder.raised_um(x_mm, y_mm) > 300
    microscope.move_to(x_mm, y_mm, 1.0)
    microscope.acquire(1.0)
    blurred = microscope.last_frame
    microscope.autofocus(1.0)
    microscope.acquire(1.0)
    sharp = microscope.last_frame
    seen = {p.particle_id for p in blurred.particles} & {p.particle_id for p in sharp.particles}
    assert len(seen) >= 3

    def blur(frame):
        return np.mean([p.blur_px for p in frame.particles if p.particle_id in seen])

    def certain(frame):
        return sum(p.certain for p in frame.particles if p.particle_id in seen)

    assert blur(blurred) > 3 * blur(sharp)
    assert certain(sharp) > certain(blurred)


def test_a_longer_dwell_raises_signal_over_noise(microscope):
    microscope.move_to(0.4, 0.4, 1.0)
    microscope.set_scan(50.0, 1)
    microscope.acquire(1.0)
    quick = microscope.last_frame
    microscope.set_scan(800.0, 4)
    microscope.acquire(1.0)
    slow = microscope.last_frame
    ratio = {p.particle_id: p.contrast_to_noise for p in quick.particles}
    pairs = [(ratio[p.particle_id], p.contrast_to_noise) for p in slow.particles if p.particle_id in ratio]
    assert len(pairs) >= 5
    assert np.mean([after > before for before, after in pairs]) > 0.9
    assert slow.uncertain_fraction <= quick.uncertain_fraction


def test_the_stage_returns_within_micrometres(microscope):
    views = []
    for _ in range(6):
        microscope.move_to(2.0, 0.0, 1.0)
        microscope.move_to(0.4, 0.4, 1.0)
        microscope.acquire(1.0)
        views.append(microscope.last_frame.view)
    shifts_um = 1000 * np.array([[v.x_mm - 0.4, v.y_mm - 0.4] for v in views])
    assert 0 < np.abs(shifts_um).max() < 4


def test_samples_lie_on_stubs_of_their_own():
    microscope = VirtualMicroscope(**{**SMALL, "samples": "a,b"})
    microscope.connect(1.0)
    frames = []
    for sample in ("a", "b"):
        microscope.move_to(*microscope.holder.centre_mm(sample), 1.0)
        frames.append(microscope.acquire(1.0).pixels)
    assert not np.array_equal(*frames)
    with pytest.raises(KeyError, match="a, b"):
        microscope.holder.centre_mm("c")


def test_two_microscopes_of_one_seed_give_the_same_frames():
    frames = []
    for _ in range(2):
        microscope = VirtualMicroscope(**SMALL)
        microscope.connect(1.0)
        microscope.move_to(0.3, 0.3, 1.0)
        frames.append(microscope.acquire(1.0).pixels)
    np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize(
    "options",
    [{"samples": " "}, {"samples": "a,a"}, {"latency": -1.0}, {"width_px": 8}, {"stage_error_um": -1.0}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"sample|negative|at least"):
        VirtualMicroscope(**{**SMALL, **options})
