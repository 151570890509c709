"""Two frames of one place are found again, and two places are not taken for one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from labsem.morphology.registration import Registration, register_frames


@cache
def particles(seed: int, size: int = 900) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    scene = np.full((size, size), 60.0)
    for cy, cx, radius in zip(
        rng.uniform(0, size, 60), rng.uniform(0, size, 60), rng.uniform(8, 30, 60), strict=True
    ):
        scene[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 160
    return scene


def frame(scene: np.ndarray, y0: int, x0: int, noise: float, blur: float, seed: int) -> np.ndarray:
    cut = gaussian_filter(scene[y0 : y0 + 480, x0 : x0 + 640], blur)
    noisy = cut + np.random.default_rng(seed).normal(0, noise, cut.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (13, -21), (-60, 44)])
@pytest.mark.parametrize(("noise", "blur"), [(5, 0), (40, 0), (10, 5)])
def test_shift_is_found_through_noise_and_blur(dy: int, dx: int, noise: float, blur: float) -> None:
    scene = particles(1)
    before = frame(scene, 100, 120, noise, blur, 1)
    after = frame(scene, 100 + dy, 120 + dx, 5, 0, 2)
    found = register_frames(before, after, 100.0, 100.0)
    assert found is not None
    assert found.clear
    assert found.shift_y_px == pytest.approx(dy, abs=1.5)
    assert found.shift_x_px == pytest.approx(dx, abs=1.5)
    assert found.shift_um == pytest.approx(np.hypot(dy, dx) * 0.1, abs=0.2)
    expected = (480 - abs(dy)) * (640 - abs(dx)) / (480 * 640)
    assert found.overlap_fraction == pytest.approx(expected, abs=0.01)


def test_another_place_is_not_clear() -> None:
    found = register_frames(
        frame(particles(1), 0, 0, 5, 0, 1), frame(particles(2), 0, 0, 5, 0, 2), 100.0, 100.0
    )
    assert found is not None
    assert not found.clear


def test_frames_of_other_pixels_but_one_field() -> None:
    scene = particles(3)
    before = frame(scene, 100, 100, 5, 0, 1)
    after = before.reshape(240, 2, 320, 2).mean((1, 3)).astype(np.uint8)
    found = register_frames(before, after, 100.0, 200.0)
    assert found is not None
    assert found.clear
    assert found.shift_um < 0.1
    assert found.overlap_fraction > 0.99


def test_rotation_of_the_scan_is_taken_out() -> None:
    scene = particles(4)
    turned = rotate(scene, -8.0, reshape=False, order=1)
    # Both cuts share the scene's centre, about which it was turned.
    before = scene[210:690, 130:770].astype(np.uint8)
    after = turned[210:690, 130:770].astype(np.uint8)
    found = register_frames(before, after, 100.0, 100.0, rotation_deg=8.0)
    assert found is not None
    assert found.clear
    assert found.shift_um < 0.3


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (24, -33)])
def test_a_closer_look_is_found_in_the_wider_one_and_back(dy: int, dx: int) -> None:
    scene = np.kron(particles(6, 700), np.ones((2, 2)))
    wide = gaussian_filter(scene, 1.0)[:960, :1280].reshape(480, 2, 640, 2).mean((1, 3))
    near = scene[240 + 2 * dy : 720 + 2 * dy, 320 + 2 * dx : 960 + 2 * dx]
    noise = np.random.default_rng(3)
    wide, near = wide + noise.normal(0, 8, wide.shape), near + noise.normal(0, 8, near.shape)
    found = register_frames(wide, near, 100.0, 50.0)
    assert found is not None
    assert found.clear
    assert (found.shift_y_px, found.shift_x_px) == pytest.approx((dy, dx), abs=1.0)
    assert found.overlap_fraction == pytest.approx(0.25, abs=0.01)
    assert found.smaller_overlap_fraction > 0.98
    before, after = found.common_area(wide.shape, near.shape)
    assert before == pytest.approx((160 + dx, 120 + dy, 480 + dx, 360 + dy), abs=1.5)
    assert after == pytest.approx((0, 0, 640, 480), abs=3)
    back = register_frames(near, wide, 50.0, 100.0)
    assert back is not None
    assert (back.shift_y_px, back.shift_x_px) == pytest.approx((-2 * dy, -2 * dx), abs=2.0)
    assert back.overlap_fraction > 0.98


def test_other_fields_are_not_registered() -> None:
    assert register_frames(np.zeros((48, 64)), np.zeros((48, 64)), 100.0, 40.0) is None


def test_the_common_area_of_turned_frames_lies_in_both() -> None:
    turned = Registration(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.5, rotation_deg=5.0)
    before, after = turned.common_area((480, 640), (480, 640))
    assert 560 < before.x1 - before.x0 < 640
    assert 400 < before.y1 - before.y0 < 480
    assert after == pytest.approx(before)


def test_empty_frames_are_not_clear() -> None:
    found = register_frames(np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8), 100.0, 100.0)
    assert found is not None
    assert not found.clear


def test_common_area_shows_the_same_points_in_both_frames() -> None:
    found = register_frames(
        frame(particles(5), 100, 120, 5, 0, 1), frame(particles(5), 130, 100, 5, 0, 2), 100.0, 100.0
    )
    assert found is not None
    before, after = found.common_area((480, 640), (480, 640))
    assert before == pytest.approx((0, 30, 620, 480), abs=1.5)
    assert after == pytest.approx((20, 0, 640, 450), abs=1.5)
    inside = before.holds(np.array([10.0, 630.0]), np.array([100.0, 100.0]))
    assert inside.tolist() == [True, False]


def test_common_area_in_pixels_of_each_frame() -> None:
    exact = Registration(20.0, 0.0, 2.0, 0.9, 0.9, 1.0, 0.5, scale=0.5)
    before, after = exact.common_area((480, 640), (960, 1280))
    assert before == (20, 0, 640, 480)
    assert after == (0, 0, 1240, 960)
