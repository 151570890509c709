"""Crops: drawn anew alike, and their boxes, labels and certainty hold under every augmentation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.training.augment import Patch, charge, jitter_lines, paste_particles
from labsem.training.options import Augmentation
from labsem.training.sampling import CropSampler, TrainingImage

UNCERTAIN = frozenset({1, 2, 3, 4})
ALWAYS = Augmentation(mosaic=0, copy_paste=1, charging=1, line_jitter=1)


def test_a_step_draws_the_same_crops_whenever_it_is_asked(images) -> None:
    first, second = CropSampler([images], seed=3), CropSampler([images], seed=3)
    for one in range(3):
        first.batch(one, 2)
    for a, b in zip(first.batch(7, 2), second.batch(7, 2), strict=True):
        assert np.array_equal(a.grey, b.grey)
        assert np.array_equal(a.boxes, b.boxes)
    assert not np.array_equal(first.batch(8, 1)[0].grey, second.batch(7, 1)[0].grey)


@pytest.mark.parametrize("shares", [Augmentation(), ALWAYS, Augmentation(mosaic=1)])
def test_crops_hold_what_their_boxes_say(images, shares) -> None:
    sampler = CropSampler([images], seed=0, size_px=128, augmentation=shares)

    @settings(deadline=None, max_examples=12)
    @given(st.integers(0, 10_000))
    def check(step: int) -> None:
        crop = sampler.batch(step, 1)[0]
        assert crop.grey.shape == crop.labels.shape == (128, 128)
        assert crop.grey.dtype == np.float32
        assert 0 <= crop.grey.min() <= crop.grey.max() <= 1
        assert len(crop.ids) == len(crop.boxes) == len(crop.certainty)
        for label, (x0, y0, x1, y1) in zip(crop.ids, crop.boxes.astype(int), strict=True):
            rows, columns = np.nonzero(crop.labels == label)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)

    check()


def test_a_crop_keeps_the_certainty_of_its_labels(images) -> None:
    plain = Augmentation(mosaic=0, copy_paste=0)
    sampler = CropSampler([images[:1]], seed=0, size_px=128, augmentation=plain)
    crops = sampler.batch(0, 6)
    assert any(len(crop.ids) for crop in crops)
    for crop in crops:
        assert crop.certainty.tolist() == [0 if label in UNCERTAIN else 1 for label in crop.ids]


def test_an_image_that_nobody_judged_teaches_no_certainty(images) -> None:
    unjudged = TrainingImage("x", images[0].grey, images[0].labels, None)
    assert set(CropSampler([[unjudged]], 0).batch(0, 1)[0].certainty.tolist()) == {-1}


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image is left"):
        CropSampler([[]], 0)


def test_a_data_set_of_more_weight_is_drawn_more_often(images) -> None:
    dark = TrainingImage("dark", np.zeros_like(images[0].grey), np.zeros_like(images[0].labels), None)
    plain = Augmentation(mosaic=0, copy_paste=0)
    sampler = CropSampler([images[:1], [dark]], 0, 64, augmentation=plain, weights=[1.0, 9.0])
    empty = sum(not crop.labels.any() for crop in sampler.batch(0, 60))
    assert empty > 40


def test_aimed_crops_bring_particles_of_any_size_to_a_middling_one() -> None:
    seen = {}
    for side in (12, 300):
        labels = np.zeros((1024, 1024), np.int32)
        labels[340 : 340 + side, 340 : 340 + side] = 1
        labels[700 : 700 + side, 700 : 700 + side] = 2
        image = TrainingImage("x", (labels > 0).astype(np.uint8) * 200, labels, None)
        plain = Augmentation(mosaic=0, copy_paste=0, aimed=1)
        crops = CropSampler([[image]], 0, augmentation=plain).batch(0, 20)
        whole = [box for crop in crops for box in crop.boxes if box.min() > 0 and box.max() < 448]
        seen[side] = np.median([x1 - x0 for x0, _, x1, _ in whole])
    assert 28 <= seen[12] <= 4 * 12 + 1
    assert 0.35 * 300 - 1 <= seen[300] <= 180 + 1


def _patch(seed: int, certainty: int, discs: int) -> Patch:
    rng = np.random.default_rng(seed)
    labels = np.zeros((96, 96), np.int32)
    y, x = np.mgrid[:96, :96]
    for label in range(1, discs + 1):
        cy, cx, radius = rng.integers(0, 96), rng.integers(0, 96), rng.integers(4, 14)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
    grey = (0.2 + 0.5 * (labels > 0) + rng.normal(0, 0.02, labels.shape)).clip(0, 1).astype(np.float32)
    areas = np.bincount(labels.ravel(), minlength=discs + 1)
    return Patch(grey, labels, np.full(discs + 1, certainty), areas.astype(float))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_pasting_leaves_what_was_there_and_brings_whole_particles(seed: int, discs: int) -> None:
    onto, donor = _patch(seed, 1, discs), _patch(seed + 1, 0, 6)
    pasted = paste_particles(onto, donor, np.random.default_rng(seed))
    old = onto.labels > 0
    assert np.array_equal(pasted.labels[old], onto.labels[old])
    assert np.array_equal(pasted.grey[old], onto.grey[old])
    new = np.unique(pasted.labels[~old])
    new = new[new > 0]
    assert len(pasted.certainty) == len(pasted.whole_px) == discs + 1 + len(new)
    areas = np.bincount(pasted.labels.ravel())
    for label in new:
        assert pasted.certainty[label] == 0
        assert areas[label] == pasted.whole_px[label]
        assert areas[label] in donor.whole_px[1:]
        inside = pasted.grey[pasted.labels == label]
        assert np.median(inside) > np.median(pasted.grey[pasted.labels == 0]) + 0.3


def test_particles_are_pasted_where_there_is_room() -> None:
    bare, donor = _patch(0, 1, 0), _patch(5, 0, 4)
    brought = [paste_particles(bare, donor, np.random.default_rng(seed)).labels.max() for seed in range(10)]
    assert max(brought) > 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_jitter_and_charging_keep_the_size_and_move_nothing_far(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    moved = jitter_lines(ramp, rng)
    assert moved.shape == ramp.shape and moved.dtype == np.float32
    assert np.abs(moved - ramp).max() < 6 / 63
    assert np.abs(np.diff(moved - ramp, axis=0)).max() > 0
    charged = charge(ramp, rng)
    assert charged.shape == ramp.shape
    # Streaks start sharply and lie along the lines: neighbours along a line agree better than neighbouring lines.
    changed = charged - ramp
    assert np.abs(np.diff(changed, axis=1)).mean() < np.abs(np.diff(changed, axis=0)).mean()
