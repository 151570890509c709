"""How novel a frame is at a glance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.networks.architecture import Architecture
from labsem.networks.novelty import VIEW_PX, Glances, Novelty, glance, views
from labsem.networks.registry import build_network
from labsem.training.novelty import (
    bare_frames,
    fit_components,
    fit_discriminant,
    fit_domain,
    fit_glances,
    series_of,
    simulated_frames,
    spoil,
    vary,
)

FEATURES = 60
IDS = [f"{number:03d}" for number in range(80)]
SMALL = Architecture(channels=16, box_features=32)


def _glances(seed: int, count: int) -> Glances:
    """At frames that vary along four directions, with a little noise off them."""
    directions = np.random.default_rng(99).normal(0, 1, (4, FEATURES))
    rng = np.random.default_rng(seed)
    off = rng.normal(0, 0.1, (count, FEATURES))
    return Glances(rng.normal(0, 1, (count, 4)) @ directions + off, rng.normal(0, 1, count))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 900), st.integers(1, 900))
def test_views_have_one_size_whatever_the_frame(height: int, width: int) -> None:
    grey = np.random.default_rng(height).random((height, width)).astype(np.float32)
    seen = views(grey)
    assert seen.shape == (2, 1, *VIEW_PX)
    assert bool(torch.isfinite(seen).all())
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 1


def test_the_second_view_shows_the_frame_s_own_pixels() -> None:
    grey = np.random.default_rng(0).random((600, 800)).astype(np.float32)
    patch = views(grey)[1, 0, :112, :144].numpy()
    assert np.array_equal(patch, grey[94:206, 128:272])


@pytest.mark.parametrize("name", ["lite0", "reference"])
def test_a_network_glances_at_both_views(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL if name == "lite0" else name).eval()
    grey = np.random.default_rng(1).random((64, 64)).astype(np.float32)
    seen = glance(network, grey)
    assert seen.descriptions.shape[0] == len(seen.particles) == 1
    assert np.isfinite(seen.descriptions).all()
    assert np.array_equal(seen.descriptions, glance(network, grey).descriptions)
    assert not np.allclose(seen.descriptions, glance(network, grey**3).descriptions)


def test_what_varies_otherwise_than_the_training_is_far_from_it() -> None:
    novelty = fit_components(_glances(0, 100))
    usual = novelty.of(_glances(1, 50))
    rng = np.random.default_rng(2)
    foreign = novelty.of(Glances(rng.normal(0, 1.5, (50, FEATURES)), rng.normal(0, 1, 50)))
    assert foreign.min() > usual.max() + 1
    far = Glances(5 * _glances(1, 50).descriptions, _glances(1, 50).particles)
    assert (novelty.of(far) > usual).all()


@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_what_looks_like_a_particle_makes_a_frame_less_novel(particles: float, more: float) -> None:
    novelty = fit_components(_glances(0, 40))
    one = _glances(1, 1).descriptions
    plain, clear = (novelty.of(Glances(one, np.array([value]))) for value in (particles, particles + more))
    assert clear < plain


def _outliers(seed: int, count: int) -> Glances:
    """What differs from the domain in one number, by less than that varies there."""
    shift = np.zeros(FEATURES)
    shift[7] = 0.6
    glances = _glances(seed, count)
    return Glances(glances.descriptions + shift, glances.particles)


def test_outliers_say_which_way_foreign_frames_lie() -> None:
    domain, fresh, foreign = _glances(0, 100), _glances(1, 200), _outliers(2, 200)
    alone, exposed = fit_components(domain), fit_domain(domain, _outliers(3, 60))
    raised = [(each.of(foreign) > np.quantile(each.of(fresh), 0.98)).mean() for each in (alone, exposed)]
    assert raised[1] > raised[0] + 0.2


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30))
def test_the_discriminant_is_balanced(seed: int, inside: int, outside: int) -> None:
    rng = np.random.default_rng(seed)
    domain, outliers = rng.normal(-1, 1, (inside, 12)), rng.normal(1, 1, (outside, 12))
    direction, offset = fit_discriminant(domain, outliers)
    means = [float((each @ direction + offset).mean()) for each in (domain, outliers)]
    assert -1 <= means[0] < 0 < means[1] <= 1
    assert means[0] == pytest.approx(-means[1])
    mirrored = fit_discriminant(outliers, domain)
    assert mirrored[0] == pytest.approx(-direction, abs=1e-9)


def test_no_single_number_decides_alone() -> None:
    novelty = fit_domain(_glances(0, 80), _outliers(1, 40))
    one = _glances(2, 1).descriptions
    far, farther = one.copy(), one.copy()
    far[0, 7], farther[0, 7] = 1e3, 1e6
    assert novelty.parts(far)[2] == pytest.approx(novelty.parts(farther)[2])


def test_tensors_hold_all_of_it() -> None:
    novelty = fit_domain(_glances(0, 40), _outliers(1, 20))
    again = Novelty.from_tensors(novelty.tensors())
    assert again.of(_glances(3, 5)) == pytest.approx(novelty.of(_glances(3, 5)))


def test_weights_from_before_there_was_a_discriminant_tell_by_distance_as_they_did() -> None:
    novelty = fit_domain(_glances(0, 40), _outliers(1, 20))
    tensors = novelty.tensors()
    del tensors["ood.direction"], tensors["ood.offset"]
    seen = _glances(3, 5)
    assert Novelty.from_tensors(tensors).of(seen) == pytest.approx(fit_components(_glances(0, 40)).of(seen))


def test_the_limit_lets_nearly_all_of_the_domain_pass_and_raises_outliers() -> None:
    passed, raised = [], []
    for seed in range(5):
        plain = _glances(seed, 80)
        noise = np.random.default_rng(seed).normal(0, 0.1, plain.descriptions.shape)
        spoilt = Glances(plain.descriptions + noise, plain.particles)
        tensors, limit = fit_glances(plain, spoilt, _glances(seed + 1000, 5), _outliers(seed + 2000, 40), IDS)
        novelty = Novelty.from_tensors(tensors)
        passed.append((novelty.of(_glances(seed + 3000, 200)) <= limit).mean())
        raised.append((novelty.of(_outliers(seed + 4000, 200)) > limit).mean())
    assert np.mean(passed) > 0.95
    assert np.mean(raised) > 0.9


def test_the_limit_knows_of_series_that_a_fit_never_saw() -> None:
    rng = np.random.default_rng(0)
    ground = _glances(0, 80)
    own = np.repeat(rng.normal(0, 1.5, (16, FEATURES)), 5, axis=0)
    plain = Glances(ground.descriptions + own, ground.particles)
    series = [f"powder{number // 5}_{number}" for number in range(80)]
    by_series, by_image = (
        fit_glances(plain, plain, _glances(1, 5), _outliers(2, 40), ids)[1] for ids in (series, IDS)
    )
    assert by_series > by_image + 0.3


def test_images_of_a_powder_are_a_series_unless_their_names_begin_like_all_others() -> None:
    ids = ["Cu-Ni_1", "S02_1_a", "Cu-Ni_2", "S02_1_b", *(f"{number:x}" for number in range(20))]
    series = series_of(ids)
    assert series[0] == series[2] != series[1] == series[3]
    assert sorted(set(series.tolist())) == list(range(22))
    assert len(set(series_of([f"image_{number}" for number in range(9)]).tolist())) == 9


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_spoilt_frames_are_frames_of_the_same_size(seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (30, 40), np.uint8)
    spoilt = spoil(grey, seed)
    assert (spoilt.shape, spoilt.dtype) == (grey.shape, np.uint8)
    assert not np.array_equal(spoilt, grey)
    assert np.array_equal(spoilt, spoil(grey, seed))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60))
def test_varied_frames_are_between_their_magnifications(seed: int, height: int, width: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    varied = vary(grey, seed)
    assert varied.dtype == np.uint8
    for side, was in zip(varied.shape, grey.shape, strict=True):
        assert 0.4 * was - 1 <= side <= was + 2
    assert np.array_equal(varied, vary(grey, seed))


def test_bare_frames_are_frames_with_next_to_nothing_on_them() -> None:
    first = next(bare_frames(1))
    assert (first.shape, first.dtype) == ((480, 640), np.uint8)
    assert np.ptp(first) > 0


def test_simulated_frames_are_of_other_seeds_than_bare_ones() -> None:
    first = next(simulated_frames(1))
    assert (first.shape, first.dtype) == ((480, 640), np.uint8)
    assert not np.array_equal(first, next(bare_frames(1)))
