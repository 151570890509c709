"""Ladders and pairs: equal masks, falling certainty."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from labsem.simulation.ladders import LADDER_SEEDS, blur_ladder, equal_geometry_pairs, noise_ladder

SIZE = {"width_px": 320, "height_px": 200}


@pytest.mark.parametrize("ladder", [blur_ladder, noise_ladder])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_ladder_shows_the_same_masks_ever_worse(ladder, seed):
    frames = ladder(seed, 4, **SIZE)
    assert len(frames) == 4
    assert len(frames[0].particles) >= 5
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame.labels, frames[0].labels)
        np.testing.assert_array_equal(frame.boxes, frames[0].boxes)
    shares = [frame.uncertain_fraction for frame in frames]
    assert all(later >= earlier for earlier, later in pairwise(shares))
    assert shares[0] < 0.5 < shares[-1]


def test_both_regimes_are_there():
    assert len(LADDER_SEEDS) >= 20
    widths_um = [blur_ladder(seed, 2, width_px=48, height_px=32)[0].view.hfw_um for seed in range(2)]
    assert [width > 50 for width in widths_um] == [True, False]


@pytest.mark.parametrize("seed", [2, 3])
def test_masks_of_a_pair_are_equal_and_their_certainty_is_not(seed):
    pairs = equal_geometry_pairs(seed, **SIZE)
    assert [pair.kind for pair in pairs] == ["focus", "contrast"]
    for pair in pairs:
        np.testing.assert_array_equal(pair.clear.labels, pair.unclear.labels)
        assert len(pair.labels) >= 3
        assert all(pair.clear.particles[label - 1].certain for label in pair.labels)
        assert not any(pair.unclear.particles[label - 1].certain for label in pair.labels)


def test_a_ladder_has_two_levels_or_more():
    with pytest.raises(ValueError, match="levels"):
        blur_ladder(0, 1)
