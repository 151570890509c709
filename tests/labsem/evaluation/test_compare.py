"""Two models on the same images."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation import compare, compare_two, paired_bootstrap, summarize


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
@settings(max_examples=25, deadline=None)
def test_paired_bootstrap_is_the_same_from_either_side(pairs):
    first, second = np.array(pairs).T
    there, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert there.difference == pytest.approx(-back.difference)
    assert there.interval_95 == pytest.approx((-back.interval_95[1], -back.interval_95[0]))
    assert there.interval_95[0] - 1e-12 <= there.difference <= there.interval_95[1] + 1e-12


@pytest.fixture
def results(measured, some_particles):
    """Of a model that finds all and knows which are uncertain, and of one that misses many and knows nothing."""
    generator = np.random.default_rng(3)
    good, poor = [], []
    for k in range(6):
        uncertain = generator.choice(36, 12, replace=False) + 1
        knows = np.where(np.isin(np.arange(1, 37), uncertain), 0.3, 0.8) + generator.normal(0, 0.05, 36)
        missed = np.where(some_particles % (k + 2) == 0, 0, some_particles)
        good.append(measured(f"i{k}", some_particles, some_particles, uncertain, knows))
        count = len(np.unique(missed)) - 1
        poor.append(measured(f"i{k}", some_particles, missed, uncertain, generator.random(count)))
    return {"good": good, "poor": poor}


def test_differences_of_two_models(results):
    reports = {name: summarize(of, "joint") for name, of in results.items()}
    comparison = compare(reports, results)
    (found,) = comparison.differences
    assert (found.first, found.second) == ("good", "poor")
    assert found.aji_plus.difference == pytest.approx(reports["good"].aji_plus - reports["poor"].aji_plus)
    assert 0 < found.aji_plus.interval_95[0] < found.aji_plus.difference < found.aji_plus.interval_95[1]
    assert found.aji_plus.share_not_better == 0
    assert found.f1.images == found.auroc.images == 6
    assert found.auroc.difference == pytest.approx(reports["good"].auroc - reports["poor"].auroc)
    assert found.auroc.interval_95[0] > 0.2
    assert found.auroc_true_boxes is None
    back = compare_two("poor", results["poor"], "good", results["good"])
    assert back.auroc.interval_95 == pytest.approx((-found.auroc.interval_95[1], -found.auroc.interval_95[0]))
    assert set(json.loads(comparison.model_dump_json())) == {"models", "differences"}


def test_other_images_are_refused(results):
    with pytest.raises(ValueError, match="good and poor were measured on other images"):
        compare_two("good", results["good"], "poor", results["poor"][::-1])


def test_results_travel_and_pool(results):
    halves = [pickle.loads(pickle.dumps(results["good"][:3])), results["good"][3:]]
    assert summarize([*halves[0], *halves[1]], "joint") == summarize(results["good"], "joint")


def test_one_image_has_no_interval(results):
    found = compare_two("good", results["good"][:1], "poor", results["poor"][:1])
    assert found.aji_plus.interval_95 is found.auroc.interval_95 is None
