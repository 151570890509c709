"""The scan: what happens to a signal between the sample and the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from labsem.simulation import (
    Component,
    LogNormal,
    Look,
    Material,
    SceneParameters,
    Substrate,
    View,
    World,
    render,
    scan,
)

QUIET = View(hfw_um=200.0, width_px=200, height_px=150, dwell_time_ns=1e6, vibration_nm=0.0)
INSULATOR, CONDUCTOR = Material("oxide", 20.0, insulating=True), Material("metal", 20.0)


def scene(material: Material, charging: float) -> SceneParameters:
    return SceneParameters(
        (Component("sphere", LogNormal(20.0, 1.2), albedo=0.85, material=material),),
        coverage=0.1,
        substrate=Substrate(level=0.3, dust=0.0, features_per_field=0.0),
        look=Look(charging=charging),
    )


def test_only_insulators_charge_and_less_at_low_voltage():
    def change(material, voltage_kv=15.0):
        view = replace(QUIET, accelerating_voltage_kv=voltage_kv)
        charged, plain = (render(World(2, scene(material, c)), view) for c in (0.3, 0.0))
        assert np.array_equal(charged.labels, plain.labels)
        return charged.pixels.astype(int) - plain.pixels, plain.labels

    assert not change(CONDUCTOR)[0].any()
    assert not change(INSULATOR, 2.0)[0].any()
    step, labels = change(INSULATOR)
    assert step[labels > 0].mean() > 2  # charged bodies shine
    around = ndimage.binary_dilation(labels > 0, iterations=6) & (labels == 0)
    assert step[around].mean() < -2  # in a dark halo
    far = ~ndimage.binary_dilation(labels > 0, iterations=12)
    down, right = (np.abs(np.diff(step, axis=axis)) for axis in (0, 1))
    assert down[far[1:] & far[:-1]].mean() > 1.5 * right[far[:, 1:] & far[:, :-1]].mean()  # and streaks


def test_strong_charge_moves_the_lines_and_gas_or_a_low_voltage_bring_them_back():
    def image(strength, left=1.0):
        view = replace(QUIET, width_px=400, height_px=300, charging=left)
        return render(World(2, scene(INSULATOR, strength)), view)

    rng = np.random.default_rng(0)
    assert scan.charge_deflection_px((300, 400), 0.6, 10.0, rng) is None  # 0.45 at 10 kV
    assert scan.charge_deflection_px((300, 400), 4.0, 2.0, rng) is None
    weak, strong = (np.std(scan.charge_deflection_px((300, 400), c, 10.0, rng)) for c in (1.5, 6.0))
    assert 0.3 < weak < strong / 3
    plain, charged, cured = image(0.0), image(6.0), image(6.0, left=0.1)
    assert np.array_equal(plain.labels, charged.labels), "the truth stays where the particles are"

    def jaggedness(frame):
        """Share of a particle's pixels that are bright in one row and dark in the next."""
        bright = frame.pixels > 140
        inside = (plain.labels > 0) & (np.roll(plain.labels, 1, axis=0) == plain.labels)
        return np.mean((bright != np.roll(bright, 1, axis=0))[inside])

    assert jaggedness(charged) > 0.01
    assert max(jaggedness(plain), jaggedness(cured)) < 0.001


@given(shift=st.floats(-3, 3), rows=st.integers(1, 5))
def test_a_row_is_moved_by_a_fraction_of_pixels(shift, rows):
    ramp = np.tile(np.arange(40, dtype=np.float32), (rows, 1))
    moved = scan.shift_rows(ramp, np.full(rows, shift))
    if abs(shift) >= 0.05:
        np.testing.assert_allclose(moved[:, 5:-5], ramp[:, 5:-5] - shift, atol=1e-4)


def test_labels_follow_the_shear_of_a_drifting_sample():
    still = render(World(2, scene(CONDUCTOR, 0.0)), QUIET)
    scan_s = QUIET.scan_s
    moved_view = replace(QUIET, frame_averages=1, drift_x_nm_s=20_000 / scan_s)
    moved = render(World(2, scene(CONDUCTOR, 0.0)), moved_view)
    shear_px = scan.drift_shear_px(moved_view)
    assert np.ptp(shear_px) == pytest.approx(20, rel=0.02)
    by = round(shear_px[10])
    assert by == -9
    row = still.labels[10, -by:] > 0
    assert np.mean(row == (moved.labels[10, :by] > 0)) > 0.98


def test_drift_blurs_an_average_of_frames():
    world = World(2, scene(CONDUCTOR, 0.0))
    view = replace(QUIET, frame_averages=4)
    drift_nm_s = 6000 / (3 * view.scan_s)

    def sharpness(frame):
        return np.abs(np.diff(frame.pixels.astype(int), axis=0)).max()

    assert sharpness(render(world, replace(view, drift_y_nm_s=drift_nm_s))) < 0.7 * sharpness(
        render(world, view)
    )


def test_vibration_moves_lines_against_each_other():
    view = replace(QUIET, dwell_time_ns=200.0, frame_averages=1, vibration_nm=2000.0)
    lines_px = scan.line_vibration_px(view, np.random.default_rng(1))
    assert 1 < lines_px.std() < 4
    averaged_px = scan.line_vibration_px(replace(view, frame_averages=16), np.random.default_rng(1))
    assert averaged_px.std() == pytest.approx(lines_px.std() / 4, rel=0.01)


def test_vignetting_darkens_the_corners_alone():
    factor = scan.vignette(replace(QUIET, vignetting=0.3))
    assert factor[0, 0] == pytest.approx(0.7)
    assert factor[75, 100] == pytest.approx(1.0, abs=0.01)


def test_sixteen_bits_hold_the_same_picture():
    world = World(2, scene(CONDUCTOR, 0.0))
    eight, sixteen = (render(world, replace(QUIET, bits=bits)).pixels for bits in (8, 16))
    assert (eight.dtype, sixteen.dtype) == (np.uint8, np.uint16)
    np.testing.assert_allclose(sixteen / 65535, eight / 255, atol=1.01 / 255)


def test_the_amplifier_clips():
    bright = render(World(2, scene(CONDUCTOR, 0.0)), replace(QUIET, contrast=3.0)).pixels
    assert np.mean(bright == 255) > 0.02
    assert np.mean(render(World(2, scene(CONDUCTOR, 0.0)), replace(QUIET, brightness=-0.5)).pixels == 0) > 0.5
