"""The floor that a network must beat: Otsu's threshold and a watershed of the distance transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, label
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from labsem.segmentation import Segmentation
from schemas.morphology import Regime

SMOOTHING_PX = 1.0
PEAK_DISTANCE_PX = 10
MINIMUM_AREA_PX = 50


def otsu_watershed(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], regime: Regime = Regime.JOINT
) -> Segmentation:
    """Segment a frame (H, W) by Otsu's threshold, parted by a watershed of its distance transform.

    Particles are taken to be the side of the threshold that holds less of the frame's edge. It has no opinion on
    certainty: all three numbers of trust are 1. The regime changes nothing.
    """
    del regime
    smooth = gaussian_filter(pixels.astype(np.float32), SMOOTHING_PX)
    if smooth.min() == smooth.max():
        return Segmentation.from_labels(np.zeros(pixels.shape, np.int32))
    bright = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    edge = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    foreground = binary_fill_holes(~bright if edge.mean() > 0.5 else bright)
    distance = distance_transform_edt(foreground)
    regions, _ = label(foreground)
    peaks = peak_local_max(distance, min_distance=PEAK_DISTANCE_PX, labels=regions, exclude_border=False)  # type: ignore[no-untyped-call]
    markers = np.zeros(pixels.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, markers, mask=foreground).astype(np.int32)  # type: ignore[no-untyped-call]
    labels[np.bincount(labels.ravel(), minlength=len(peaks) + 1)[labels] < MINIMUM_AREA_PX] = 0
    return Segmentation.from_labels(labels)
