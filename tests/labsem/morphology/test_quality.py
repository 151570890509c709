"""Focus, noise, saturation and charging."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.draw import disk

from labsem.frames import read_frame
from labsem.morphology.quality import (
    charging,
    focus_measure,
    noise_level,
    saturated_fraction,
    signal_to_noise,
)

BLURS = (0.8, 1.5, 2.5, 4.0, 6.0)


def _field(seed: int = 0, contrast: float = 120.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((384, 512), 50.0)
    for y, x, radius in zip(
        rng.integers(0, 384, 40), rng.integers(0, 512, 40), rng.integers(6, 40, 40), strict=True
    ):
        image[disk((y, x), radius, shape=image.shape)] = 50 + contrast * rng.uniform(0.5, 1)
    return image


def _seen(image: np.ndarray, blur: float, noise: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(np.rint(gaussian_filter(image, blur) + rng.normal(0, noise, image.shape)), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("noise", [0.0, 5.0, 20.0])
def test_focus_falls_as_the_field_is_blurred(noise):
    found = [focus_measure(_seen(_field(), blur, noise)) for blur in BLURS]
    assert (np.diff(found) < -0.03).all()
    assert found[0] > 0.85
    assert found[-1] < 0.45
    # The measure is the blur itself: 1 / (1 + (b / 3.5)^2), wherever neighbours do not blur into one another.
    for blur, value in list(zip(BLURS, found, strict=True))[:4]:
        assert 3.5 * np.sqrt(1 / value - 1) == pytest.approx(blur, rel=0.15, abs=0.4)


@pytest.mark.parametrize("blur", [1.0, 3.0])
def test_focus_does_not_hang_on_noise_contrast_content_or_depth(blur):
    reference = focus_measure(_seen(_field(), blur, 3))
    assert focus_measure(_seen(_field(), blur, 25)) == pytest.approx(reference, abs=0.07)
    assert focus_measure(_seen(_field(contrast=60), blur, 3)) == pytest.approx(reference, abs=0.04)
    assert focus_measure(_seen(_field(7), blur, 3)) == pytest.approx(reference, abs=0.06)
    deep = _seen(_field(), blur, 3).astype(np.uint16) * 257
    assert focus_measure(deep) == pytest.approx(reference, abs=0.01)


def test_focus_is_null_without_edges():
    noise = np.random.default_rng(0).normal(100, 20, (300, 300)).clip(0, 255).astype(np.uint8)
    assert focus_measure(noise) is None
    assert focus_measure(np.full((300, 300), 9, np.uint8)) is None
    assert focus_measure(np.zeros((5, 5), np.uint8)) is None


def test_focus_of_real_frames(shared):
    folder = shared / "data" / "phenom"
    sharp = read_frame(folder / "Fail_Sample_4.tiff").pixels[200:800, 800:1500]
    found = [focus_measure(sharp)]
    for blur in BLURS[1:]:
        found.append(focus_measure(np.rint(gaussian_filter(sharp.astype(np.float32), blur)).astype(np.uint8)))
    assert (np.diff(found) < 0).all()
    assert found[0] > 0.75
    assert found[3] < 0.5
    for name in ("4_Round-3.tif", "5_Positive-Examples.tif"):
        assert 0.45 < focus_measure(read_frame(folder / name).pixels) < found[0]


@pytest.mark.parametrize("noise", [4.0, 15.0])
def test_noise_and_its_ratio_to_the_signal(noise):
    image = _seen(_field(), 1.0, noise)
    assert noise_level(image) == pytest.approx(noise, rel=0.15)
    better = signal_to_noise(_seen(_field(), 1.0, noise / 2))
    assert better == pytest.approx(2 * signal_to_noise(image), rel=0.2)
    assert signal_to_noise(np.full((300, 300), 9, np.uint8)) is None


def test_saturation_knows_the_detectors_depth():
    image = np.full((100, 100), 100, np.uint8)
    image[:10] = 255
    assert saturated_fraction(image) == pytest.approx(0.1)
    assert saturated_fraction(image.astype(np.uint16) * 200) == 0
    twelve = np.where(image == 255, 4095, 100).astype(np.uint16)
    assert saturated_fraction(twelve) == pytest.approx(0.1)


def test_charging_is_streaks_along_the_scan():
    image = _seen(_field(), 1.0, 6).astype(np.float64)
    assert charging(image.astype(np.uint8)) < 0.05
    streaks = np.zeros(384)
    streaks[np.random.default_rng(2).choice(384, 60, replace=False)] = 60
    charged = np.clip(image + streaks[:, None], 0, 255).astype(np.uint8)
    assert charging(charged) > 0.15
    assert charging(np.ascontiguousarray(charged.T)) < 0.05
