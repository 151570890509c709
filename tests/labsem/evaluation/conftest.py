"""Label images and segmentations to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from labsem.segmentation import Segmentation


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
