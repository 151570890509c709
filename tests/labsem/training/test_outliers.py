"""Frames that are none of the domain."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation import foreign
from labsem.training.outliers import DRAWN, FAMILIES, TAKEN_APART, outlier_frames


def _image(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def test_families_come_in_turn_and_do_not_depend_on_how_many_are_asked_for() -> None:
    frames = list(outlier_frames([_image(0)], each=1))
    assert [family for family, _ in frames] == list(FAMILIES)
    for (_, one), (_, other) in zip(frames, outlier_frames([_image(0)], each=2), strict=False):
        assert np.array_equal(one, other)
        assert (one.dtype, one.ndim) == (np.uint8, 2)
        assert len(np.unique(one)) > 1


def test_frames_of_a_family_and_of_seeds_differ() -> None:
    few = list(islice(outlier_frames([], each=2), len(DRAWN)))
    again = list(islice(outlier_frames([], each=2, seed=1), len(DRAWN)))
    assert all(not np.array_equal(one, other) for (_, one), (_, other) in zip(few, again, strict=True))


def test_without_images_only_drawn_families_come() -> None:
    assert [family for family, _ in outlier_frames([], each=1)] == list(DRAWN)


def test_families_are_others_than_those_that_judge() -> None:
    assert not set(FAMILIES) & set(foreign.FAMILIES)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(list(TAKEN_APART)), st.integers(0, 99), st.integers(1, 60), st.integers(1, 60))
def test_images_of_any_size_are_taken_apart(family: str, seed: int, height: int, width: int) -> None:
    grey = _image(seed, height, width) / 255
    apart = TAKEN_APART[family](grey, np.random.default_rng(seed))
    assert np.isfinite(apart).all()
    assert 0 < apart.shape[0] <= height
    assert 0 < apart.shape[1] <= width


def test_shuffled_lines_keep_every_grey_value() -> None:
    grey = _image(0) / 255
    for seed in range(6):
        apart = TAKEN_APART["shuffled lines"](grey, np.random.default_rng(seed))
        assert not np.array_equal(apart, grey)
        assert np.array_equal(np.sort(apart, axis=None), np.sort(grey, axis=None))


def test_shuffled_tiles_keep_the_tiles() -> None:
    grey = np.kron(np.arange(30.0).reshape(5, 6), np.ones((7, 7)))
    for seed in range(6):
        apart = TAKEN_APART["shuffled tiles"](grey, np.random.default_rng(seed))
        assert set(np.unique(apart)) <= set(np.unique(grey))
        assert not np.array_equal(apart, grey[: apart.shape[0], : apart.shape[1]])


def test_random_phases_keep_the_spectrum() -> None:
    grey = _image(0) / 255
    apart = TAKEN_APART["random phase"](grey, np.random.default_rng(0))
    was, now = (np.abs(np.fft.rfft2(each - each.mean())) for each in (grey, apart))
    assert np.corrcoef(was.ravel(), now.ravel())[0, 1] == pytest.approx(1, abs=1e-2)
    assert abs(np.corrcoef(grey.ravel(), apart.ravel())[0, 1]) < 0.1
