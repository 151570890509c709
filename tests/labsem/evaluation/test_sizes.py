"""D50 and diameters against the labels'."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation.sizes import D50_PARTICLES_MIN, FrameSizes, log_ratio, summarize_ratios
from labsem.evaluation.summary import summarize
from labsem.morphology import distribution, measure_particles
from labsem.segmentation import Segmentation


def grid_of_discs(radii: list[float], pitch: int = 40) -> np.ndarray:
    side = int(np.ceil(np.sqrt(len(radii))))
    labels = np.zeros((side * pitch, side * pitch), np.int32)
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for k, radius in enumerate(radii):
        y, x = pitch * (k // side) + pitch / 2, pitch * (k % side) + pitch / 2
        labels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = k + 1
    return labels


@given(st.lists(st.floats(3, 18), min_size=1, max_size=16))
@settings(max_examples=15, deadline=None)
def test_equal_labels_have_a_ratio_of_one_and_the_products_own_d50(radii):
    segmentation = Segmentation.from_labels(grid_of_discs(radii))
    sizes = FrameSizes.of(segmentation)
    assert log_ratio(sizes.number_px, FrameSizes.of(segmentation).number_px) == 0
    table = measure_particles(segmentation, None)
    for weighting, value in (("number", sizes.number_px), ("area", sizes.area_px)):
        expected = distribution(table.ecd_px, table.edge_weight, weighting, None).d50_px
        assert value == pytest.approx(expected)
    assert sizes.area_px >= sizes.number_px - 1e-9


def test_a_frame_without_whole_particles_has_no_d50():
    labels = np.zeros((20, 20), np.int32)
    labels[:5] = 1
    assert FrameSizes.of(Segmentation.from_labels(labels)) == FrameSizes(None, None)
    assert log_ratio(None, 3.0) is None


def test_ratios_of_frames():
    ratios = np.array([0.9, 1.0, 1.1, 1.2])
    found = summarize_ratios(np.log(ratios).tolist())
    assert found.frames == 4
    assert found.median == pytest.approx(np.sqrt(1.1))
    assert found.mean == pytest.approx(np.exp(np.log(ratios).mean()))
    assert found.median_error == pytest.approx(0.1)
    assert (found.smallest, found.largest) == pytest.approx((0.9, 1.2))
    # Student's interval: wider than what resampling four frames shows.
    low, high = np.log(found.mean_interval_95)
    assert high - low == pytest.approx(2 * 3.182 * np.log(ratios).std(ddof=1) / 2, rel=1e-3)
    assert summarize_ratios([]) is None
    assert summarize_ratios([0.1]).mean_interval_95 is None


@pytest.mark.parametrize(("particles", "frames"), [(D50_PARTICLES_MIN, 2), (D50_PARTICLES_MIN - 1, 0)])
def test_only_frames_of_many_particles_count(measured, particles, frames):
    truth = grid_of_discs([8.0] * particles)
    wider = grid_of_discs([9.0] * particles)
    report = summarize([measured("a", truth, wider), measured("b", truth, wider)], "joint")
    assert report.d50.particles_min == D50_PARTICLES_MIN
    if not frames:
        assert report.d50.number is None
        return
    assert report.d50.number.frames == frames
    assert report.d50.number.bias == pytest.approx(1 / 8, abs=0.02)
    assert report.d50.number.median_error == pytest.approx(1 / 8, abs=0.02)
    assert report.rows[0].d50_number_px / report.rows[0].d50_number_labelled_px == pytest.approx(
        9 / 8, abs=0.02
    )


def test_size_and_boundary_error_of_particles_drawn_too_large(measured):
    truth, wider = grid_of_discs([10.0] * 9), grid_of_discs([11.0] * 9)
    report = summarize([measured("a", truth, wider), measured("b", truth, truth)], "joint")
    assert report.size_error.particles == 18
    assert report.size_error.bias == pytest.approx(np.sqrt(1.1) - 1, abs=0.01)
    assert report.size_error.spread == pytest.approx(np.log(1.1) / 2, abs=0.005)
    assert report.size_error.bias_interval_95[0] == pytest.approx(0, abs=1e-9)
    assert report.boundary.mean_px == pytest.approx(0.5, abs=0.1)
    assert report.boundary.mean_relative == pytest.approx(report.boundary.mean_px / 20, rel=0.05)
    assert report.extremes.smallest_found_px == report.extremes.smallest_labelled_px
    assert report.extremes.largest_found_share == pytest.approx(np.pi * 100 / truth.size, rel=0.03)
