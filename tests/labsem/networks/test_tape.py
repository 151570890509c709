"""The shipped network on small fields of carbon tape: what is no particle, and what the edge cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labsem.evaluation.detection import match
from labsem.evaluation.overlap import find_overlaps
from labsem.morphology import measure_particles
from labsem.networks.segmenter import Segmenter
from labsem.simulation import View, World, render
from schemas.morphology import Regime

WORLDS = (1505056960, 1261954310)
"""Powders of coarse grains, few in a field, on tape with many holes and bubbles."""

FIELDS = 10


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(precision="float32")


@pytest.fixture(scope="module")
def frames():
    def field(world: World, number: int):
        view = View(hfw_um=80.0, width_px=960, height_px=600, x_mm=0.08 * number, noise_seed=number)
        return render(world, replace(view, contrast=1 / world.scene.brightest[view.detector]))

    return [field(World(seed), number) for seed in WORLDS for number in range(FIELDS)]


@pytest.fixture(scope="module")
def segmentations(segmenter, frames):
    return [segmenter.segment(frame.pixels, Regime.LOW) for frame in frames]


def false_outlines(segmentations, frames) -> tuple[int, int]:
    """Detections that lie on no particle, and all."""
    lying, found = 0, 0
    for frame, segmentation in zip(frames, segmentations, strict=True):
        labels = segmentation.label_image
        ids = np.unique(labels[labels > 0])
        found += len(ids)
        lying += sum(float((frame.labels[labels == one] > 0).mean()) < 0.5 for one in ids)
    return lying, found


def test_bubbles_of_tape_are_told_from_particles_by_the_ground(
    segmenter, segmentations, frames, monkeypatch
) -> None:
    lying, found = false_outlines(segmentations, frames)
    monkeypatch.setattr(
        "labsem.networks.polarity._is_dim", lambda shades, *_: np.zeros(len(shades.inside), bool)
    )
    without = [segmenter.segment(frame.pixels, Regime.LOW) for frame in frames]
    before, all_before = false_outlines(without, frames)
    assert found > 100
    assert before / all_before > 0.05
    assert lying / found < 0.4 * before / all_before


def test_what_the_edge_cuts_is_called_cut_and_the_rest_is_not(segmentations, frames) -> None:
    called = []
    for frame, segmentation in zip(frames, segmentations, strict=True):
        table = measure_particles(segmentation, None)
        cut = dict(zip(table.label.tolist(), table.cut_by_edge.tolist(), strict=True))
        overlaps = find_overlaps(frame.labels, segmentation.label_image)
        found = match(overlaps)
        edges = np.concatenate([frame.labels[0], frame.labels[-1], frame.labels[:, 0], frame.labels[:, -1]])
        for truth, predicted in zip(found.truth_index, found.predicted_index, strict=True):
            label = int(overlaps.predicted_ids[predicted])
            called.append((overlaps.truth_ids[truth] in edges, cut[label]))
    of_cut = [said for true, said in called if true]
    of_whole = [said for true, said in called if not true]
    assert min(len(of_cut), len(of_whole)) > 50
    assert np.mean(of_cut) > 0.96
    assert np.mean(of_whole) < 0.05
