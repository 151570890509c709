"""Clear particles found and holes taken."""

from __future__ import annotations

import numpy as np
import pytest

from labsem.evaluation import clear_found, holes_taken
from labsem.segmentation import Segmentation


@pytest.fixture
def holes():
    holes = np.zeros((40, 40), np.int32)
    holes[5:25, 5:25] = 3  # 400 pixels
    holes[30:38, 30:38] = 9
    return holes


def detect(*boxes, confidence=None):
    """Rectangular detections, the earlier over the later."""
    return Segmentation(
        height_px=40,
        width_px=40,
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        probabilities=tuple(np.full((y1 - y0, x1 - x0), 255, np.uint8) for y0, x0, y1, x1 in boxes),
        objectness=np.ones(len(boxes)),
        confidence=np.ones(len(boxes)) if confidence is None else np.array(confidence),
        mask_quality=np.ones(len(boxes)),
    )


@pytest.mark.parametrize(
    ("box", "taken"),
    [
        ((6, 6, 24, 24), (3,)),
        ((6, 6, 10, 16), (3,)),  # 40 of 400 pixels: exactly a tenth
        ((6, 6, 9, 19), ()),  # 39 pixels: dust
        ((5, 15, 25, 35), ()),  # exactly half inside
        ((5, 14, 25, 34), (3,)),  # just over half inside
        ((0, 0, 40, 40), ()),
        ((26, 0, 29, 40), ()),
        ((31, 31, 37, 37), (9,)),
    ],
)
def test_over_half_inside_and_at_least_a_tenth(holes, box, taken):
    assert holes_taken(holes, detect(box)) == taken


def test_uncertain_detections_take_holes_too(holes):
    assert holes_taken(holes, detect((6, 6, 24, 24), (31, 31, 37, 37), confidence=[0.1, 0.9])) == (3, 9)


def test_flattening_hides_no_hole(holes):
    covered = detect((5, 5, 22, 40), (6, 6, 24, 24))  # the second is the hole's, mostly under the first
    assert holes_taken(holes, covered) == (3,)


def test_nothing_detected(holes):
    assert holes_taken(holes, detect()) == ()
    assert clear_found(holes, detect()) == ((), (3, 9))


def test_clear_particles_at_one_half(holes):
    assert clear_found(holes, detect((5, 5, 15, 25), (30, 30, 33, 38))) == ((3,), (9,))
    assert clear_found(holes, detect((5, 5, 25, 25), (30, 30, 38, 38), confidence=[0.1, 0.1])) == ((3, 9), ())
