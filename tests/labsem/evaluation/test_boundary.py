"""Distances of outlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation.boundary import boundary_error, outline

ONE = np.array([[1, 1]])


def disc(radius: float, y: float = 60, x: float = 60) -> np.ndarray:
    rows, columns = np.mgrid[:120, :120]
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).astype(np.int32)


@given(st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_a_moved_disc(along, across):
    error = boundary_error(disc(40), disc(40, 60 + across, 60 + along), ONE)
    moved = np.hypot(along, across)
    assert error.mean_px[0] == pytest.approx(2 * moved / np.pi, rel=0.12)
    assert 0.8 * moved <= error.p95_px[0] <= moved + 0.1


def test_the_same_outline_and_a_wider_one():
    labels = disc(30)
    same = boundary_error(labels, labels, ONE)
    assert same.mean_px[0] == same.p95_px[0] == 0
    square = np.zeros((60, 60), np.int32)
    square[20:40, 20:40] = 1
    wider = np.zeros((60, 60), np.int32)
    wider[18:42, 18:42] = 1
    error = boundary_error(square, wider, ONE)
    assert error.mean_px[0] == pytest.approx(2, abs=0.1)
    assert boundary_error(wider, square, ONE).mean_px[0] == pytest.approx(error.mean_px[0])


def test_the_frames_edge_is_no_outline():
    cut = disc(30, 0, 60)
    shorter = disc(30, 0, 60)
    shorter[0] = 0
    error = boundary_error(cut, cut, ONE)
    assert error.mean_px[0] == 0
    assert len(outline(np.ones((5, 7), bool))) == 0
    whole = np.ones((9, 9), np.int32)
    assert np.isnan(boundary_error(whole, whole, ONE).mean_px[0])
    assert boundary_error(cut, shorter, ONE).p95_px[0] > 0


def test_pairs_are_looked_at_one_by_one():
    truth = disc(20, 30, 30) + 2 * disc(20, 90, 90)
    predicted = 5 * disc(20, 90, 90) + 7 * disc(20, 30, 32)
    error = boundary_error(truth, predicted, np.array([[1, 7], [2, 5]]))
    assert error.mean_px[0] == pytest.approx(4 / np.pi, rel=0.12)
    assert error.mean_px[1] == 0
