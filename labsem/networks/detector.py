"""A network on one frame: the views that it looks at, and what it finds in all of them together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from labsem.networks.allocator import release_free_memory
from labsem.networks.combination import Cell, resample_masks
from labsem.networks.evidence import EvidenceHead, gather_evidence
from labsem.networks.losses import expected_confidence
from labsem.networks.manifest import Input
from labsem.networks.novelty import Glances, glance
from labsem.networks.scaling import at_scale, scale_factor
from labsem.networks.trainable import DetectionNetwork
from labsem.networks.views import View, tile_views, whole_view
from labsem.normalisation import grey_levels, normalise

Precision = Literal["auto", "float32", "bfloat16"]

TILED_FROM = 1.25
"""What is longer than so many tiles is looked at in tiles; until there they would show little more."""

SURE = 0.5
"""Objectness of the detections whose sizes tell a frame's typical one."""

MANY_VIEWS = 4
"""A frame of more tiles is so large that memory matters more than the time to ask for it again."""

CLOSER_BY = 1.2
"""A second look enlarges at least so much more than the first."""

EDGE_GAP = (1.0, 0.02)
"""A box that ends within so many pixels plus so much of its side from the frame's edge is of a particle that the edge
cuts: in simulated fields of 80 um 227 of 231 such particles end so, and one in 100 whole ones."""


@dataclass(frozen=True)
class Detections:
    """What the network says of a frame before combination, best first.

    Attributes
    ----------
    grey
        (H, W) the frame's grey values in [0, 1].
    boxes
        (N, 4) x0 y0 x1 y1, px of the frame.
    masks
        (N, 28, 28) mask probabilities.
    objectness, expected_confidence, mask_certainty
        (N,): foreground probability, expected bin centre of the uncertainty head, and mean distance of the mask's
        probabilities from one half, times two.
    certain
        (N,) by the network's own rule; None where the calibrated confidence decides.
    """

    grey: NDArray[np.float32]
    boxes: NDArray[np.float64]
    masks: Tensor
    objectness: NDArray[np.float64]
    expected_confidence: NDArray[np.float64]
    mask_certainty: NDArray[np.float64]
    certain: NDArray[np.bool_] | None = None

    @cached_property
    def cells(self) -> list[Cell]:
        """Mask probabilities at the frame's pixels, inside their boxes."""
        return resample_masks(self.masks.numpy(), self.boxes, self.grey.shape[0], self.grey.shape[1])

    @property
    def sides_px(self) -> NDArray[np.float64]:
        """(N,) geometric mean of each box's sides, px of the frame."""
        return _sides_px(self.boxes)

    @property
    def longest_px(self) -> NDArray[np.float64]:
        """(N,) longer side of each box, px of the frame."""
        longest: NDArray[np.float64] = (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1, initial=0)
        return longest

    @cached_property
    def evidence(self) -> NDArray[np.float64]:
        """(N, len(EVIDENCE)) what the uncertainty head may work on."""
        return gather_evidence(self.grey, self.boxes, self.masks, self.objectness)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Self:
        """Those of an index or a mask over the detections."""
        return replace(
            self,
            boxes=self.boxes[index],
            masks=self.masks[torch.from_numpy(index)],
            objectness=self.objectness[index],
            expected_confidence=self.expected_confidence[index],
            mask_certainty=self.mask_certainty[index],
            certain=None if self.certain is None else self.certain[index],
        )


def merge(parts: list[Detections], nms_iou: float) -> Detections:
    """Detections of several views of one frame, best first, each particle once."""
    certain = [part.certain for part in parts if part.certain is not None]
    together = replace(
        parts[0],
        boxes=np.concatenate([part.boxes for part in parts]),
        masks=torch.cat([part.masks for part in parts]),
        objectness=np.concatenate([part.objectness for part in parts]),
        expected_confidence=np.concatenate([part.expected_confidence for part in parts]),
        mask_certainty=np.concatenate([part.mask_certainty for part in parts]),
        certain=np.concatenate(certain) if len(certain) == len(parts) else None,
    )
    kept = nms(torch.from_numpy(together.boxes), torch.from_numpy(together.objectness), nms_iou)
    return together.take(kept.numpy())


