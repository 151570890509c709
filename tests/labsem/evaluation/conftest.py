"""Label images and segmentations to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from labsem.evaluation import ImageResult, measure_image
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage
from schemas.morphology import Regime


@pytest.fixture(scope="session")
def segmentation_of() -> Callable[..., Segmentation]:
    """Make a segmentation of a label image, whose k-th label in ascending order becomes detection k."""

    def make(labels: np.ndarray, confidence=None, objectness=None, mask_quality=None) -> Segmentation:
        given = {"confidence": confidence, "objectness": objectness, "mask_quality": mask_quality}
        return replace(
            Segmentation.from_labels(labels),
            **{name: np.asarray(value, float) for name, value in given.items() if value is not None},
        )

    return make


@pytest.fixture(scope="session")
def many_particles() -> np.ndarray:
    """A label image of 400 touching squares and rectangles."""
    labels = np.zeros((400, 400), np.int32)
    for k in range(400):
        y, x = 20 * (k // 20), 20 * (k % 20)
        labels[y : y + 20 - k % 5, x : x + 20] = k + 1
    return labels


@pytest.fixture(scope="session")
def some_particles(many_particles: np.ndarray) -> np.ndarray:
    """The first 36 of the touching rectangles, labelled 1 to 36."""
    _, labels = np.unique(many_particles[:120, :120], return_inverse=True)
    return labels.reshape(120, 120).astype(np.int32)


@pytest.fixture
def measured(tmp_path: Path, segmentation_of: Callable[..., Segmentation]) -> Callable[..., ImageResult]:
    """Measure a label image that was found against the one that is true, with the true ones that are uncertain."""

    def measure(name, truth, found, uncertain=None, confidence=None, trust_at=None) -> ImageResult:
        kinds = {"images": truth > 0, "masks": truth}
        if uncertain is not None:
            kinds["uncertain"] = np.where(np.isin(truth, list(uncertain)), truth, 0)
        paths = {}
        for kind, pixels in kinds.items():
            paths[kind] = tmp_path / kind / f"{name}.png"
            paths[kind].parent.mkdir(exist_ok=True)
            paths[kind].write_bytes(imagecodecs.png_encode(pixels.astype(np.uint16)))
        image = LabelledImage(
            name, paths["images"], paths["masks"], paths.get("uncertain"), judged=uncertain is not None
        )
        return measure_image(image, segmentation_of(found, confidence), Regime.JOINT, 0.0, None, trust_at)

    return measure
