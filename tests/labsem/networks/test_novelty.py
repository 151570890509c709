"""How novel a frame is at a glance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.networks.architecture import Architecture
from labsem.networks.novelty import VIEW_PX, Glances, Novelty, glance, views
from labsem.networks.registry import build_network
from labsem.training.novelty import bare_frames, fit_components, fit_glances, spoil, vary

FEATURES = 60
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


def test_tensors_hold_all_of_it() -> None:
    novelty = fit_components(_glances(0, 40))
    again = Novelty.from_tensors(novelty.tensors())
    assert again.of(_glances(3, 5)) == pytest.approx(novelty.of(_glances(3, 5)))


def test_the_limit_lets_nearly_all_of_the_domain_pass() -> None:
    raised = []
    for seed in range(10):
        plain = _glances(seed, 80)
        noise = np.random.default_rng(seed).normal(0, 0.1, plain.descriptions.shape)
        spoilt = Glances(plain.descriptions + noise, plain.particles)
        tensors, limit = fit_glances(plain, spoilt, _glances(seed + 1000, 5), _glances(seed + 2000, 40))
        fresh = Novelty.from_tensors(tensors).of(_glances(seed + 3000, 200))
        raised.append((fresh > limit.limit).mean())
    assert np.mean(raised) < 0.07


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
