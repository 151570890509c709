"""Dark places among bright particles are ground."""

import numpy as np
import pytest

from labsem.networks.polarity import ground_contrast, is_ground


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


def test_contrast_is_the_grey_value_over_the_ground() -> None:
    contrast = ground_contrast(*_scene([0.9, 0.1, 0.4]))
    assert contrast == pytest.approx([0.5, -0.3, 0.0], abs=1e-6)


def test_a_hole_among_bright_particles_is_ground() -> None:
    contrast = ground_contrast(*_scene([0.9, 0.8, 0.1, 0.7]))
    assert is_ground(contrast, np.full(4, 0.9), -0.05).tolist() == [False, False, True, False]


def test_dark_particles_on_bright_ground_stay() -> None:
    contrast = ground_contrast(*_scene([0.1, 0.2, 0.15, 0.6]))
    assert not is_ground(contrast, np.full(4, 0.9), -0.05).any()


def test_a_particle_among_others_is_not_compared_with_them() -> None:
    grey, boxes, masks = _scene([0.5, 0.9])
    around = np.ones((60, 60), bool)
    around[17:43, 17:43] = False
    grey[2:62, 2:62][around] = 0.95
    boxes = np.vstack([boxes, [(2, 2, 62, 62)]]).astype(np.int32)
    contrast = ground_contrast(grey, boxes, [*masks, around])
    assert np.isnan(contrast[0])
    assert not is_ground(contrast, np.ones(3), 0.0)[0]


def test_masks_at_the_edge_and_none_at_all() -> None:
    grey = np.full((40, 40), 0.3, np.float32)
    grey[:10, :10] = 0.8
    contrast = ground_contrast(grey, np.array([(0, 0, 10, 10)], np.int32), [np.ones((10, 10), bool)])
    assert contrast == pytest.approx([0.5], abs=1e-6)
    assert ground_contrast(grey, np.zeros((0, 4), np.int32), []).shape == (0,)
