"""A segmentation on its way to another process."""

import pickle

import numpy as np

from labsem.segmentation import Segmentation


def test_a_label_image_that_was_made_does_not_travel() -> None:
    labels = np.zeros((300, 400), np.int32)
    labels[20:30, 40:60] = 1
    segmentation = Segmentation.from_labels(labels)
    assert np.array_equal(segmentation.label_image, labels)
    travelled = pickle.dumps(segmentation)
    assert len(travelled) < labels.nbytes / 10
    assert np.array_equal(pickle.loads(travelled).label_image, labels)
