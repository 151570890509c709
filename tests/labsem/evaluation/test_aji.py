"""AJI+ against brute force, and what must hold for any two label images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labsem.evaluation import aji_plus, aji_plus_pooled, aji_sums, assign, find_overlaps

label_images = arrays(np.int32, (4, 5), elements=st.integers(0, 4))


def brute_force(truth, predicted):
    """Try every one-to-one assignment."""
    true_masks = [truth == value for value in np.unique(truth) if value]
    predicted_masks = [predicted == value for value in np.unique(predicted) if value]
    if not true_masks and not predicted_masks:
        return 1.0
    swapped = len(true_masks) > len(predicted_masks)
    few, many = (predicted_masks, true_masks) if swapped else (true_masks, predicted_masks)
    total = sum(mask.sum() for mask in few + many)
    best = (0.0, 0)
    for choice in itertools.permutations(many, len(few)):
        shared = [int((a & b).sum()) for a, b in zip(few, choice, strict=True)]
        unions = [int((a | b).sum()) for a, b in zip(few, choice, strict=True)]
        iou = sum(i / u for i, u in zip(shared, unions, strict=True))
        best = max(best, (round(iou, 9), sum(shared)))
    return best[1] / (total - best[1])


@given(label_images, label_images)
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(truth, predicted):
    assert aji_plus(truth, predicted) == pytest.approx(brute_force(truth, predicted))


@given(label_images, label_images, st.permutations(range(1, 5)))
@settings(max_examples=100, deadline=None)
def test_symmetric_bounded_and_blind_to_numbering(truth, predicted, order):
    value = aji_plus(truth, predicted)
    assert 0 <= value <= 1
    assert aji_plus(predicted, truth) == value
    renumbered = np.array([0, *order])[predicted] * 1000
    assert aji_plus(truth, renumbered) == value
    assert aji_plus(truth, truth) == 1


def test_one_particle_dropped():
    truth = np.zeros((10, 10), np.int32)
    truth[:4, :5] = 1
    truth[6:, :] = 2
    predicted = np.where(truth == 2, 5, 0)
    assert aji_plus(truth, predicted) == pytest.approx(40 / 60)


def test_weak_overlaps_count_too():
    truth = np.zeros((1, 10), np.int32)
    predicted = truth.copy()
    truth[0, :6] = 1
    predicted[0, 5:] = 1
    assert aji_plus(truth, predicted) == pytest.approx(1 / 10)


def test_empty_images():
    nothing, something = np.zeros((3, 3), np.int32), np.ones((3, 3), np.int32)
    assert aji_plus(nothing, nothing) == 1
    assert aji_plus(nothing, something) == aji_plus(something, nothing) == 0


def test_pooled_weighs_by_pixels():
    truth = [np.ones((1, 10), np.int32), np.ones((1, 2), np.int32)]
    predicted = [truth[0], truth[1] * 0]
    sums = [aji_sums(find_overlaps(a, b)) for a, b in zip(truth, predicted, strict=True)]
    assert aji_plus_pooled(sums) == pytest.approx(10 / 12)
    assert aji_plus_pooled([]) == 1


def test_labels_beyond_direct_counting():
    truth = np.zeros((4, 4), np.int64)
    truth[:2], truth[2:, :2] = 2_000_000_000, 7
    overlaps = find_overlaps(truth, (truth > 7).astype(np.int32))
    assert overlaps.truth_ids.tolist() == [7, 2_000_000_000]
    assert overlaps.truth_area_px.tolist() == [4, 8]
    assert overlaps.iou.tolist() == [1.0]
    without_background = find_overlaps(truth[:2], np.ones((2, 4), np.int32))
    assert without_background.truth_ids.tolist() == [2_000_000_000]


def test_many_touching_particles_are_assigned_one_to_one(many_particles):
    shifted = np.roll(many_particles, 3, axis=(0, 1))
    overlaps = find_overlaps(many_particles, shifted)
    pairs = assign(overlaps)
    assert len(set(overlaps.truth_index[pairs])) == len(set(overlaps.predicted_index[pairs])) == len(pairs)
    same = (
        overlaps.truth_ids[overlaps.truth_index[pairs]]
        == overlaps.predicted_ids[overlaps.predicted_index[pairs]]
    )
    assert same.sum() > 300
    assert aji_plus(many_particles, shifted) > 0.4


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"truth \(2, 3\), prediction \(2, 2\)"):
        aji_plus(np.zeros((2, 3), np.int32), np.zeros((2, 2), np.int32))
