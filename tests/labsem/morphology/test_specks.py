"""What is too small to be outlined."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from labsem.morphology.specks import find_specks

NOTHING = np.zeros((300, 400), np.bool_)


def ground(noise: float = 4.0, seed: int = 0) -> np.ndarray:
    return 60 + np.random.default_rng(seed).normal(0, noise, NOTHING.shape)


def carpet(count: int, radius_px: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:300, :400]
    image = np.zeros(NOTHING.shape)
    cells = rng.choice(30 * 40, count, replace=False)  # one in each cell of 10 px, so that none touch
    for cell in cells:
        cy, cx = 10 * (cell // 40) + 5, 10 * (cell % 40) + 5
        image[np.hypot(y - cy, x - cx) < radius_px] = 100
    return gaussian_filter(image, 0.7)


def to_pixels(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [0.5, 8.0])
def test_a_carpet_of_specks_is_counted_and_sized(noise):
    found = find_specks(to_pixels(ground(noise) + carpet(300, 2.0)), NOTHING)
    assert found.count == pytest.approx(300, rel=0.05)
    assert found.ecd_px == pytest.approx(4.0, abs=1.5)
    true = 300 * np.pi * 4 / NOTHING.size
    assert true < found.area_fraction < 2 * true


@pytest.mark.parametrize("noise", [0.5, 4.0, 30.0])
def test_bare_and_noisy_ground_has_next_to_none(noise):
    assert find_specks(to_pixels(ground(noise)), NOTHING).area_fraction < 0.001


def test_particles_that_were_found_and_their_edges_do_not_count():
    y, x = np.mgrid[:300, :400]
    disc = np.hypot(y - 150, x - 200) < 60
    pixels = to_pixels(ground() + 120 * gaussian_filter(disc.astype(float), 0.8))
    assert find_specks(pixels, disc).count == 0
    assert find_specks(pixels, np.ones_like(NOTHING)).count == 0
