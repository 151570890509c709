"""The virtual microscope's stage, modes, lenses and amplifier: how they err, and what they do to a frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import (
    MicroscopeTimeoutError,
    NotReadyError,
    OutOfRangeError,
    StageError,
    TransferError,
    UnsupportedError,
)
from drivers.targets import restore
from drivers.virtual import VirtualMicroscope

SMALL = {"latency": 0.0, "width_px": 320, "height_px": 240, "seed": 7}


@pytest.fixture
def microscope():
    microscope = VirtualMicroscope(**SMALL)
    microscope.connect(1.0)
    yield microscope
    microscope.close()


def test_a_stage_that_sticks_says_so_and_stands_where_it_stopped(microscope):
    microscope.move_to(0.0, 0.0, 1.0)
    microscope.fail("move_to", "stuck", times=2)
    for stopped in (0.5, 0.75):
        with pytest.raises(StageError, match="stands still") as caught:
            microscope.move_to(1.0, 0.0, 1.0)
        assert not caught.value.retryable
        assert microscope.state().x_mm == pytest.approx(stopped)
    assert microscope.move_to(1.0, 0.0, 1.0) == (1.0, 0.0)


def test_a_fault_in_mid_scan_leaves_the_beam_blanked_and_the_instrument_free(microscope):
    microscope.blank(on=False)
    for kind, error in (("timeout", MicroscopeTimeoutError), ("torn", TransferError)):
        microscope.fail("acquire", kind)
        with pytest.raises(error):
            microscope.acquire(1.0)
        assert microscope.status().beam_blanked
    microscope.acquire(1.0)


def test_frames_are_taken_in_one_mode_only():
    microscope = VirtualMicroscope(**{**SMALL, "mode": "unloaded"})
    microscope.connect(1.0)
    assert not microscope.status().ready
    with pytest.raises(NotReadyError, match="activate it") as caught:
        microscope.acquire(1.0)
    assert caught.value.retryable
    microscope.load(1.0)
    assert microscope.status().mode == "navigation"
    microscope.activate(1.0)
    assert microscope.status().ready
    microscope.acquire(1.0)
    microscope.standby(1.0)
    assert microscope.status().beam_blanked
    microscope.unload(1.0)
    assert microscope.status().vacuum_ready is False


def test_the_image_centre_moves_with_the_field_width_and_the_stage_has_backlash():
    exact = {**SMALL, "stage_error_um": 0.0}
    microscope = VirtualMicroscope(**exact, backlash_um=3.0, hfw_shift=0.01)
    microscope.connect(1.0)
    places = []
    for begun, hfw_um in ((0.0, 250.0), (0.8, 250.0), (0.8, 50.0)):
        microscope.move_to(begun, 0.0, 1.0)
        microscope.move_to(0.4, 0.0, 1.0)
        microscope.set_hfw(hfw_um)
        microscope.acquire(1.0)
        view = microscope.last_frame.view
        places.append(np.array([view.x_mm, view.y_mm]) * 1000)
    np.testing.assert_allclose(places[0] - places[1], [-3.0, 0.0], atol=1e-6)
    assert np.hypot(*(places[2] - places[1])) == pytest.approx(0.01 * 200.0)


def test_a_turned_scan_shows_the_same_particles_turned(microscope):
    microscope.move_to(0.4, 0.4, 1.0)
    microscope.acquire(1.0)
    straight = microscope.last_frame
    microscope.set_scan_rotation(180.0)
    assert microscope.acquire(1.0).scan_rotation_deg == 180.0
    turned = microscope.last_frame

    def by_id(frame):
        ids = np.array([0, *(p.particle_id for p in frame.particles)])
        return ids[frame.labels]

    same = by_id(turned)[::-1, ::-1] == by_id(straight)
    assert same.mean() > 0.98
    microscope.set_scan_rotation(5.0)
    microscope.acquire(1.0)
    slightly = microscope.last_frame
    assert slightly.labels.max() == len(slightly.particles)
    np.testing.assert_array_equal(
        np.unique(slightly.labels[slightly.labels > 0]), [p.label for p in slightly.particles]
    )


def test_stigmator_spot_gas_and_amplifier_change_the_frame(microscope):
    microscope.move_to(0.4, 0.4, 1.0)

    def frame():
        microscope.acquire(1.0)
        return microscope.last_frame

    before = frame()
    microscope.set_stigmator(0.6, 0.0)
    blurred = frame()
    assert np.mean([p.blur_px for p in blurred.particles]) > 1.5 * np.mean(
        [p.blur_px for p in before.particles]
    )
    x, y = microscope.autostigmate(1.0)
    assert np.hypot(x, y) < 0.05
    assert frame().view.astigmatism_um < 60
    microscope.set_spot_size(5.1)
    assert frame().view.spot > 1.5
    microscope.set_charge_reduction("high", 1.0)
    assert frame().view.charging == 0.1
    with pytest.raises(UnsupportedError, match="off, low, medium, high"):
        microscope.set_charge_reduction("most", 1.0)
    microscope.set_contrast_brightness(0.1, 0.4)
    flat = frame().pixels
    microscope.auto_contrast_brightness(1.0)
    fitted = frame().pixels
    assert microscope.state().contrast > 0.1
    assert np.ptp(np.percentile(fitted, [1, 99])) > 2 * np.ptp(np.percentile(flat, [1, 99]))


def test_frames_come_in_the_size_that_was_chosen(microscope):
    microscope.set_scan_size(960, 600)
    assert microscope.acquire(1.0).pixels.shape == (600, 960)
    with pytest.raises(UnsupportedError, match="320 x 240, 960 x 600"):
        microscope.set_scan_size(1000, 600)


def test_restore_puts_back_what_rescans_change_and_skips_what_is_unknown(microscope):
    before = microscope.state()
    microscope.set_stigmator(0.2, 0.1)
    microscope.set_spot_size(4.0)
    microscope.set_charge_reduction("low", 1.0)
    microscope.set_contrast_brightness(0.3, 0.6)
    microscope.set_scan_rotation(12.0)
    restore(microscope, replace(before, contrast=None, stigmator=None), 1.0)
    now = microscope.state()
    assert (now.contrast, now.brightness, now.stigmator) == (0.3, 0.6, (0.2, 0.1))
    restore(microscope, before, 1.0)
    assert microscope.state() == before


def test_moves_from_where_it_stands_keep_to_the_stage(microscope):
    microscope.move_to(0.5, 0.5, 1.0)
    assert microscope.move_by(-0.2, 0.1, 1.0) == pytest.approx((0.3, 0.6))
    with pytest.raises(OutOfRangeError, match="x_mm"):
        microscope.move_by(500.0, 0.0, 1.0)
