"""Frames unlike any training."""

import numpy as np

from labsem.evaluation.foreign import FAMILIES, foreign_frames


def test_a_frame_depends_on_seed_and_place_alone() -> None:
    few, more = list(foreign_frames(3)), list(foreign_frames(5))
    for one, other in zip(few, more, strict=False):
        assert one.name == other.name
        assert np.array_equal(one.pixels, other.pixels)
    assert not np.array_equal(few[0].pixels, next(iter(foreign_frames(1, seed=1))).pixels)


def test_every_family_comes_in_turn_and_is_not_blank() -> None:
    frames = list(foreign_frames(len(FAMILIES)))
    assert [frame.family for frame in frames] == list(FAMILIES)
    for frame in frames:
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.ndim == 2
        assert np.ptp(frame.pixels) > 50
