"""Coverage of the intervals: 1,000 runs in each cell of frames by intraclass correlation (``pytest -m coverage``)."""

from __future__ import annotations

import numpy as np
import pytest

from labsem.morphology.intervals import d50_interval, pooled_uncertain_fraction

RUNS = 1000
PARTICLES = 30
SIGMA = 0.4
SHARE = 0.3
BAND = (0.925, 0.975)

CELLS = [(frames, correlation) for frames in (5, 10, 30) for correlation in (0.0, 0.1)]


@pytest.mark.coverage
@pytest.mark.parametrize(("frames", "correlation"), CELLS)
def test_d50_lies_in_its_interval_as_often_as_it_says(frames, correlation):
    rng = np.random.default_rng([frames, int(100 * correlation), 5])
    between, within = SIGMA * correlation**0.5, SIGMA * (1 - correlation) ** 0.5
    hits_95 = hits_97_5 = 0
    for _ in range(RUNS):
        sizes = [
            np.exp(rng.normal(0, between) + rng.normal(0, within, max(rng.poisson(PARTICLES), 1)))
            for _ in range(frames)
        ]
        found = d50_interval(sizes, [np.ones_like(each) for each in sizes])
        assert found is not None
        hits_95 += found.interval_95[0] <= 1.0 <= found.interval_95[1]
        hits_97_5 += found.interval_97_5[0] <= 1.0 <= found.interval_97_5[1]
    assert BAND[0] <= hits_95 / RUNS <= BAND[1]
    assert 0.96 <= hits_97_5 / RUNS <= 0.99


@pytest.mark.coverage
@pytest.mark.parametrize(("frames", "correlation"), CELLS)
def test_bounds_of_the_uncertain_fraction_hold_at_least_as_often_as_they_say(frames, correlation):
    """Each bound is one-sided at 95 %.

    There is no upper limit: the bounds are never inside Wilson's, so that few particles are guarded against, and in
    frames that do not differ (correlation 0) both together cover more than they say.
    """
    rng = np.random.default_rng([frames, int(100 * correlation), 6])
    above = below = 0
    for _ in range(RUNS):
        if correlation:
            spread = 1 / correlation - 1  # of a beta distribution, for that correlation between particles
            shares = rng.beta(SHARE * spread, (1 - SHARE) * spread, frames)
        else:
            shares = np.full(frames, SHARE)
        counts = np.maximum(rng.poisson(PARTICLES, frames), 1)
        found = pooled_uncertain_fraction(rng.binomial(counts, shares).tolist(), counts.tolist())
        above += found.lower_95 <= SHARE
        below += found.upper_95 >= SHARE
    assert above / RUNS >= BAND[0]
    assert below / RUNS >= BAND[0]
