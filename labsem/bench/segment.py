"""Seconds for one frame, from decoded pixels to the combined label image: what ships, and the paper's network.

The reference is torchvision's Mask R-CNN on a ResNet-50 FPN (Rettenberger et al. 2024 use it) with random weights: its
work does not depend on them once it is told how many detections to keep. It is given as many as ours found.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor
from torchvision.models.detection import maskrcnn_resnet50_fpn

from labsem.bench.frames import frame_of
from labsem.bench.machine import available_cores, cpu_name, versions
from labsem.evaluation import aji_plus
from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT
from labsem.networks.detector import Precision
from labsem.networks.segmenter import Segmenter
from schemas.morphology import ModelReference, Regime

REGIME = Regime.LOW
"""The frames have an HFW of 480 um."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class At(BaseModel):
    """Medians on one frame.

    Attributes
    ----------
    particles, median_ecd_px, detections
        Seen in the simulated frame, and their size; found by ours, and kept by the reference.
    ratio
        ``reference_seconds / seconds``.
    aji_plus
        Of ours against the simulated truth.
    """

    particles: int
    median_ecd_px: float
    detections: int
    aji_plus: float
    seconds: float
    reference_seconds: float | None = None
    reference_seconds_without_pasting: float | None = None
    ratio: float | None = None
    ratio_without_pasting: float | None = None


class SegmentBench(BaseModel):
    """What was measured, and on what."""

    at: dict[str, At]
    width_px: int
    height_px: int
    repeats: int
    threads: int
    precision: str
    allocator: dict[str, str]
    load_seconds: float
    cpu: str
    versions: dict[str, str]
    model: ModelReference


def bench_segment(
    counts: tuple[int, ...] = (10, 100, 400),
    *,
    repeats: int = 5,
    reference: bool = True,
    folder: Path | None = None,
    precision: Precision = "auto",
    threads: int | None = None,
    width_px: int = 1920,
    height_px: int = 1200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SegmentBench:
    """Time frames with about so many particles, both sides in turn.

    To be called in a process that was started under
    :data:`labsem.networks.allocator.ALLOCATOR_ENVIRONMENT`.

    Parameters
    ----------
    folder
        Of weights; None for the shipped ones.
    threads
        Of both sides; None for all cores.
    progress
        Called with frames timed and frames in all.
    """
    begun = time.perf_counter()
    segmenter = Segmenter.load(folder, precision=precision, threads=threads or available_cores())
    load_seconds = time.perf_counter() - begun
    at: dict[str, At] = {}
    for number, count in enumerate(counts):
        frame = frame_of(count, seed, width_px, height_px)
        found = segmenter.segment(frame.pixels, REGIME)
        measured = At(
            particles=len(frame.particles),
            median_ecd_px=round(statistics.median(each.ecd_px for each in frame.particles), 1),
            detections=len(found),
            aji_plus=aji_plus(frame.labels, found.label_image),
            seconds=0,
        )
        other = ReferenceNetwork(len(found), min(frame.pixels.shape), max(frame.pixels.shape))
        ours: list[float] = []
        theirs: list[tuple[float, float]] = []
        if reference:
            other.label_image(frame.pixels)
        for repeat in range(repeats):
            begun = time.perf_counter()
            _ = segmenter.segment(frame.pixels, REGIME).label_image
            ours.append(time.perf_counter() - begun)
            if reference:
                theirs.append(other.seconds(frame.pixels))
            if progress is not None:
                progress(number * repeats + repeat + 1, len(counts) * repeats)
        at[str(count)] = _with_times(measured, ours, theirs)
    return SegmentBench(
        at=at,
        width_px=width_px,
        height_px=height_px,
        repeats=repeats,
        threads=torch.get_num_threads(),
        precision=segmenter.precision,
        allocator={name: os.environ.get(name, "") for name in ALLOCATOR_ENVIRONMENT},
        load_seconds=round(load_seconds, 3),
        cpu=cpu_name(),
        versions=versions(),
        model=segmenter.model(REGIME),
    )


def _with_times(measured: At, ours: list[float], theirs: list[tuple[float, float]]) -> At:
    seconds = statistics.median(ours)
    update: dict[str, float] = {"seconds": round(seconds, 4)}
    if theirs:
        whole = statistics.median(each[0] for each in theirs)
        bare = statistics.median(each[1] for each in theirs)
        update |= {
            "reference_seconds": round(whole, 4),
            "reference_seconds_without_pasting": round(bare, 4),
            "ratio": round(whole / seconds, 2),
            "ratio_without_pasting": round(bare / seconds, 2),
        }
    return measured.model_copy(update=update)


class ReferenceNetwork:
    """The paper's network with seeded random weights, and its masks flattened to a label image.

    Parameters
    ----------
    detections
        How many it keeps.
    short_side_px, long_side_px
        Of the frame, which is not resized.
    """

    def __init__(self, detections: int, short_side_px: int, long_side_px: int) -> None:
        torch.manual_seed(0)
        self._network: Any = maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=2,
            min_size=short_side_px,
            max_size=long_side_px,
            box_score_thresh=0,
            box_detections_per_img=max(detections, 1),
        ).eval()

    def label_image(self, pixels: Pixels) -> NDArray[np.int32]:
        """(H, W) label image of (H, W) pixels."""
        return self._combined(*self._detections(pixels))

    def seconds(self, pixels: Pixels) -> tuple[float, float]:
        """Seconds to the label image, and to the detections whose masks are still 28 x 28."""
        begun = time.perf_counter()
        found = self._detections(pixels)
        bare = time.perf_counter() - begun
        self._combined(*found)
        return time.perf_counter() - begun, bare

    @torch.inference_mode()
    def _detections(
        self, pixels: Pixels
    ) -> tuple[list[dict[str, Tensor]], list[tuple[int, int]], tuple[int, int]]:
        """What torchvision's ``GeneralizedRCNN.forward`` does before its ``postprocess`` pastes the masks."""
        network = self._network
        grey = torch.from_numpy(pixels.astype(np.float32)).div_(np.iinfo(pixels.dtype).max)
        image = grey[None].expand(3, -1, -1)
        images, _ = network.transform([image])
        features = network.backbone(images.tensors)
        proposals, _ = network.rpn(images, features)
        found, _ = network.roi_heads(features, proposals, images.image_sizes)
        return found, images.image_sizes, (pixels.shape[0], pixels.shape[1])

    @torch.inference_mode()
    def _combined(
        self, found: list[dict[str, Tensor]], sizes: list[tuple[int, int]], original: tuple[int, int]
    ) -> NDArray[np.int32]:
        pasted = self._network.transform.postprocess(found, sizes, [original])[0]["masks"]
        labels = torch.zeros(original, dtype=torch.int32)
        for index in range(len(pasted) - 1, -1, -1):
            labels[pasted[index, 0] >= 0.5] = index + 1
        return labels.numpy()
