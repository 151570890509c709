"""The Phenom driver over a stand-in for the vendor's library: units, modes, and the failures that are known."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest

from drivers import load_driver
from drivers.errors import (
    BusyError,
    FocusError,
    LicenceError,
    MicroscopeTimeoutError,
    NotReadyError,
    OutOfRangeError,
    StageError,
    StoppedError,
    TransferError,
    VacuumError,
)
from drivers.phenom import PhenomMicroscope
from drivers.testing import MicroscopeConformance
from drivers.virtual import VirtualMicroscope
from tests.drivers.pyphenom import Quirks, pyphenom

SMALL = {"width_px": 960, "height_px": 600}


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in ("LABSEM_PHENOM_USER", "LABSEM_PHENOM_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def quirks():
    return Quirks()


@pytest.fixture
def virtual():
    return VirtualMicroscope(latency=0.0, width_px=960, height_px=600, samples="a,b,c")


@pytest.fixture
def vendor(monkeypatch, virtual, quirks):
    def install(*, dwell_times: bool = True):
        module = pyphenom(virtual, quirks, dwell_times=dwell_times)
        monkeypatch.setitem(sys.modules, "PyPhenom", module)

    install()
    return install


@pytest.fixture
def phenom(vendor):
    microscope = PhenomMicroscope(**SMALL, poll_s=0.01)
    microscope.connect(5.0)
    microscope.activate(5.0)
    yield microscope
    microscope.close()


class OverTheStandIn(MicroscopeConformance):
    timeout_s = 20.0

    @pytest.fixture(autouse=True)
    def standing_in(self, vendor):
        vendor(dwell_times=self.dwell_times)

    def make(self):
        return PhenomMicroscope(**SMALL, poll_s=0.01, stage_half_range_mm=6.0)


class TestNewerSoftware(OverTheStandIn):
    dwell_times = True


class TestOlderSoftware(OverTheStandIn):
    dwell_times = False


def test_nothing_of_the_vendor_is_imported_before_it_is_connected(monkeypatch):
    monkeypatch.setitem(sys.modules, "PyPhenom", None)
    microscope = load_driver("phenom", {"phenom_id": "Simulator"})
    assert microscope.name == "phenom Simulator"
    with pytest.raises(LicenceError, match="not installed here"):
        microscope.connect(1.0)


def test_units_are_turned_at_the_edge(phenom, virtual):
    assert phenom.move_to(1.25, -0.5, 5.0) == pytest.approx((1.25, -0.5))
    assert phenom.set_hfw(180.0) == pytest.approx(180.0)
    phenom.set_voltage(5.0)
    phenom.set_working_distance(6.5)
    phenom.set_scan_rotation(30.0)
    phenom.set_scan(800.0, 2)
    frame = phenom.acquire(20.0)
    said = frame.acquisition
    inside = virtual.state()
    assert (inside.x_mm, inside.hfw_um, inside.voltage_kv) == pytest.approx((1.25, 180.0, 5.0))
    assert (inside.working_distance_mm, inside.scan_rotation_deg) == pytest.approx((6.5, 30.0))
    assert frame.pixels.shape == (600, 960)
    assert said.hfw_um == pytest.approx(180.0)
    assert said.pixel_size_nm == pytest.approx(180e3 / 960)
    assert said.magnification == pytest.approx(0.5e6 / 180)
    assert (said.dwell_time_ns, said.frame_averages, said.accelerating_voltage_kv) == (800.0, 2, 5.0)
    assert (frame.position_x_mm, frame.scan_rotation_deg) == pytest.approx((1.25, 30.0))


def test_a_sample_at_the_door_comes_under_the_column(vendor, virtual, quirks):
    virtual.connect(1.0)
    virtual.unload(1.0)
    quirks.busy_sem, quirks.slow_mode = 3, 2
    microscope = PhenomMicroscope(**SMALL, poll_s=0.01)
    microscope.connect(5.0)
    assert microscope.status().mode == "unloaded"
    with pytest.raises(NotReadyError, match="activate it"):
        microscope.acquire(5.0)
    microscope.activate(5.0)
    assert microscope.status().ready
    assert quirks.busy_sem == quirks.slow_mode == 0
    microscope.standby(5.0)
    assert microscope.status().mode == "standby"
    microscope.activate(5.0)
    microscope.acquire(20.0)


def test_an_instrument_that_stays_busy_is_given_up_after_some_tries(vendor, virtual, quirks):
    virtual.connect(1.0)
    virtual.unload(1.0)
    quirks.busy_sem = 1000
    microscope = PhenomMicroscope(**SMALL, poll_s=0.01)
    microscope.connect(5.0)
    with pytest.raises(BusyError, match="busy"):
        microscope.activate(5.0)
    assert quirks.busy_sem == 1000 - 10


def test_a_mode_that_never_gets_ready_times_out(vendor, virtual, quirks):
    virtual.connect(1.0)
    virtual.unload(1.0)
    quirks.slow_mode = 10**6
    microscope = PhenomMicroscope(**SMALL, poll_s=0.01)
    microscope.connect(5.0)
    with pytest.raises(MicroscopeTimeoutError, match="not ready in time"):
        microscope.activate(0.3)


def test_a_move_that_raises_and_arrives_has_arrived(phenom, quirks):
    quirks.move_raises = True
    assert phenom.move_to(0.5, 0.5, 5.0) == pytest.approx((0.5, 0.5))
    quirks.move_raises, quirks.stage_stuck = False, True
    with pytest.raises(StageError, match=r"stands at 0\.5000, 0\.5000 mm") as caught:
        phenom.move_by(0.2, 0.0, 5.0)
    assert not caught.value.retryable


def test_an_absurd_focus_is_undone(phenom, quirks):
    phenom.set_working_distance(6.0)
    for end_m in (0.9, 10.5e-3):
        quirks.focus_ends_at_m = end_m
        with pytest.raises(FocusError, match="put back to 6") as caught:
            phenom.autofocus(5.0)
        assert caught.value.retryable
        assert phenom.state().working_distance_mm == pytest.approx(6.0)
    quirks.focus_ends_at_m = None
    assert 5.0 < phenom.autofocus(5.0) < 7.0


def test_the_secondary_detector_needs_a_good_vacuum(phenom):
    phenom.set_charge_reduction("medium", 5.0)
    assert phenom.state().charge_reduction == "medium"
    with pytest.raises(VacuumError, match="switch charge reduction off"):
        phenom.set_detector("sed")
    assert phenom.state().detector == "bsd"
    phenom.set_charge_reduction("off", 5.0)
    phenom.set_detector("sed")
    assert phenom.acquire(20.0).acquisition.detector == "sed"


def test_the_beam_is_on_for_the_scan_alone(phenom, virtual, quirks):
    phenom.acquire(20.0)
    assert phenom.status().beam_blanked
    quirks.torn = True
    with pytest.raises(TransferError, match="560, 960"):
        phenom.acquire(20.0)
    assert phenom.status().beam_blanked


def test_older_software_averages_instead_of_dwelling(vendor):
    vendor(dwell_times=False)
    microscope = PhenomMicroscope(**SMALL, poll_s=0.01)
    microscope.connect(5.0)
    microscope.activate(5.0)
    able = microscope.capabilities()
    assert able.dwell_times_ns == ()
    assert able.frame_averages_max == 255
    microscope.set_scan(None, 8)
    said = microscope.acquire(20.0).acquisition
    assert (said.dwell_time_ns, said.frame_averages) == (None, 8)


def test_the_range_of_the_field_is_the_instruments_own(phenom, virtual):
    assert phenom.capabilities().hfw_max_um == pytest.approx(virtual.capabilities().hfw_max_um)
    with pytest.raises(OutOfRangeError):
        phenom.set_hfw(5000.0)


def test_stop_ends_the_waiting_and_blanks(phenom, virtual, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    scan = virtual.acquire

    def slow(timeout_s):
        begun.set()
        assert go_on.wait(30)
        return scan(timeout_s)

    monkeypatch.setattr(virtual, "acquire", slow)
    ended = []

    def work():
        try:
            phenom.acquire(30.0)
        except StoppedError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    phenom.stop()
    thread.join(30)
    assert len(ended) == 1
    with pytest.raises(BusyError, match="still running"):
        phenom._call("state", phenom._phenom.GetHFW, 0.05)
    go_on.set()
    assert phenom.status().beam_blanked
    monkeypatch.undo()
    assert np.any(phenom.acquire(20.0).pixels)


def test_a_call_that_does_not_end_times_out(phenom, virtual, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(virtual, "autofocus", lambda _timeout_s: go_on.wait(30))
    with pytest.raises(MicroscopeTimeoutError, match="read the state anew"):
        phenom.autofocus(0.1)
    go_on.set()


@pytest.mark.parametrize("by", ["environment", "file"])
def test_an_account_lets_in_and_never_shows(vendor, quirks, monkeypatch, tmp_path, by, caplog):
    quirks.accounts = {"lab": "s3cret"}
    file = tmp_path / "phenom.toml"
    options = {**SMALL, "phenom_id": "MVE1"}
    with pytest.raises(LicenceError, match="not authorised"):
        PhenomMicroscope(**options).connect(5.0)
    if by == "environment":
        monkeypatch.setenv("LABSEM_PHENOM_USER", "lab")
        with pytest.raises(LicenceError, match="both"):
            PhenomMicroscope(**options).connect(5.0)
        monkeypatch.setenv("LABSEM_PHENOM_PASSWORD", "s3cret")
    else:
        options["credentials_file"] = str(file)
        with pytest.raises(LicenceError, match="cannot be read"):
            PhenomMicroscope(**options).connect(5.0)
        file.write_text('user = "lab"\npassword = "s3cret"\n')
        file.chmod(0o644)
        if os.name == "posix":
            with pytest.raises(LicenceError, match="chmod 600"):
                PhenomMicroscope(**options).connect(5.0)
        file.chmod(0o600)
    PhenomMicroscope(**options).connect(5.0)
    if by == "file":
        file.write_text('user = "lab"\npassword = s3cret\n')
        with pytest.raises(LicenceError) as caught:
            PhenomMicroscope(**options).connect(5.0)
        assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caplog.text


def test_impossible_options_are_refused():
    for options in ({"width_px": 1000}, {"poll_s": 0.0}, {"stage_half_range_mm": -1.0}):
        with pytest.raises(ValueError, match=r"px|over 0"):
            PhenomMicroscope(**options)
