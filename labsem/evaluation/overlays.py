"""A labelled image with what a model got right and wrong, drawn."""

from __future__ import annotations

from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from labsem.evaluation.measure import ImageResult
from labsem.figures.overlay import stretch
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage

COLOURS: Final = {
    "certain": (86, 180, 233),
    "uncertain": (240, 228, 66),
    "false": (226, 80, 190),
    "missed": (235, 80, 20),
    "hole": (160, 110, 60),
}
"""Of detections that match a label (certain, uncertain) or none (false), and of labels without a detection (missed);
told apart by colour-blind readers (Okabe and Ito). ``hole`` outlines marked places that are no particles."""

LONG_SIDE_PX: Final = 1280
_QUALITY: Final = 85


def draw_errors(
    image: LabelledImage, segmentation: Segmentation, result: ImageResult, long_side_px: int = LONG_SIDE_PX
) -> NDArray[np.uint8]:
    """(H, W, 3) picture of an image: detections outlined as right (certain, uncertain) or false, missed labels.

    Without labels all detections count as right, and clear particles as labels. The picture is enlarged up to
    twice, or reduced, to the long side.
    """
    grey = stretch(image.pixels())
    factor = min(2.0, long_side_px / max(grey.shape))
    shape = tuple(max(1, round(side * factor)) for side in grey.shape)
    scaled = resize(grey, shape, order=1, anti_aliasing=factor < 1, preserve_range=True)  # type: ignore[no-untyped-call]
    picture = np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)
    found = np.append("", np.where(segmentation.certain, "certain", "uncertain"))
    labels, missed = np.zeros(grey.shape, np.int32), np.zeros(0, np.int64)
    if result.labels is not None:
        overlaps, matched = result.labels.overlaps, result.labels.matched
        found[overlaps.predicted_ids[~matched.predicted_right]] = "false"
        labels, missed = image.labels(), overlaps.truth_ids[~matched.truth_found]
    elif result.landmarks is not None and image.clear_path is not None:
        labels, missed = image.clear_labels(), np.array(result.landmarks.missed, np.int64)
    if image.holes_path is not None:
        _outline(picture, image.hole_labels(), "hole")
    _outline(picture, np.where(np.isin(labels, missed), labels, 0), "missed")
    kinds = found[_sampled(segmentation.label_image, picture)]
    edges = _edges(segmentation.label_image, picture)
    for kind in ("certain", "uncertain", "false"):
        picture[edges & (kinds == kind)] = COLOURS[kind]
    return picture


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture as it is written beside the page, and into it."""
    return bytes(imagecodecs.jpeg_encode(picture, level=_QUALITY, subsampling="444"))


def _outline(picture: NDArray[np.uint8], labels: NDArray[np.int32], kind: str) -> None:
    picture[_edges(labels, picture)] = COLOURS[kind]


def _edges(labels: NDArray[np.int32], picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    sampled = _sampled(labels, picture)
    rim: NDArray[np.bool_] = find_boundaries(sampled, mode="inner")  # type: ignore[no-untyped-call]
    # Two pixels wide, without leaving the particle.
    wide: NDArray[np.bool_] = binary_dilation(rim) & (sampled > 0)
    return wide


def _sampled(labels: NDArray[np.int32], picture: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The label image at the picture's pixels."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for old, new in zip(labels.shape, picture.shape, strict=False)
    )
    sampled: NDArray[np.int32] = labels[np.ix_(rows, columns)]
    return sampled
