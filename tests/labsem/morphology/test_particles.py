"""Descriptors of single particles against shapes whose values are known."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.morphology import measure_particles
from labsem.morphology.outline import measure_outline
from labsem.morphology.particles import ASPECT_MIN_ECD_PX, OUTLINE_MIN_ECD_PX
from labsem.segmentation import Segmentation

_shift = st.floats(-0.5, 0.5)
# Relative error of perimeter, Feret max and Feret min: what labsem.morphology.outline promises.
DISC = {10: (0.012, 0.02, 0.025), 30: (0.005, 0.008, 0.008), 100: (0.004, 0.003, 0.003)}
SQUARE = {10: (0.1, 0.14, 0.035), 30: (0.032, 0.042, 0.015), 100: (0.012, 0.016, 0.005)}
HARD_DISC = {10: (0.07, 0.05, 0.12), 30: (0.015, 0.018, 0.02), 100: (0.01, 0.012, 0.006)}


@pytest.mark.parametrize("diameter", [10, 30, 100])
@given(dx=_shift, dy=_shift)
@settings(max_examples=12, deadline=None)
def test_discs(draw, diameter, dx, dy):
    soft = draw.disc(diameter, dx, dy)
    hard = np.where(soft >= 128, 255, 0).astype(np.uint8)
    for mask, bounds in ((soft, DISC), (hard, HARD_DISC)):
        found = measure_outline(mask)
        perimeter, feret_max, feret_min = bounds[diameter]
        assert found.perimeter == pytest.approx(math.pi * diameter, rel=perimeter)
        assert found.feret_max == pytest.approx(diameter, rel=feret_max)
        assert found.feret_min == pytest.approx(diameter, rel=feret_min)
    assert measure_outline(soft).centroid_x == pytest.approx(soft.shape[1] / 2 + dx, abs=0.05)
    assert measure_outline(soft).centroid_y == pytest.approx(soft.shape[0] / 2 + dy, abs=0.05)


@pytest.mark.parametrize("diameter", [10, 30, 100])
@given(angle=st.floats(0, 90), dx=_shift, dy=_shift)
@settings(max_examples=12, deadline=None)
def test_squares_at_any_orientation(draw, diameter, angle, dx, dy):
    side = diameter * math.sqrt(math.pi) / 2
    found = measure_outline(draw.rectangle(side, side, angle, dx, dy))
    perimeter, feret_max, feret_min = SQUARE[diameter]
    assert found.perimeter == pytest.approx(4 * side, rel=perimeter)
    assert found.feret_max == pytest.approx(side * math.sqrt(2), rel=feret_max)
    assert found.feret_min == pytest.approx(side, rel=feret_min)
    assert found.area <= found.hull_area * (1 + 1e-9)
    assert found.hull_perimeter <= found.perimeter * (1 + 1e-9)


@given(angle=st.floats(0, 179.9), ratio=st.floats(1.5, 8))
@settings(max_examples=25, deadline=None)
def test_needles_have_their_aspect_ratio_and_direction(draw, angle, ratio):
    width = 14.0
    found = measure_outline(draw.rectangle(width * ratio, width, angle))
    # The Feret maximum of a rectangle is its diagonal, the minimum its width.
    assert found.feret_min / found.feret_max == pytest.approx(1 / math.hypot(ratio, 1), rel=0.06)
    off = abs(found.orientation_deg - angle) % 180
    assert min(off, 180 - off) < 2.0


def test_a_disc_has_no_direction(draw):
    assert math.isnan(measure_outline(draw.disc(40)).orientation_deg)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_estimators_converge(draw, kind):
    errors = []
    for diameter in (20, 160, 640):
        mask = draw.disc(diameter, 0.3, 0.1)
        if kind == "hard":
            mask = np.where(mask >= 128, 255, 0).astype(np.uint8)
        found = measure_outline(mask)
        errors.append(
            max(
                abs(found.perimeter / (math.pi * diameter) - 1),
                abs(found.feret_max / diameter - 1),
                abs(found.feret_min / diameter - 1),
            )
        )
    assert errors[2] < 0.004
    assert errors[2] < errors[0]


def test_masks_that_are_hardly_there():
    one = np.zeros((5, 5), np.uint8)
    one[2, 2] = 255
    assert measure_outline(one).feret_max > 0
    assert math.isnan(measure_outline(np.zeros((5, 5), np.uint8)).feret_max)
    full = measure_outline(np.full((20, 30), 255, np.uint8))
    assert full.feret_min == pytest.approx(20, abs=0.5)
    line = np.zeros((3, 40), np.uint8)
    line[1] = 255
    assert measure_outline(line).feret_max == pytest.approx(40, abs=1)


def test_a_mask_that_rounds_off_inside_the_edge_that_its_box_reaches_is_cut():
    inside, short = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    inside[2:18, 2:18] = short[2:18, 2:18] = 255
    segmentation = Segmentation(
        height_px=60,
        width_px=60,
        boxes=np.array([(1, 20, 21, 40), (40, 20, 60, 40)], np.int32),
        probabilities=(inside, short),
        objectness=np.ones(2),
        confidence=np.ones(2),
        mask_quality=np.ones(2),
    )
    table = measure_particles(segmentation, 250.0)
    assert table.cut_by_edge.tolist() == [False, True]
    assert table.y1.tolist() == [19, 58]
    assert (table.edge_weight > 0).tolist() == [True, False]


def test_a_row_for_each_particle_that_is_seen(draw):
    parts = [
        (draw.disc(40), 30, 30),
        (draw.disc(20), 40, 40),
        (draw.disc(30), 100, -12),
        (draw.disc(60), 45, 45),
    ]
    segmentation = draw.segmentation(parts, 200, 220, confidence=[0.9, 0.9, 0.2, 0.5])
    table = measure_particles(segmentation, 250.0)
    # The second lies wholly behind the first.
    assert table.label.tolist() == [1, 3, 4]
    assert table.certain.tolist() == [True, False, False]
    assert table.cut_by_edge.tolist() == [False, True, False]
    assert table.edge_weight[1] == 0
    assert table.ecd_px[0] == pytest.approx(40, rel=0.01)
    assert table.ecd_um[0] == pytest.approx(10, rel=0.01)
    assert table.area_px[2] < table.area_full_px[2]
    assert table.area_full_um2[0] == pytest.approx(math.pi * 25, rel=0.02)
    for label, area in zip(table.label, table.area_px, strict=True):
        assert np.count_nonzero(segmentation.label_image == label) == area
    box = (table.x1 - table.x0)[0], (table.y1 - table.y0)[0]
    assert table.edge_weight[0] == pytest.approx(200 * 220 / ((220 - box[0]) * (200 - box[1])))
    assert table.circularity_iso[0] == pytest.approx(1, abs=0.01)
    assert table.form_factor[0] == pytest.approx(table.circularity_iso[0] ** 2)
    assert table.centroid_x_px[0] == pytest.approx(30 + 23, abs=0.1)


def test_small_masks_leave_null_what_they_cannot_carry(draw):
    sizes = (5.0, ASPECT_MIN_ECD_PX + 0.5, OUTLINE_MIN_ECD_PX + 0.5)
    parts = [(draw.disc(size), 20, 20 + 40 * index) for index, size in enumerate(sizes)]
    table = measure_particles(draw.segmentation(parts, 100, 200), None)
    assert np.isfinite(table.aspect_ratio).tolist() == [False, True, True]
    for name in ("perimeter_px", "circularity_iso", "form_factor", "solidity", "convexity"):
        assert np.isfinite(getattr(table, name)).tolist() == [False, False, True]
    assert np.isfinite(table.feret_max_px).all()
    row = table.rows()[0]
    assert row["perimeter_px"] is None
    assert row["ecd_um"] is None
    assert row["label"] == 1
    assert row["certain"] is True
    assert set(row) == set(table.columns())


def test_select_and_empty(draw):
    parts = [(draw.disc(size), 10, 10 + 50 * index) for index, size in enumerate((12, 24, 36))]
    table = measure_particles(draw.segmentation(parts, 100, 200), 100.0)
    chosen = table.select(table.ecd_um >= 2)
    assert chosen.label.tolist() == [2, 3]
    empty = measure_particles(draw.segmentation([], 100, 200), 100.0)
    assert len(empty) == 0
    assert empty.rows() == []


@given(scale=st.floats(0.1, 5000))
@settings(max_examples=15, deadline=None)
def test_scale_changes_lengths_alone(draw, scale):
    segmentation = draw.segmentation([(draw.rectangle(40, 20, 33), 20, 20)], 100, 100)
    plain, scaled = measure_particles(segmentation, None), measure_particles(segmentation, scale)
    for name in ("aspect_ratio", "circularity_iso", "solidity", "convexity", "orientation_deg"):
        assert getattr(plain, name) == getattr(scaled, name)
    assert scaled.feret_max_um[0] == pytest.approx(plain.feret_max_px[0] * scale / 1e3)
    assert scaled.area_um2[0] == pytest.approx(plain.area_px[0] * (scale / 1e3) ** 2)
    assert np.isnan(plain.ecd_um).all()


def test_the_same_shape_twice_as_large_has_the_same_shape(draw):
    small, large = (
        measure_particles(draw.segmentation([(draw.rectangle(30 * k, 12 * k, 25), 5, 5)], 400, 400), None)
        for k in (1, 4)
    )
    for name, tolerance in (("aspect_ratio", 0.03), ("circularity_iso", 0.02), ("solidity", 0.01)):
        assert getattr(small, name)[0] == pytest.approx(getattr(large, name)[0], rel=tolerance)
    assert large.ecd_px[0] == pytest.approx(4 * small.ecd_px[0], rel=0.01)


def test_cost_grows_with_the_particles_not_with_the_frame(draw):
    mask = draw.disc(30)
    parts = [(mask, 40 * row, 40 * column) for row in range(10) for column in range(10)]
    seconds = []
    for size in (400, 1600):
        segmentation = draw.segmentation(parts, size, size)
        assert segmentation.label_image.any()
        start = time.process_time()
        measure_particles(segmentation, None)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 4 * seconds[0] + 0.1
