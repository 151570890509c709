"""Label images and segmentations to measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import find_objects

from labsem.segmentation import Segmentation


@pytest.fixture(scope="session")
def segmentation_of() -> Callable[..., Segmentation]:
    """Make a segmentation of a label image, whose k-th label in ascending order becomes detection k."""

    def make(labels: np.ndarray, confidence=None, objectness=None, mask_quality=None) -> Segmentation:
        boxes, masks = [], []
        for index, box in enumerate(find_objects(labels)):
            if box is not None:
                boxes.append((box[0].start, box[1].start, box[0].stop, box[1].stop))
                masks.append(np.where(labels[box] == index + 1, 255, 0).astype(np.uint8))
        ones = np.ones(len(masks))
        return Segmentation(
            height_px=labels.shape[0],
            width_px=labels.shape[1],
            boxes=np.array(boxes, np.int32).reshape(-1, 4),
            probabilities=tuple(masks),
            objectness=ones if objectness is None else np.asarray(objectness, float),
            confidence=ones if confidence is None else np.asarray(confidence, float),
            mask_quality=ones if mask_quality is None else np.asarray(mask_quality, float),
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
