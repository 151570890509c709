"""Places of the ground among bright particles are no particles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsem.networks.polarity import Shades, ground_shades, is_ground

BAND = 0.25


def _scene(levels, ground=0.4, side=200):
    """Discs of radius 12 with these grey values, far from one another, on ground."""
    grey = np.full((side, side), ground, np.float32)
    y, x = np.mgrid[:24, :24] + 0.5
    disc = np.hypot(y - 12, x - 12) < 12
    boxes = []
    for index, level in enumerate(levels):
        y0, x0 = 20 + 60 * (index // 3), 20 + 60 * (index % 3)
        grey[y0 : y0 + 24, x0 : x0 + 24][disc] = level
        boxes.append((y0, x0, y0 + 24, x0 + 24))
    return grey, np.array(boxes, np.int32), [disc] * len(levels)


def _ground(levels, least=-1.0, band=BAND, ground=0.2, noise=0.03):
    grey, boxes, masks = _scene(levels, ground)
    grey += np.random.default_rng(0).normal(0, noise, grey.shape).astype(np.float32)
    return is_ground(ground_shades(grey, boxes, masks), np.full(len(levels), 0.9), least, band).tolist()


def test_contrast_is_the_grey_value_over_the_ground() -> None:
    shades = ground_shades(*_scene([0.9, 0.1, 0.4]))
    assert shades.contrast == pytest.approx([0.5, -0.3, 0.0], abs=1e-6)
    assert shades.ground == pytest.approx([0.4, 0.4, 0.4], abs=1e-6)
    assert (shades.bare, shades.bare_spread) == (pytest.approx(0.4, abs=1e-6), 0)


def test_a_hole_among_bright_particles_is_ground() -> None:
    assert _ground([0.9, 0.8, 0.1, 0.7], -0.05, 0, ground=0.4) == [False, False, True, False]


def test_dark_particles_on_bright_ground_stay() -> None:
    assert not any(_ground([0.1, 0.2, 0.15, 0.6], -0.05, 0, ground=0.4))
    assert not any(_ground([0.1, 0.2, 0.15, 0.6], -0.05, BAND, ground=0.8))


def test_a_bubble_as_dark_as_the_ground_is_ground_and_a_faint_particle_is_not() -> None:
    assert _ground([0.8, 0.7, 0.75, 0.24]) == [False, False, False, True]
    assert _ground([0.8, 0.7, 0.75, 0.24], band=0) == [False] * 4
    assert not any(_ground([0.8, 0.7, 0.75, 0.4]))


def test_on_ground_without_any_texture_a_faint_particle_stays() -> None:
    assert _ground([0.8, 0.7, 0.75, 0.25]) == [False, False, False, True]
    assert not any(_ground([0.8, 0.7, 0.75, 0.25], noise=0.0))


def test_particles_told_by_their_rims_alone_stay_where_they_are_most() -> None:
    assert not any(_ground([0.8, 0.2, 0.21, 0.19, 0.22]))


def test_few_bright_particles_among_more_holes() -> None:
    assert _ground([0.9, 0.8, 0.04, 0.03, 0.05], ground=0.25) == [False, False, True, True, True]


def test_a_particle_beside_others_is_not_compared_with_them() -> None:
    """Its ring lies on neighbours that were not found; it is as bright as the others, not as their ground."""
    shades = Shades(np.array([0.7, 0.8, 0.75, 0.72]), np.array([0.1, 0.1, 0.12, 0.7]), 0.1, 0.05)
    assert not is_ground(shades, np.full(4, 0.9), -1.0, BAND).any()
    shades = Shades(np.array([0.7, 0.8, 0.75, 0.12]), np.array([0.1, 0.1, 0.12, 0.1]), 0.1, 0.05)
    assert is_ground(shades, np.full(4, 0.9), -1.0, BAND).tolist() == [False, False, False, True]


def test_a_particle_among_others_is_not_compared_with_the_found_ones() -> None:
    grey, boxes, masks = _scene([0.5, 0.9])
    around = np.ones((60, 60), bool)
    around[17:43, 17:43] = False
    grey[2:62, 2:62][around] = 0.95
    boxes = np.vstack([boxes, [(2, 2, 62, 62)]]).astype(np.int32)
    shades = ground_shades(grey, boxes, [*masks, around])
    assert np.isnan(shades.contrast[0])
    assert not is_ground(shades, np.ones(3), 0.0, BAND)[0]


def test_masks_at_the_edge_and_none_at_all() -> None:
    grey = np.full((40, 40), 0.3, np.float32)
    grey[:10, :10] = 0.8
    shades = ground_shades(grey, np.array([(0, 0, 10, 10)], np.int32), [np.ones((10, 10), bool)])
    assert shades.contrast == pytest.approx([0.5], abs=1e-6)
    nothing = ground_shades(grey, np.zeros((0, 4), np.int32), [])
    assert nothing.contrast.shape == (0,)
    assert is_ground(nothing, np.zeros(0), 0.0, BAND).shape == (0,)


LEVELS = st.lists(
    st.tuples(st.floats(0, 1) | st.just(np.nan), st.floats(0, 1), st.floats(0.05, 1)), min_size=1, max_size=20
)


def test_ground_that_is_brighter_than_the_shadows_beside_particles() -> None:
    shades = Shades(np.array([0.8, 0.75, 0.36]), np.array([0.1, 0.12, 0.3]), 0.33, 0.05)
    assert is_ground(shades, np.full(3, 0.9), -1.0, BAND).tolist() == [False, False, True]
    assert not is_ground(shades._replace(bare=0.1), np.full(3, 0.9), -1.0, BAND).any()


@given(LEVELS, st.floats(0, 1) | st.just(np.nan), st.floats(0.05, 0.45))
def test_the_clearest_particle_is_never_ground(found, bare, band):
    inside, ground, objectness = np.array(found).T
    shades = Shades(inside, ground, bare, 0.05)
    taken = is_ground(shades, objectness, -1.0, band)
    assert not taken[np.isnan(shades.contrast)].any()
    if np.nanmax(np.append(shades.contrast, 0.0)) > 0:
        assert not taken[int(np.nanargmax(shades.contrast))]
    else:
        assert not taken.any()
