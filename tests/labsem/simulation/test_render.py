"""The simulated world: one world for all frames, truth that matches the pixels, a frame that improves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
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
    backscatter_coefficient,
    render,
)
from labsem.simulation.materials import POWDERS
from labsem.simulation.optics import blur, blur_sigma_px, probe_nm
from labsem.simulation.scene import SHAPES
from labsem.simulation.shapes import OUTSIDE, REACH, height_map

VIEW = View(x_mm=0.4, y_mm=-0.2, hfw_um=200.0, width_px=320, height_px=240)


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11)


@pytest.fixture(scope="module")
def frame(world):
    return render(world, VIEW)


def test_equal_arguments_give_equal_frames(frame):
    again = render(World(seed=11), VIEW)
    np.testing.assert_array_equal(again.pixels, frame.pixels)
    np.testing.assert_array_equal(again.labels, frame.labels)
    assert again.particles == frame.particles
    assert not np.array_equal(render(World(seed=12), VIEW).pixels, frame.pixels)


def test_order_of_views_does_not_change_a_world():
    first, second = World(seed=5), World(seed=5)
    near, far = (0.0, 0.0, 100.0, 100.0), (500.0, -300.0, 700.0, 100.0)
    a = (first.particles(*near), first.particles(*far))
    b = (second.particles(*far), second.particles(*near))
    assert a == (b[1], b[0])
    assert len(a[0]) > 0


def test_labels_are_those_of_the_particles(frame):
    assert frame.labels.shape == frame.pixels.shape == (240, 320)
    assert frame.labels.dtype == np.int32
    assert frame.pixels.dtype == np.uint8
    values = np.unique(frame.labels)
    np.testing.assert_array_equal(values[values > 0], [p.label for p in frame.particles])
    assert len(frame.particles) > 10
    areas = np.bincount(frame.labels.ravel())[1:]
    np.testing.assert_allclose([p.ecd_px for p in frame.particles], 2 * np.sqrt(areas / np.pi))
    assert all(0 < p.visible_fraction <= 1 for p in frame.particles)
    full = np.array([p.full_area_px for p in frame.particles])
    np.testing.assert_allclose(areas / full, [p.visible_fraction for p in frame.particles], atol=1e-6)
    for label, (x0, y0, x1, y1) in enumerate(frame.boxes, start=1):
        inside = frame.labels[y0:y1, x0:x1] == label
        assert inside.sum() == areas[label - 1]
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_uncertain_labels_are_those_that_are_not_certain(frame):
    hazy = render(World(seed=11), replace(VIEW, defocus_um=900.0))
    for each in (frame, hazy):
        expected = {p.label for p in each.particles if not p.certain}
        assert set(np.unique(each.uncertain)) - {0} == expected
        assert np.all((each.uncertain == 0) | (each.uncertain == each.labels))
    assert hazy.uncertain_fraction > frame.uncertain_fraction


def test_a_particle_lies_at_the_same_place_at_another_field_width(world, frame):
    closer = render(world, replace(VIEW, hfw_um=100.0))

    def places(of):
        cut = {*of.labels[0], *of.labels[-1], *of.labels[:, 0], *of.labels[:, -1]}
        centres = ndimage.center_of_mass(of.labels > 0, of.labels, [p.label for p in of.particles])
        middle = (np.array(of.pixels.shape) - 1) / 2
        return {
            p.particle_id: (np.array(c) - middle) * of.view.pixel_um
            for p, c in zip(of.particles, centres, strict=True)
            if p.visible_fraction > 0.99 and p.label not in cut
        }

    wide, near = places(frame), places(closer)
    inside = near.keys() & wide.keys()
    assert len(inside) >= 3
    for key in inside:
        np.testing.assert_allclose(near[key], wide[key], atol=1.5 * VIEW.pixel_um)


@pytest.mark.parametrize("detector", ["sed", "bsd"])
def test_neighbouring_frames_join(world, detector):
    """The right half of one view is the left half of the next, in labels and in grey values up to the noise."""
    view = replace(VIEW, detector=detector, dwell_time_ns=1e6, vibration_nm=0.0)
    left, right = (render(world, replace(view, x_mm=x_mm)) for x_mm in (0.0, 0.1))
    here, there = left.labels[:, 160:] > 0, right.labels[:, :160] > 0
    assert here.any()
    assert np.mean(here != there) < 0.01
    step = np.abs(left.pixels[:, 160:].astype(int) - right.pixels[:, :160])
    assert np.quantile(step, 0.99) <= 2
    # Where the left frame ends and the right one begins, shadows and blur come in from outside.
    assert step[:, :8].mean() < 1
    assert step[:, -8:].mean() < 1


def test_particles_stand_out_from_their_surroundings(frame):
    inside = frame.labels > 0
    ring = ndimage.binary_dilation(inside, iterations=4) & ~inside
    assert frame.pixels[inside].mean() > frame.pixels[ring].mean() + 25


def test_what_is_on_the_tape_is_no_particle():
    component = Component("sphere", LogNormal(5.0))
    tape = Substrate(features_per_field=40.0, relief=1.2, level=0.4)
    world = World(3, SceneParameters((component,), coverage=1e-6, substrate=tape))
    view = replace(VIEW, dwell_time_ns=4000.0)
    busy = render(world, view)
    plain = render(World(3, replace(world.scene, substrate=replace(tape, features_per_field=0.0))), view)
    assert busy.particles == ()
    assert not busy.labels.any()
    assert busy.pixels.std() > 1.5 * plain.pixels.std()


def edge_energy(pixels: np.ndarray) -> float:
    return float(np.abs(ndimage.laplace(ndimage.gaussian_filter(pixels.astype(float), 1.5))).mean())


def test_a_better_focus_gives_a_sharper_frame_with_fewer_uncertain(world):
    view = replace(VIEW, dwell_time_ns=3200.0)
    blurred, sharp = render(world, replace(view, defocus_um=900.0)), render(world, view)
    assert edge_energy(sharp.pixels) > 1.5 * edge_energy(blurred.pixels)
    assert sharp.uncertain_fraction < blurred.uncertain_fraction - 0.2
    np.testing.assert_array_equal(sharp.labels, blurred.labels)


@pytest.mark.parametrize("slower", [{"dwell_time_ns": 800.0}, {"frame_averages": 16}])
def test_longer_dwell_and_more_averages_give_less_noise(world, slower):
    quick = replace(VIEW, dwell_time_ns=50.0, frame_averages=1)
    truth = render(world, replace(quick, dwell_time_ns=1e6)).pixels.astype(float)

    def noise(view):
        return np.std(render(world, view).pixels - truth)

    assert noise(replace(quick, **slower)) < 0.4 * noise(quick)
    assert (
        render(world, replace(quick, **slower)).uncertain_fraction <= render(world, quick).uncertain_fraction
    )


def test_astigmatism_blurs_one_axis_more():
    point = np.zeros((81, 81), np.float32)
    point[40, 40] = 1
    spread, sigma = blur(point, np.zeros_like(point), 0.5, 5.0, 200.0, 400.0, 10.0)
    away = np.arange(81) - 40
    down, across = ((spread.sum(axis=axis) * away**2).sum() ** 0.5 for axis in (1, 0))
    assert across == pytest.approx(blur_sigma_px(0.0, 0.5, 10.0), rel=0.05)
    assert down == pytest.approx(blur_sigma_px(400.0, 0.5, 10.0), rel=0.05)
    assert spread.sum() == pytest.approx(1.0, abs=1e-3)
    assert np.mean(sigma) == pytest.approx((down + across) / 2, rel=0.05)


def test_depth_of_field_blurs_what_is_higher():
    edge = np.zeros((60, 120), np.float32)
    edge[30:] = 1
    height = np.zeros_like(edge)
    height[:, 60:] = 1000  # px of 0.5 um
    blurred, sigma = blur(edge, height, 0.5, 500.0, 0.0, 0.0, 10.0)
    low, high = (np.abs(np.diff(blurred[:, column])).max() for column in (20, 100))
    assert low > 1.5 * high
    assert sigma[30, 100] > 1.5 * sigma[30, 20]


def test_the_probe_narrows_with_voltage_and_matters_at_high_magnification(world):
    assert probe_nm(5.0) > probe_nm(10.0) > probe_nm(15.0) > 5
    near = replace(VIEW, hfw_um=3.0, dwell_time_ns=1e5)
    wide = blur_sigma_px(0.0, 0.001, 5.0) / blur_sigma_px(0.0, 0.001, 15.0)
    assert wide > 1.5
    assert blur_sigma_px(0.0, 1.0, 5.0) == pytest.approx(blur_sigma_px(0.0, 1.0, 15.0), rel=1e-3)
    slow, fast = (render(world, replace(near, accelerating_voltage_kv=kv)).pixels for kv in (2.0, 15.0))
    assert not np.array_equal(slow, fast)


def test_backscattering_follows_the_mean_atomic_number():
    """Reuter's fit gives the coefficients that Goldstein et al. print for carbon, silicon, copper and gold."""
    for z, eta in ((6, 0.06), (14, 0.165), (29, 0.305), (79, 0.49)):
        assert backscatter_coefficient(z) == pytest.approx(eta, abs=0.015)
    levels = [Component("sphere", LogNormal(5), material=m).level("bsd") for m in POWDERS]
    assert levels == sorted(levels)


