"""Masks are combined inside their boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from labsem.networks.combination import combine, resample_masks
from labsem.networks.manifest import Thresholds
from labsem.segmentation import HALF_LEVEL


def _run(boxes, objectness, certain, masks=None, **thresholds):
    count = len(boxes)
    masks = torch.ones(count, 28, 28) if masks is None else masks
    return combine(
        resample_masks(masks.numpy(), np.reshape(boxes, (-1, 4)).astype(float), 100, 120),
        np.array(objectness, float),
        np.array(certain, bool),
        100,
        120,
        Thresholds(**thresholds),
    )


@settings(deadline=None, max_examples=20)
@given(st.floats(-3, 80), st.floats(-3, 60), st.floats(0.5, 60), st.floats(0.5, 60), st.integers(0, 2**31))
def test_masks_are_resampled_as_torch_does(
    x: float, y: float, width: float, height: float, seed: int
) -> None:
    box = np.array([x, y, x + width, y + height])
    mask = torch.rand(28, 28, generator=torch.Generator().manual_seed(seed))
    [(found, (y0, x0, y1, x1))] = resample_masks(mask[None].numpy(), box[None], 100, 120)
    u = ((torch.arange(x0, x1) + 0.5 - x) / width) * 2 - 1
    v = ((torch.arange(y0, y1) + 0.5 - y) / height) * 2 - 1
    grid = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], dim=-1).float()
    sampled = functional.grid_sample(
        mask[None, None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    assert np.allclose(found, sampled[0, 0].numpy(), atol=1e-4)


def test_thresholds_for_certain_and_uncertain_differ() -> None:
    boxes = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10)]
    found = _run(boxes, [0.6, 0.6, 0.4, 0.4], [True, False, True, False], omega=0.5, psi=0.3)
    assert sorted(found.index.tolist()) == [0, 1, 3]


def test_the_later_of_two_nearly_equal_masks_goes() -> None:
    found = _run([(10, 10, 40, 40), (12, 10, 42, 40)], [0.7, 0.9], [True, True], overlap=0.5)
    assert found.index.tolist() == [1]


def test_an_uncertain_mask_under_a_certain_one_goes_but_a_certain_one_stays() -> None:
    boxes = [(10, 10, 50, 50), (40, 10, 60, 50)]
    shared = {"overlap": 0.9, "containment": 1.0, "op": 0.4}
    assert _run(boxes, [0.9, 0.8], [True, False], **shared).index.tolist() == [0]
    assert _run(boxes, [0.9, 0.8], [True, True], **shared).index.tolist() == [0, 1]


def test_certain_particles_take_precedence_over_more_objectness() -> None:
    found = _run([(10, 10, 50, 50), (40, 10, 80, 50)], [0.95, 0.8], [False, True], overlap=0.9, op=1.0)
    assert found.index.tolist() == [1, 0]


def test_sigma_lies_at_the_half_level() -> None:
    masks = torch.full((1, 28, 28), 0.55)
    assert _run([(0, 0, 20, 20)], [0.9], [True], masks, sigma=0.5).probabilities[0].min() >= HALF_LEVEL
    assert len(_run([(0, 0, 20, 20)], [0.9], [True], masks, sigma=0.6).index) == 0


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(-5, 110), st.floats(-5, 90), st.floats(1, 40), st.floats(1, 40)), max_size=12
    )
)
def test_boxes_lie_in_the_frame_and_fit_their_masks(places) -> None:
    boxes = [(max(x, 0), max(y, 0), min(x + w, 120), min(y + h, 100)) for x, y, w, h in places]
    boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    found = _run(np.reshape(boxes, (-1, 4)), [0.9] * len(boxes), [True] * len(boxes))
    for (y0, x0, y1, x1), cells in zip(found.boxes, found.probabilities, strict=True):
        assert 0 <= y0 < y1 <= 100
        assert 0 <= x0 < x1 <= 120
        assert cells.shape == (y1 - y0, x1 - x0)


def test_a_disc_keeps_its_area_when_resampled() -> None:
    y, x = np.mgrid[:28, :28] + 0.5
    disc = torch.from_numpy((1 / (1 + np.exp(np.hypot(y - 14, x - 14) - 14))).astype(np.float32))[None]
    found = _run([(10, 10, 80, 80)], [0.9], [True], disc)
    assert (found.probabilities[0] >= HALF_LEVEL).sum() == pytest.approx(np.pi * 35**2, rel=0.02)