class Detector:
    """One network on one frame: normalisation, views at their scales, detection.

    A frame is looked at as a whole, enlarged or reduced as the manifest's input says. Where its particles turn out to
    be small, a second look, enlarged until the typical one has the size that the network sees best, takes the place of
    the first. A frame much larger than a tile is looked at in tiles at full resolution.
    """

    def __init__(
        self, network: DetectionNetwork, *, precision: Precision = "auto", head: EvidenceHead | None = None
    ) -> None:
        self._head = head
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._half = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster())

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What it computes in."""
        return "bfloat16" if self._half else "float32"

    def detect(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.uint16],
        scale: Input,
        *,
        score_min: float,
        nms_iou: float = 0.5,
        detections_max: int = 1500,
    ) -> Detections:
        """Detections of a frame (H, W), in its own pixels; ``detections_max`` bounds those of each view."""
        grey = normalise(pixels, grey_levels(pixels))
        height, width = grey.shape
        factor = scale_factor(height, width, scale)
        large = max(height, width) > TILED_FROM * scale.tile_px
        if scale.typical_side_px and not large:
            factor *= scale.first_look
        ask = partial(
            self._network.detect,
            score_min=score_min,
            nms_iou=nms_iou,
            detections_max=detections_max,
            refinements=scale.refinements,
            box_margin=scale.box_margin,
            mirror=scale.mirror,
        )
        first = self._look(grey, whole_view(height, width, factor), ask)
        closer = 1.0 if large else _closer_factor(first.sides_px[first.objectness > SURE], factor, scale)
        if closer < factor * CLOSER_BY:
            return self._trusted(first)
        # What the closer look shows too large, and no tile can hold whole, comes from the first one.
        limit_px = scale.tile_overlap_px / closer
        parts = [first.take(first.longest_px > limit_px / 2)]
        views = _closer_views(height, width, closer, scale)
        for view in views:
            found = self._look(grey, view, ask)
            parts.append(found.take(view.answers_for(found.boxes) & (found.longest_px <= limit_px)))
        if len(views) > MANY_VIEWS:
            release_free_memory()
        return self._trusted(merge(parts, nms_iou))

    def at_boxes(
        self, pixels: NDArray[np.uint8] | NDArray[np.uint16], boxes: NDArray[np.float64], scale: Input
    ) -> Detections:
        """What it says at boxes (N, 4), x0 y0 x1 y1 in pixels of the frame (H, W), in their order."""
        factor = scale_factor(pixels.shape[0], pixels.shape[1], scale)
        if scale.typical_side_px and len(boxes):
            factor = _closer_factor(_sides_px(boxes), factor * scale.first_look, scale)
        grey = normalise(pixels, grey_levels(pixels))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            found = self._network.at_boxes(
                at_scale(grey, factor), torch.from_numpy(boxes * factor).float().reshape(-1, 4)
            )
        return self._trusted(_detections(grey, np.asarray(boxes, np.float64).reshape(-1, 4), found))

    def glance(self, grey: NDArray[np.float32]) -> Glances:
        """What tells a frame unlike the training, of its grey values (H, W) in [0, 1]."""
        return glance(self._network, grey)

    def _look(
        self, grey: NDArray[np.float32], view: View, ask: Callable[[Tensor], dict[str, Tensor]]
    ) -> Detections:
        image = at_scale(view.crop(grey), view.factor)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            found = ask(image)
        boxes = found["boxes"].double().numpy() / view.factor
        for axis, (start, end) in enumerate((view.columns, view.rows)):
            boxes[:, axis::2] = (boxes[:, axis::2] + start).clip(start, end)
        reach_edges(boxes, grey.shape[0], grey.shape[1])
        return _detections(grey, boxes, found)

    def _trusted(self, found: Detections) -> Detections:
        """Where there is a head on evidence, its word takes the place of the one on box features."""
        if self._head is None:
            return found
        return replace(found, expected_confidence=self._head.expected(found.evidence))


def _detections(
    grey: NDArray[np.float32], boxes: NDArray[np.float64], found: dict[str, Tensor]
) -> Detections:
    masks = found["masks"].float()
    return Detections(
        grey=grey,
        boxes=boxes,
        masks=masks,
        objectness=found["scores"].double().numpy(),
        expected_confidence=expected_confidence(found["confidence_logits"].float()).double().numpy(),
        mask_certainty=((masks - 0.5).abs().mean(dim=(1, 2)) * 2).double().numpy(),
        certain=found["certain"].numpy() if "certain" in found else None,
    )


def reach_edges(boxes: NDArray[np.float64], height: int, width: int) -> None:
    """Have boxes (N, 4), x0 y0 x1 y1, that end just inside a frame's edge end at it, in place.

    A network places sides to a share of a box; a mask that stops a pixel short would pass for a whole particle of
    what is left of it, and pull the sizes of a sample down.
    """
    limits = EDGE_GAP[0] + EDGE_GAP[1] * (boxes[:, 2:] - boxes[:, :2])
    for axis, length in enumerate((width, height)):
        near, far = boxes[:, axis], boxes[:, axis + 2]
        near[near <= limits[:, axis]] = 0
        far[length - far <= limits[:, axis]] = length


def _sides_px(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    return sides


def _closer_factor(sides_px: NDArray[np.float64], factor: float, scale: Input) -> float:
    """By how much a second look enlarges a frame of such particles; the first look's factor where there is none.

    Small particles are seen better enlarged; for large ones the first look, reduced, is as good or better.
    """
    if not scale.typical_side_px:
        return factor
    if not len(sides_px):
        return factor / scale.first_look
    typical_px = float(np.quantile(sides_px, scale.typical_quantile))
    return min(max(scale.typical_side_px / typical_px, factor), scale.second_look_max)


def _closer_views(height: int, width: int, factor: float, scale: Input) -> list[View]:
    """The frame as a whole or, where it is then much larger than a tile, in tiles."""
    if max(height, width) * factor <= TILED_FROM * scale.tile_px:
        return [whole_view(height, width, factor)]
    return tile_views(height, width, factor, tile_px=scale.tile_px, overlap_px=scale.tile_overlap_px)


def bfloat16_is_faster() -> bool:
    """Time a convolution in both precisions; bfloat16 is 3 times faster on some CPUs, 11 times slower on others."""
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.rand(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)

    def seconds(enabled: bool) -> float:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            convolution(image)
            best = float("inf")
            for _ in range(3):
                begun = time.perf_counter()
                convolution(image)
                best = min(best, time.perf_counter() - begun)
        return best

    return seconds(True) < 0.7 * seconds(False)
