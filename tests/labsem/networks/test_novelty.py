"""How far a frame's description lies from those of the training."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labsem.networks.novelty import VIEW_PX, Novelty, describe, views
from labsem.training.novelty import fit_components, fit_descriptions, spoil

FEATURES = 60


def _descriptions(seed: int, count: int) -> np.ndarray:
    """Of frames that vary along four directions, with a little noise off them."""
    directions = np.random.default_rng(99).normal(0, 1, (4, FEATURES))
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, 4)) @ directions + rng.normal(0, 0.1, (count, FEATURES))


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


def test_a_description_has_mean_and_deviation_of_every_channel_of_both_views() -> None:
    backbone = nn.ModuleList([nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 5, 3, 2, 1)])
    stages = lambda images: [backbone[0](images), backbone[1](backbone[0](images))]  # noqa: E731
    grey = np.random.default_rng(1).random((64, 64)).astype(np.float32)
    found = describe(stages, grey)
    assert found.shape == (2 * 2 * (3 + 5),)
    assert np.array_equal(found, describe(stages, grey))
    assert not np.allclose(found, describe(stages, grey**3))


def test_what_varies_otherwise_than_the_training_is_far_from_it() -> None:
    novelty = fit_components(_descriptions(0, 100))
    usual = novelty.distance(_descriptions(1, 50))
    foreign = novelty.distance(np.random.default_rng(2).normal(0, 1.5, (50, FEATURES)))
    assert foreign.min() > 2 * usual.max()
    farther = novelty.distance(5 * _descriptions(1, 50))
    assert (farther > usual).all()


def test_tensors_hold_all_of_it() -> None:
    novelty = fit_components(_descriptions(0, 40), off=0.3)
    again = Novelty.from_tensors(novelty.tensors())
    other = _descriptions(3, 5)
    assert again.distance(other) == pytest.approx(novelty.distance(other))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_limit_lets_nearly_all_of_the_domain_pass(seed: int) -> None:
    plain = _descriptions(seed, 80)
    rng = np.random.default_rng(seed)
    tensors, limit = fit_descriptions(
        plain, plain + rng.normal(0, 0.1, plain.shape), _descriptions(seed + 1, 40)
    )
    fresh = Novelty.from_tensors(tensors).distance(_descriptions(seed + 2, 200))
    assert (fresh > limit.limit).mean() < 0.08


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_spoilt_frames_are_frames_of_the_same_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (30, 40), np.uint8)
    spoilt = spoil(grey, rng)
    assert (spoilt.shape, spoilt.dtype) == (grey.shape, np.uint8)
    assert not np.array_equal(spoilt, grey)
