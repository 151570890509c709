"""Evidence on detections: each column says what its name does, whatever lies elsewhere in the frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from labsem.networks.evidence import EVIDENCE, EvidenceHead, gather_evidence

SIDE = 160
CELLS = (np.arange(28) + 0.5) / 28 - 0.5
DISC = torch.from_numpy(((CELLS[:, None] ** 2 + CELLS[None] ** 2) < 0.25).astype(np.float32))


def _frame(*discs, ground=0.2, blur=0.0, noise=0.0):
    """Discs (y, x, radius, grey) on a ground, and their boxes."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    grey = np.full((SIDE, SIDE), ground)
    for cy, cx, radius, level in discs:
        grey[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = level
    grey = ndimage.gaussian_filter(grey, blur) + np.random.default_rng(0).normal(0, noise, grey.shape)
    boxes = [(cx - radius, cy - radius, cx + radius, cy + radius) for cy, cx, radius, _ in discs]
    return grey.astype(np.float32), np.array(boxes, float)


def _evidence(*discs, boxes=None, **frame):
    grey, own = _frame(*discs, **frame)
    boxes = own if boxes is None else boxes
    gathered = gather_evidence(grey, boxes, DISC.expand(len(boxes), -1, -1), np.full(len(boxes), 0.9))
    assert gathered.shape == (len(boxes), len(EVIDENCE)) and np.isfinite(gathered).all()
    return {name: gathered[:, place] for place, name in enumerate(EVIDENCE)}


def test_a_blurred_outline_steps_less_and_a_faint_one_too() -> None:
    plain = _evidence((80, 80, 30, 0.8))
    blurred, faint = _evidence((80, 80, 30, 0.8), blur=6), _evidence((80, 80, 30, 0.3))
    for name in ("step", "step_unsigned", "sharpness"):
        assert plain[name] > blurred[name] + 0.3, name
        assert plain[name] > faint[name] + 0.3, name
    assert plain["contrast"] == pytest.approx(0.6, abs=0.12)
    assert faint["contrast"] == pytest.approx(0.1, abs=0.03)


def test_where_a_part_of_the_outline_is_hidden_its_weakest_steps_say_so() -> None:
    alone = _evidence((80, 60, 30, 0.8), blur=1)
    touched = _evidence((80, 60, 30, 0.8), (80, 96, 30, 0.8), blur=1, boxes=np.array([[30.0, 50, 90, 110]]))
    assert alone["weakest_step_25"] > touched["weakest_step_25"] + 0.01
    assert alone["step_quantile_25"] > touched["step_quantile_25"] + 0.2


def test_noise_counts_against_a_step() -> None:
    quiet, noisy = _evidence((80, 80, 30, 0.8), noise=0.01), _evidence((80, 80, 30, 0.8), noise=0.2)
    assert quiet["step_over_noise"] > noisy["step_over_noise"] + 1


def test_what_covers_a_box_is_counted() -> None:
    small, large, apart = (80, 80, 10, 0.8), (80, 84, 40, 0.6), (20, 20, 12, 0.8)
    found = _evidence(large, small, apart)
    assert found["covered"][1] == pytest.approx(1) and found["covered_most"][1] == pytest.approx(1)
    assert found["covered_most"][0] == pytest.approx((20 / 80) ** 2)
    assert found["holds_others"].tolist() == pytest.approx([np.log(2), 0, 0])
    assert found["covered"][2] == 0
    assert _evidence((12, 80, 12, 0.8), apart)["at_edge"].tolist() == [1, 0]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 2, 3]))
def test_turning_the_frame_changes_no_evidence(seed: int, quarter: int) -> None:
    rng = np.random.default_rng(seed)
    discs = [(*rng.uniform(30, SIDE - 30, 2), rng.uniform(6, 26), rng.uniform(0.3, 1)) for _ in range(4)]
    grey, boxes = _frame(*discs, blur=1, noise=0.0)
    turned = boxes
    for _ in range(quarter):  # np.rot90: (y, x) becomes (SIDE - x, y)
        x0, y0, x1, y1 = turned.T
        turned = np.stack([y0, SIDE - x1, y1, SIDE - x0], axis=1)
    masks, trust = DISC.expand(4, -1, -1), np.linspace(0.5, 0.9, 4)
    here = gather_evidence(grey, boxes, masks, trust)
    there = gather_evidence(np.rot90(grey, quarter).copy(), turned, masks, trust)
    noise = EVIDENCE.index("step_over_noise")  # of every seventh pixel, so of others when turned
    assert np.delete(there, noise, 1) == pytest.approx(np.delete(here, noise, 1), abs=0.02)


def test_no_detection_has_no_evidence() -> None:
    grey, _ = _frame()
    assert gather_evidence(grey, np.zeros((0, 4)), torch.zeros(0, 28, 28), np.zeros(0)).shape == (
        0,
        len(EVIDENCE),
    )


def test_a_head_survives_its_tensors_and_refuses_those_of_other_evidence() -> None:
    rng = np.random.default_rng(0)
    head = EvidenceHead(rng.normal(size=(6, len(EVIDENCE))), rng.normal(size=6))
    evidence = rng.normal(size=(9, len(EVIDENCE)))
    again = EvidenceHead.from_tensors(head.tensors())
    assert np.array_equal(again.expected(evidence), head.expected(evidence))
    assert ((head.expected(evidence) > 1 / 12) & (head.expected(evidence) < 11 / 12)).all()
    with pytest.raises(ValueError, match="weight of shape"):
        EvidenceHead.from_tensors(EvidenceHead(head.weight[:, 1:], head.bias).tensors())
    with pytest.raises(KeyError):
        EvidenceHead.from_tensors({})
