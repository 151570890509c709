"""Certainty over judged images: the gain over the better rival, the labels' own boxes, accuracy by the word."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation import CertaintyResult, auroc, expected_calibration_error, measure_certainty, summarize
from labsem.evaluation.bootstrap import draw_images, ratio_interval
from labsem.evaluation.certainty import reliability, resampled_auroc


class Trust(NamedTuple):
    confidence: np.ndarray
    objectness: np.ndarray


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), min_size=3, max_size=30))
@settings(max_examples=50, deadline=None)
def test_resampled_auroc_is_the_auroc_of_what_was_drawn(particles):
    scores, positive, groups = (np.array(column) for column in zip(*particles, strict=True))
    draws = np.array([[1, 1, 1], [2, 0, 1]])
    for value, draw in zip(resampled_auroc(scores, positive, groups, draws), draws, strict=True):
        repeated = np.repeat(np.arange(len(scores)), draw[groups])
        expected = auroc(scores[repeated].astype(float), positive[repeated])
        assert np.isnan(value) if expected is None else value == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=80))
@settings(max_examples=50, deadline=None)
def test_reliability_adds_up_to_the_calibration_error(pairs):
    probabilities = np.array([value / 6 for value, _ in pairs])
    outcomes = np.array([outcome for _, outcome in pairs])
    bins = reliability(probabilities, outcomes)
    assert sum(count for count, _, _ in bins) == len(pairs)
    error = sum(count * abs(promised - came) for count, promised, came in bins) / len(pairs)
    assert error == pytest.approx(expected_calibration_error(probabilities, outcomes))


def test_images_are_drawn_as_often_as_there_are_images():
    draws = draw_images(7, 50)
    assert (draws.sum(axis=1) == 7).all()
    low, high = ratio_interval(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    assert 1 <= low < 2 < high <= 3
    assert ratio_interval(np.array([1.0, 0.0]), np.array([1.0, 0.0])) is None


def judged(images: int = 8, particles: int = 60, sharpness: float = 3.0) -> list[CertaintyResult]:
    """Confidence that knows more than size, which knows a little."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(images):
        certain = generator.random(particles) < 0.7
        log_area = generator.normal(np.where(certain, 6.0, 5.0), 1.0)
        shape = np.column_stack([log_area, generator.random((particles, 3))])
        score = 1 / (1 + np.exp(-generator.normal(np.where(certain, sharpness, -sharpness), 2.0)))
        found.append(CertaintyResult(score, generator.random(particles), shape, certain))
    return found


def test_gain_is_over_the_better_rival():
    figures = measure_certainty(judged())
    assert figures.auroc_gain_over == "geometry"
    assert figures.auroc_gain == pytest.approx(figures.auroc - figures.auroc_geometry)
    low, high = figures.auroc_gain_interval_95
    assert 0 < low < figures.auroc_gain < high
    assert figures.auroc_objectness_interval_95[0] < 0.5 < figures.auroc_objectness_interval_95[1]
    assert sum(figures.histogram_certain) == figures.certain
    assert sum(figures.histogram_uncertain) == figures.particles - figures.certain
    assert -1 <= figures.size_correlation <= 1
    blind = measure_certainty(judged(sharpness=0.0))
    assert blind.auroc_gain < 0 and blind.auroc_gain_interval_95[1] < 0


def test_a_single_image_has_neither_geometry_nor_interval():
    figures = measure_certainty(judged(images=1))
    assert figures.auroc_geometry is figures.auroc_interval_95 is figures.auroc_gain_interval_95 is None
    assert figures.auroc_gain_over == "objectness"


def test_true_boxes_hold_every_label(measured, some_particles):
    seen = []

    def trust_at(pixels, boxes, regime):
        seen.append(boxes)
        return Trust(np.linspace(0, 1, len(boxes)), np.ones(len(boxes)))

    found = np.where(some_particles <= 27, some_particles, 0)
    results = [
        measured(name, some_particles, found, range(1, 10), np.linspace(0, 1, 27), trust_at) for name in "ab"
    ]
    report = summarize(results, "joint")
    assert (report.certainty.particles, report.true_boxes.particles) == (54, 72)
    assert report.auroc == report.true_boxes.auroc == 1
    y0, x0, y1, x1 = seen[0][7]
    assert np.array_equal(np.argwhere(some_particles == 8).min(axis=0), [y0, x0])
    assert np.array_equal(np.argwhere(some_particles == 8).max(axis=0) + 1, [y1, x1])


def test_a_model_without_boxes_has_no_such_figures(measured, some_particles):
    result = measured("a", some_particles, some_particles, range(1, 5), trust_at=lambda *_: None)
    assert result.true_boxes is None


def test_accuracy_by_the_experts_word(measured, some_particles):
    found = np.where(some_particles % 4 == 0, 0, some_particles)  # every fourth is missed
    confidence = np.where(np.unique(found)[1:] <= 9, 0.2, 0.9)
    report = summarize([measured("a", some_particles, found, range(1, 10), confidence)], "joint")
    certain, uncertain = report.certain_labels, report.uncertain_labels
    assert (certain.particles, uncertain.particles) == (27, 9)
    assert (certain.detections, uncertain.detections) == (20, 7)
    assert (certain.recall, uncertain.recall) == pytest.approx((20 / 27, 7 / 9))
    assert certain.mean_iou == uncertain.mean_iou == 1
    assert uncertain.aji_plus == pytest.approx(
        (found[(found > 0) & (found <= 9)] > 0).sum() / (some_particles[some_particles > 0] <= 9).sum()
    )
