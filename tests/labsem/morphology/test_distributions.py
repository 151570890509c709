"""Weights, quantiles, Wilson and the unbiasedness of the correction at the frame's edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom

from labsem.morphology import edge_weights, effective_n, weighted_quantile, wilson_bounds
from labsem.morphology.distributions import WEIGHT_CAP, build_sizes, distribution, shapes

_sizes = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(1, 500))


@given(sizes=_sizes, factor=st.floats(1e-3, 1e3))
def test_quantiles_follow_the_unit_and_lie_inside(sizes, factor):
    weights = np.linspace(1, 2, len(sizes))
    plain = weighted_quantile(sizes, weights, (0.1, 0.5, 0.9))
    assert (np.diff(plain) >= -1e-9).all()
    assert sizes.min() <= plain[0] <= plain[2] <= sizes.max()
    np.testing.assert_allclose(weighted_quantile(sizes * factor, weights, (0.1, 0.5, 0.9)), plain * factor)
    np.testing.assert_allclose(weighted_quantile(sizes, weights * factor, (0.1, 0.5, 0.9)), plain)


@given(sizes=_sizes)
def test_a_weight_of_two_is_a_particle_twice(sizes):
    once = weighted_quantile(sizes, np.ones(len(sizes)), 0.5)
    padded = weighted_quantile(np.append(sizes, 1e9), np.append(np.ones(len(sizes)), 0.0), 0.5)
    assert padded == once
    with pytest.raises(ValueError, match="positive weight"):
        weighted_quantile(sizes, np.zeros(len(sizes)), 0.5)


@given(sizes=_sizes)
def test_weightings_are_ordered(sizes):
    weights = np.ones(len(sizes))
    number, area, volume = (distribution(sizes, weights, kind, 0.5) for kind in ("number", "area", "volume"))
    assert number.mean_um <= area.mean_um * (1 + 1e-9) <= volume.mean_um * (1 + 1e-8)
    assert number.d50_um <= area.d50_um * (1 + 1e-9) <= volume.d50_um * (1 + 1e-8)
    assert number.d50_um == pytest.approx(number.d50_px * 0.5)
    assert number.n == len(sizes)
    assert number.n_effective == pytest.approx(len(sizes))
    assert distribution(sizes, weights, "area", None).d50_um is None


def test_known_values():
    sizes = np.array([1.0, 2.0, 3.0])
    ones = np.ones(3)
    assert weighted_quantile(sizes, ones, 0.5) == 2
    # d^3 = 1, 8, 27: D[4,3] = (1 + 16 + 81) / 36.
    assert distribution(sizes, ones, "volume", 1.0).mean_um == pytest.approx(98 / 36)
    assert distribution(sizes, ones, "area", 1.0).mean_um == pytest.approx(36 / 14)
    assert effective_n(np.array([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    empty = build_sizes(lambda weighting, population: distribution(sizes[:0], sizes[:0], weighting, 1.0))
    assert (empty.number.all.n, empty.number.all.d50_um, empty.volume.certain.n_effective) == (0, None, 0)
    nothing = shapes(np.full(2, np.nan), np.array([0.5, 0.7]), sizes[:2], np.array([1.0, 0.0]))
    assert nothing.aspect_ratio is None
    assert nothing.circularity_iso.p50 == 0.5


def test_edge_weights_and_their_cap():
    assert edge_weights(100, 50, 1000, 500) == pytest.approx(1 / (0.9 * 0.9))
    assert edge_weights(995, 400, 1000, 500) == WEIGHT_CAP
    assert edge_weights(1200, 20, 1000, 500) == WEIGHT_CAP


def _thrown_needles(rng, count, width, height):
    """Needles of aspect 8, half of them long, thrown over a field larger than the frame, at any angle."""
    length = np.where(rng.random(count) < 0.5, 160.0, 40.0)
    angle = rng.uniform(0, np.pi, count)
    box_w = length * np.abs(np.cos(angle)) + length / 8 * np.abs(np.sin(angle))
    box_h = length * np.abs(np.sin(angle)) + length / 8 * np.abs(np.cos(angle))
    x, y = rng.uniform(-200, width + 200, count), rng.uniform(-200, height + 200, count)
    whole = (x - box_w / 2 > 0) & (x + box_w / 2 < width) & (y - box_h / 2 > 0) & (y + box_h / 2 < height)
    return length[whole], angle[whole], box_w[whole], box_h[whole]


def test_bounding_boxes_are_unbiased_on_needles_and_diameters_are_not():
    width, height = 400, 300
    length, angle, box_w, box_h = _thrown_needles(np.random.default_rng(3), 400_000, width, height)
    long_ = length > 100
    diameter = np.sqrt(4 * length * length / 8 / np.pi)
    by_box = edge_weights(box_w, box_h, width, height)
    by_diameter = edge_weights(diameter, diameter, width, height)
    share = {
        name: weights[long_].sum() / weights.sum()
        for name, weights in (("box", by_box), ("ecd", by_diameter))
    }
    assert share["box"] == pytest.approx(0.5, abs=0.006)
    assert abs(share["ecd"] - 0.5) > 0.03
    steep = np.abs(np.sin(angle)) > np.sin(np.pi / 4)
    assert by_box[long_ & steep].sum() / by_box[long_].sum() == pytest.approx(0.5, abs=0.01)


@given(n=st.integers(0, 400), data=st.data())
def test_wilson_holds_its_fraction(n, data):
    successes = data.draw(st.integers(0, n))
    lower, upper = wilson_bounds(successes, n)
    assert 0 <= lower <= upper <= 1
    if n:
        assert lower <= successes / n <= upper
        mirrored = wilson_bounds(n - successes, n)
        assert mirrored == (pytest.approx(1 - upper), pytest.approx(1 - lower))


def test_wilson_edges_and_table():
    assert wilson_bounds(0, 0) == (0, 1)
    lower, upper = wilson_bounds(0, 10)
    assert lower == 0
    # z^2 / (n + z^2), z = 1.644854
    assert upper == pytest.approx(2.705543 / 12.705543, abs=1e-6)
    assert wilson_bounds(10, 10)[1] == 1
    with pytest.raises(ValueError, match="between"):
        wilson_bounds(3, 2)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_wilson_bounds_cover(p):
    n = 80
    k = np.arange(n + 1)
    chance = binom.pmf(k, n, p)
    lower = np.array([wilson_bounds(int(each), n)[0] for each in k])
    assert chance[lower <= p].sum() == pytest.approx(0.95, abs=0.03)