def test_composition_shows_under_the_backscatter_detector_alone():
    def contrast(atomic_number, detector):
        component = Component("plate", LogNormal(12.0), material=Material("m", atomic_number))
        scene = SceneParameters((component,), look=Look(edge=0.3), substrate=Substrate(dust=0.0))
        frame = render(World(4, scene), replace(VIEW, detector=detector, dwell_time_ns=1e5))
        return frame.pixels[frame.labels > 0].mean()

    assert contrast(30, "bsd") > 1.8 * contrast(12, "bsd")
    assert contrast(30, "sed") == contrast(12, "sed")


def test_detectors_differ(world, frame):
    other = render(world, replace(VIEW, detector="bsd"))
    np.testing.assert_array_equal(other.labels, frame.labels)
    assert np.abs(other.pixels.astype(int) - frame.pixels).mean() > 2


@given(
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**62),
    warp=st.floats(0, 0.15),
    satellites=st.floats(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_shape_fits_its_box_and_is_about_its_size(shape, seed, warp, satellites):
    reach = REACH[shape]
    axis = np.linspace(-reach, reach, 61)
    component = Component(shape, LogNormal(10.0), warp=warp, satellites=satellites)
    height, shade = height_map(component, seed, axis, axis)
    inside = height != OUTSIDE
    assert np.isfinite(height).all()
    assert np.isfinite(shade).all()
    assert (height[inside] > 0).all()
    area = inside.sum() * (axis[1] - axis[0]) ** 2
    assert 0.15 < area < 9
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    assert border.mean() < 0.05


@given(seed=st.integers(0, 2**40), x=st.floats(-50, 50), y=st.floats(-50, 50), hfw=st.floats(5, 900))
@settings(max_examples=8, deadline=None)
def test_any_view_has_its_size_and_a_consistent_truth(seed, x, y, hfw):
    frame = render(World(seed), View(x_mm=x, y_mm=y, hfw_um=hfw, width_px=96, height_px=64))
    assert frame.pixels.shape == (64, 96)
    assert frame.labels.max(initial=0) == len(frame.particles)
    assert frame.pixel_size_nm == pytest.approx(1000 * hfw / 96)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hfw_um": 0.0},
        {"width_px": 4},
        {"frame_averages": 0},
        {"dwell_time_ns": -1.0},
        {"bits": 12},
        {"vignetting": 2.0},
    ],
)
def test_an_impossible_view_is_refused(wrong):
    with pytest.raises(ValueError, match="view"):
        replace(VIEW, **wrong)


def test_a_negative_seed_and_an_empty_scene_are_refused():
    with pytest.raises(ValueError, match="seed"):
        World(-1)
    with pytest.raises(ValueError, match="components"):
        World(1, SceneParameters(()))
