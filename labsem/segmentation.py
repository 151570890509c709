"""What a segmenter returns for one frame, without torch: masks inside their boxes and two numbers of trust."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

HALF_LEVEL = 128
"""A pixel belongs to a mask where its probability, stored as 0 to 255, is at least this."""


@dataclass(frozen=True)
class Segmentation:
    """Kept detections of one frame, in order of precedence: a shared pixel belongs to the earlier one.

    Attributes
    ----------
    height_px, width_px
        Size of the analysed frame (data bar removed).
    boxes
        (N, 4) int32: y0, x0, y1, x1 in pixels, end exclusive, inside the frame.
    probabilities
        N arrays (y1 - y0, x1 - x0) of uint8: mask probability, 0 to 255; the mask is ``>= HALF_LEVEL``.
    objectness, confidence, mask_quality
        (N,) float64 in [0, 1]; ``confidence`` is the calibrated probability that an expert would call the
        particle certain, ``mask_quality`` that its mask reaches IoU 0.5.
    out_of_distribution
        Whether the frame is unlike what the network was trained on.
    certain_by_rule
        (N,) where the network decides certainty by a rule of its own; None: where confidence is over 0.5.
    """

    height_px: int
    width_px: int
    boxes: NDArray[np.int32]
    probabilities: tuple[NDArray[np.uint8], ...]
    objectness: NDArray[np.float64]
    confidence: NDArray[np.float64]
    mask_quality: NDArray[np.float64]
    out_of_distribution: bool = False
    certain_by_rule: NDArray[np.bool_] | None = None

    @classmethod
    def from_labels(cls, labels: NDArray[np.int32], confidence: NDArray[np.float64] | None = None) -> Self:
        """A label image (H, W) as a segmentation: the k-th label in ascending order becomes detection k.

        ``confidence`` is (N,), 1 where not given; ``objectness`` and ``mask_quality`` are 1.
        """
        boxes, masks = [], []
        for index, box in enumerate(find_objects(labels)):
            if box is not None:
                boxes.append((box[0].start, box[1].start, box[0].stop, box[1].stop))
                masks.append(np.where(labels[box] == index + 1, 255, 0).astype(np.uint8))
        ones = np.ones(len(masks))
        return cls(
            height_px=labels.shape[0],
            width_px=labels.shape[1],
            boxes=np.array(boxes, np.int32).reshape(-1, 4),
            probabilities=tuple(masks),
            objectness=ones,
            confidence=ones if confidence is None else confidence,
            mask_quality=ones,
        )

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getstate__(self) -> dict[str, Any]:
        # The label image is four times the frame, and quickly made again in another process.
        return {name: value for name, value in self.__dict__.items() if name != "label_image"}

    @property
    def certain(self) -> NDArray[np.bool_]:
        """(N,) whether an expert is expected to call the particle certain."""
        return self.confidence > 0.5 if self.certain_by_rule is None else self.certain_by_rule

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Unflattened mask of one detection inside its box."""
        return self.probabilities[index] >= HALF_LEVEL

    @cached_property
    def label_image(self) -> NDArray[np.int32]:
        """(H, W) int32: 0 background, k + 1 where detection k is seen (flattened by precedence)."""
        labels = np.zeros((self.height_px, self.width_px), np.int32)
        for index in range(len(self) - 1, -1, -1):
            y0, x0, y1, x1 = self.boxes[index]
            labels[y0:y1, x0:x1][self.mask(index)] = index + 1
        return labels

    def visible_mask(self, index: int) -> NDArray[np.bool_]:
        """Flattened mask of one detection inside its box."""
        y0, x0, y1, x1 = self.boxes[index]
        visible: NDArray[np.bool_] = self.label_image[y0:y1, x0:x1] == index + 1
        return visible
