"""AUROC, calibration error and its floor, the geometry rival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from labsem.evaluation import (
    CertaintyResult,
    auroc,
    calibration_floor,
    expected_calibration_error,
    geometry_features,
    measure_certainty,
    out_of_fold_logistic,
)
from labsem.training.datasets import read_dataset


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_auroc_is_mann_whitney_with_ties(pairs):
    scores = np.array([score for score, _ in pairs], float)
    positive = np.array([label for _, label in pairs])
    value = auroc(scores, positive)
    if positive.all() or not positive.any():
        assert value is None
        return
    statistic = mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert value == pytest.approx(statistic / (positive.sum() * (~positive).sum()))
    assert auroc(-scores, positive) == pytest.approx(1 - value)


def test_calibration_error_by_hand():
    probabilities = np.linspace(0.05, 0.95, 30)
    outcomes = np.arange(30) % 3 == 0
    bins = [slice(2 * k, 2 * k + 2) for k in range(15)]
    expected = np.mean([abs(probabilities[b].mean() - outcomes[b].mean()) for b in bins])
    assert expected_calibration_error(probabilities, outcomes) == pytest.approx(expected)


@given(st.permutations(range(60)))
@settings(max_examples=30, deadline=None)
def test_calibration_error_is_blind_to_the_order_of_ties(order):
    probabilities = np.repeat([0.2, 0.5, 0.9], 20)
    outcomes = np.arange(60) % 4 == 0
    value = expected_calibration_error(probabilities, outcomes)
    assert expected_calibration_error(probabilities[order], outcomes[order]) == pytest.approx(value)


def test_calibration_error_of_a_constant_is_its_distance_from_the_base_rate():
    outcomes = np.arange(100) < 80
    assert expected_calibration_error(np.full(100, 0.7), outcomes) == pytest.approx(0.1)


@pytest.mark.parametrize(("particles", "floor"), [(300, 0.055), (5000, 0.013)])
def test_floor_of_a_perfectly_calibrated_model(particles, floor):
    # Confidences as of a model that is mostly sure: Beta(2, 0.5), four in five certain.
    confidence = np.random.default_rng(1).beta(2, 0.5, particles)
    assert calibration_floor(confidence) == pytest.approx(floor, abs=0.002)


def test_floor_is_the_mean_error_of_calibrated_outcomes():
    generator = np.random.default_rng(5)
    confidence = generator.random(400)
    errors = [expected_calibration_error(confidence, generator.random(400) < confidence) for _ in range(300)]
    assert calibration_floor(confidence) == pytest.approx(np.mean(errors), rel=0.05)


def test_nothing_to_measure():
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) is None
    assert calibration_floor(np.zeros(0)) is None


def test_geometry_of_known_shapes():
    labels = np.zeros((40, 60), np.int32)
    labels[10:20, 10:20] = 2  # a square on its own
    labels[25:35, 10:20] = 4  # touches 5 along one side
    labels[25:35, 20:30] = 5
    labels[0:10, 40:50] = 6  # one side on the frame's edge
    labels[20:38, 40:58] = 7
    labels[26:38, 46:58] = 0  # an L
    ids, features = geometry_features(labels)
    assert ids.tolist() == [2, 4, 5, 6, 7]
    log_area, solidity, contact, edge = features.T
    np.testing.assert_allclose(np.exp(log_area), [100, 100, 100, 100, 180])
    np.testing.assert_allclose(solidity, [1, 1, 1, 1, 180 / (18 * 18 - 72)])
    # A square of side 10 has 36 boundary pixels; 14 of them lie in the three columns nearest the neighbour.
    np.testing.assert_allclose(contact, [0, 14 / 36, 14 / 36, 0, 0])
    np.testing.assert_allclose(edge, [0, 0, 0, 10 / 36, 0])


def test_geometry_of_nothing():
    ids, features = geometry_features(np.zeros((5, 5), np.int32))
    assert ids.shape == (0,)
    assert features.shape == (0, 4)


def judged_images(generator, informative):
    results = []
    for _ in range(12):
        geometry = generator.normal(size=(30, 4))
        certain = generator.random(30) < 1 / (1 + np.exp(-3 * geometry[:, 1] * informative))
        confidence = np.clip(0.7 * certain + 0.3 * generator.random(30), 0, 1)
        results.append(CertaintyResult(confidence, generator.random(30), geometry, certain))
    return results


def test_geometry_knows_shape_and_nothing_else():
    generator = np.random.default_rng(2)
    knows = measure_certainty(judged_images(generator, informative=1))
    assert knows.auroc_geometry > 0.85
    blind = measure_certainty(judged_images(generator, informative=0))
    assert 0.4 < blind.auroc_geometry < 0.6
    assert blind.auroc == 1
    assert blind.auroc_interval_95 == (1, 1)
    assert 0.4 < blind.auroc_objectness < 0.6
    assert (blind.images, blind.particles) == (12, 360)
    assert blind.ece > blind.ece_floor


def test_no_rival_without_images_to_hold_out():
    features, groups = np.zeros((4, 4)), np.array([0, 0, 1, 1])
    assert out_of_fold_logistic(features, np.array([True, False, True, False]), np.zeros(4, int)) is None
    assert out_of_fold_logistic(features, np.array([True, True, True, False]), groups) is None


def test_out_of_fold_never_sees_the_image_at_hand():
    # Each image contradicts all others: a model that saw it would be right, one that did not must be wrong.
    features = np.tile([[1.0], [-1.0]], (4, 1))
    positive = np.array([True, False, True, False, True, False, False, True])
    groups = np.repeat(np.arange(4), 2)
    scores = out_of_fold_logistic(features, positive, groups)
    assert scores[6] > 0.5 > scores[7]


def test_geometry_is_strong_on_true_masks(shared):
    results = []
    for image in read_dataset(shared / "data" / "ampis"):
        ids, features = geometry_features(image.labels())
        certain = ~np.isin(ids, list(image.uncertain_ids()))
        results.append(CertaintyResult(np.ones(len(ids)), np.ones(len(ids)), features, certain))
    assert measure_certainty(results).auroc_geometry > 0.85
