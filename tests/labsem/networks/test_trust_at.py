"""Trust in particles whose boxes are known."""

import numpy as np

from labsem.networks.segmenter import Segmenter
from schemas.morphology import Regime


def test_each_box_is_judged_on_its_own() -> None:
    rows, columns = np.mgrid[:128, :160]
    discs = ((rows - 40) ** 2 + (columns - 40) ** 2 < 400) | ((rows - 80) ** 2 + (columns - 110) ** 2 < 900)
    noise = np.random.default_rng(0).normal(0, 4, discs.shape)
    pixels = (np.where(discs, 170, 60) + noise).clip(0, 255).astype(np.uint8)
    boxes = np.array([[20, 20, 61, 61], [50, 80, 111, 141], [100, 5, 120, 25]])  # the last holds nothing
    segmenter = Segmenter.load(precision="float32")
    trust = segmenter.trust_at(pixels, boxes, Regime.JOINT)
    assert trust.confidence.shape == trust.objectness.shape == (3,)
    assert ((trust.confidence > 0) & (trust.confidence < 1)).all()
    assert trust.objectness[:2].min() > trust.objectness[2]
    back = segmenter.trust_at(pixels, boxes[::-1], Regime.JOINT)
    np.testing.assert_allclose(back.objectness[::-1], trust.objectness, atol=1e-4)
    np.testing.assert_allclose(segmenter.confidence_at(pixels, boxes, Regime.JOINT), trust.confidence)
    assert segmenter.confidence_at(pixels, np.zeros((0, 4), np.int64), Regime.JOINT).shape == (0,)
