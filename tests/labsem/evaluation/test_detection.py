"""Matching, F1, average precision, recall by size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labsem.evaluation import (
    Counts,
    average_precision,
    counts_by_size,
    detection_floor_px,
    find_overlaps,
    match,
)

label_images = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def iou_table(truth, predicted):
    return {
        (t, p): ((truth == t) & (predicted == p)).sum() / ((truth == t) | (predicted == p)).sum()
        for t in np.unique(truth[truth > 0])
        for p in np.unique(predicted[predicted > 0])
    }


@given(label_images, label_images)
@settings(max_examples=100, deadline=None)
def test_pairs_over_one_half_are_all_matched(truth, predicted):
    table = iou_table(truth, predicted)
    expected = sum(value > 0.5 for value in table.values())
    overlaps = find_overlaps(truth, predicted)
    assert len(match(overlaps, 0.500001).truth_index) == expected
    result = match(overlaps)
    assert len(result.truth_index) >= expected
    for t, p in zip(result.truth_index, result.predicted_index, strict=True):
        assert table[overlaps.truth_ids[t], overlaps.predicted_ids[p]] >= 0.5
    assert result.truth_found.sum() == result.predicted_right.sum() == result.counts.matched


def test_iou_of_exactly_one_half_matches():
    truth = np.array([[1, 1, 1, 1]])
    assert match(find_overlaps(truth, np.array([[1, 1, 0, 0]]))).counts == Counts(1, 0, 0)
    assert match(find_overlaps(truth, np.array([[1, 1, 2, 2]]))).counts == Counts(1, 1, 0)


def test_counts():
    assert Counts(3, 1, 2).f1 == pytest.approx(6 / 9)
    assert Counts(3, 1, 2).precision == pytest.approx(3 / 4)
    assert Counts(3, 1, 2).recall == pytest.approx(3 / 5)
    assert Counts(0, 0, 0).f1 == 1
    assert Counts(0, 0, 0).precision is Counts(0, 0, 0).recall is None
    assert Counts(1, 2, 3) + Counts(1, 0, 0) == Counts(2, 2, 3)


def test_counts_by_size_add_up(many_particles):
    predicted = np.where(many_particles % 3 == 0, 0, many_particles)
    predicted[390:, 390:] = 500
    result = match(find_overlaps(many_particles, predicted))
    classes = counts_by_size([result, result], (0.0, 21.0, 22.0, np.inf))
    total = sum((counts for *_, counts in classes), Counts(0, 0, 0))
    assert total == result.counts + result.counts
    low, high, counts = classes[0]
    small = result.truth_ecd_px < 21
    assert (low, high) == (0.0, 21.0)
    assert counts.matched + counts.missed == 2 * small.sum() > 0
    assert counts.missed == 2 * (small & ~result.truth_found).sum() > 0


def row_of_particles(n):
    return np.repeat(np.arange(1, n + 1), 10)[None, :]


def test_average_precision_of_a_known_ranking():
    truth = row_of_particles(4)
    predicted = truth.copy()
    predicted[0, 20:30] = 0
    predicted[0, 20:22] = 3  # IoU 0.2: a false detection, ranked second
    overlaps = find_overlaps(truth, predicted)
    scores = np.array([0.9, 0.7, 0.8, 0.6])
    # Hits at ranks 1, 3, 4: precision 1, 2/3, 3/4; the envelope is 1 to recall 1/4, 3/4 to recall 3/4, then 0.
    levels = np.linspace(0, 1, 101)
    expected = (np.sum(levels <= 0.25) + 0.75 * np.sum((levels > 0.25) & (levels <= 0.75))) / 101
    assert average_precision([overlaps], [scores], (0.5,)) == pytest.approx(expected)
    assert average_precision([overlaps], [scores]) == pytest.approx(expected)


def test_average_precision_falls_with_stricter_overlap():
    truth = row_of_particles(10)
    predicted = truth.copy()
    predicted[0, 8::10] = predicted[0, 9::10] = 0  # IoU 0.8 everywhere
    overlaps = find_overlaps(truth, predicted)
    scores = np.linspace(0, 1, 10)
    assert average_precision([overlaps], [scores]) == pytest.approx(0.7)  # 0.5 ... 0.8 of ten thresholds
    assert average_precision([overlaps, overlaps], [scores, scores], (0.8,)) == pytest.approx(1)


def test_average_precision_without_particles_or_detections():
    nothing = np.zeros((2, 2), np.int32)
    assert average_precision([find_overlaps(nothing, nothing + 1)], [np.ones(1)]) is None
    assert average_precision([find_overlaps(nothing + 1, nothing)], [np.ones(0)]) == 0


def test_the_higher_score_takes_the_particle():
    truth = np.ones((1, 10), np.int32)
    predicted = np.array([[1] * 5 + [2] * 5])
    overlaps = find_overlaps(truth, predicted)
    assert average_precision([overlaps], [np.array([0.9, 0.1])], (0.5,)) == 1
    assert average_precision([overlaps], [np.array([0.1, 0.9])], (0.5,)) == 1


@pytest.mark.parametrize("true_floor", [8.0, 15.0, 30.0])
def test_detection_floor_is_where_recall_crosses_one_half(true_floor):
    generator = np.random.default_rng(3)
    diameters = np.exp(generator.uniform(np.log(3), np.log(100), 4000))
    recall = 0.95 / (1 + (true_floor / diameters) ** 5 * 0.9)
    found = generator.random(4000) < recall
    assert detection_floor_px(diameters, found) == pytest.approx(true_floor, rel=0.12)


def test_detection_floor_at_the_ends():
    diameters = np.array([4.0, 9.0, 20.0])
    assert detection_floor_px(diameters, np.ones(3, bool)) == 4.0
    assert detection_floor_px(diameters, np.zeros(3, bool)) is None
    assert detection_floor_px(diameters, np.array([False, False, True])) == 20.0
    assert detection_floor_px(np.zeros(0), np.zeros(0, bool)) is None
