"""Intervals over images and paired comparison."""

from __future__ import annotations

import numpy as np
import pytest

from labsem.evaluation import bootstrap_interval, mean_interval, paired_bootstrap


def test_interval_of_a_mean_is_the_normal_one_for_many_images():
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    low, high = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.002)
    assert high == pytest.approx(values.mean() + half, abs=0.002)
    assert mean_interval(values) == (low, high)


def test_no_interval_of_one_image():
    assert mean_interval(np.array([0.5])) is None


def test_no_interval_where_most_draws_have_no_value():
    assert bootstrap_interval(5, lambda drawn: 1.0 if (drawn == 0).sum() > 2 else None) is None


def test_pairs_tell_what_separate_intervals_do_not():
    generator = np.random.default_rng(1)
    hard = generator.uniform(0.2, 0.9, 50)
    better = hard + generator.normal(0.02, 0.01, 50)
    result = paired_bootstrap(better, hard)
    assert result.difference == pytest.approx((better - hard).mean())
    assert 0 < result.interval_95[0] < result.difference < result.interval_95[1]
    assert result.share_not_better == 0
    low, _ = mean_interval(better)
    assert low < hard.mean()
    assert paired_bootstrap(hard, hard).share_not_better == 1


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="got 3 and 2"):
        paired_bootstrap(np.zeros(3), np.zeros(2))
