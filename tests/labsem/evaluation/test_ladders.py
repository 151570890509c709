"""Confidence on simulated ladders and pairs."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from labsem.evaluation import ladders
from labsem.evaluation.ladders import evaluate_simulated_certainty, ladder_figures, pair_figures
from labsem.simulation import SIMULATOR_VERSION


class Trust(NamedTuple):
    confidence: np.ndarray
    objectness: np.ndarray


@given(st.lists(st.floats(0.001, 0.2), min_size=6, max_size=6), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_confidence_that_falls_with_every_step(falls, scenes):
    start = np.linspace(0.5, 1, scenes)[:, None]
    figures = ladder_figures(start - np.cumsum(falls)[None, :])
    assert figures.spearman == pytest.approx(-1)
    assert figures.spearman_worst == figures.spearman_mean == pytest.approx(-1)
    assert figures.spearman_pooled < -0.9
    assert (figures.scenes, figures.levels) == (scenes, 6)


def test_a_scene_that_knows_nothing_has_no_correlation():
    figures = ladder_figures(np.array([[0.5] * 6, np.linspace(0.9, 0.1, 6)]))
    assert figures.spearman_by_scene == (None, pytest.approx(-1))


def test_pairs_of_equal_geometry():
    generator = np.random.default_rng(2)
    scenes = [(generator.uniform(0.5, 1, 20), generator.uniform(0, 0.6, 20)) for _ in range(10)]
    figures = pair_figures(scenes)
    assert (figures.scenes, figures.particles) == (10, 200)
    assert 0.9 < figures.auroc < 1
    assert figures.auroc_interval_95[0] < figures.auroc < figures.auroc_interval_95[1]
    swapped = pair_figures([(unclear, clear) for clear, unclear in scenes])
    assert swapped.auroc == pytest.approx(1 - figures.auroc)
    same = pair_figures([(clear, clear) for clear, _ in scenes])
    assert same.auroc == pytest.approx(0.5) and same.lower_share == 0
    assert pair_figures([(np.zeros(0), np.zeros(0))] * 2).auroc is None


@pytest.fixture
def small_frames(monkeypatch):
    """Scenes of a tenth of the pixels."""
    for name in ("blur_ladder", "noise_ladder", "equal_geometry_pairs"):
        small = partial(getattr(ladders, name), width_px=320, height_px=200)
        monkeypatch.setattr(ladders, name, small)


def test_a_model_that_sees_contrast(small_frames):
    """The steepest step inside a box stands in for confidence: blur flattens it, noise does not."""

    def trust_at(pixels, boxes, regime):
        grey = gaussian_filter(pixels.astype(float), 1)
        steps = [
            float(np.abs(np.diff(grey[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2])).max()) / 255
            for y0, x0, y1, x1 in boxes.tolist()
        ]
        return Trust(np.array(steps), np.ones(len(steps)))

    found = evaluate_simulated_certainty({"contrast": trust_at}, range(2))["contrast"]
    assert found.simulator_version == SIMULATOR_VERSION
    assert found.seeds == (0, 1)
    assert found.blur.spearman == pytest.approx(-1)
    assert set(found.pairs) == {"focus", "contrast", "all"}
    assert found.pairs["focus"].auroc > 0.8
    assert found.pairs["all"].particles == sum(found.pairs[k].particles for k in ("focus", "contrast")) > 0


def test_a_model_without_boxes_is_refused(small_frames):
    with pytest.raises(ValueError, match="none has no confidence at given boxes"):
        evaluate_simulated_certainty({"none": lambda *_: None}, range(1))
