"""From the U-Net's two maps to particles: a watershed from seeds (Scherr et al., PLOS ONE 15, e0243219, 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed
from torch.nn import functional

from labsem.networks.manifest import Input, Watershed
from labsem.networks.polarity import ground_shades, is_ground
from labsem.networks.scaling import to_input
from labsem.networks.unet import UNet
from labsem.normalisation import grey_levels, normalise
from labsem.segmentation import HALF_LEVEL, Segmentation

SEED_MIN_PX = 4
"""A seed of fewer pixels is noise."""


@dataclass(frozen=True)
class DistanceMaps:
    """What the U-Net says of a frame: (H, W) grey values, cell and neighbour distance, all in [0, 1]."""

    grey: NDArray[np.float32]
    cell: NDArray[np.float32]
    neighbour: NDArray[np.float32]


class MapPredictor:
    """A U-Net on one frame: normalisation, change of scale, maps in the frame's own pixels."""

    def __init__(self, network: UNet) -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)

    @property
    def precision(self) -> Literal["float32"]:
        """What it computes in."""
        return "float32"

    def predict(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], scale: Input) -> DistanceMaps:
        """Maps of a frame (H, W)."""
        height, width = pixels.shape
        grey = normalise(pixels, grey_levels(pixels))
        image, factor = to_input(grey, scale)
        seen = (max(1, round(height * factor)), max(1, round(width * factor)))
        with torch.inference_mode():
            maps = self._network(image)[..., : seen[0], : seen[1]]
            if factor != 1:
                maps = functional.interpolate(
                    maps, size=(height, width), mode="bilinear", antialias=factor > 1
                )
        cell, neighbour = maps[0].clamp(0, 1).numpy()
        return DistanceMaps(grey, cell, neighbour)


def part_particles(
    cell: NDArray[np.float32], neighbour: NDArray[np.float32], thresholds: Watershed
) -> NDArray[np.int32]:
    """Label image (H, W) of particles, parted where they meet.

    Seeds are where the smoothed cell distance, less the squared neighbour distance, is over ``thresholds.seed``; each
    grows downhill in the cell distance as far as that is over ``thresholds.cell``.
    """
    smooth = ndimage.gaussian_filter(cell, thresholds.smoothing_px) if thresholds.smoothing_px else cell
    seeds, count = ndimage.label(smooth - neighbour**2 > thresholds.seed)
    small = np.bincount(seeds.ravel(), minlength=count + 1) < SEED_MIN_PX
    seeds[small[seeds]] = 0
    labels: NDArray[np.int32]
    labels = watershed(-smooth, seeds, mask=smooth > thresholds.cell).astype(np.int32)  # type: ignore[no-untyped-call]
    labels[(np.bincount(labels.ravel(), minlength=count + 1) < thresholds.area_min_px)[labels]] = 0
    return labels


def parted_segmentation(maps: DistanceMaps, thresholds: Watershed) -> Segmentation:
    """Particles of a frame; objectness is the highest cell distance in each.

    A U-Net has no opinion on certainty or on its masks: ``confidence`` and ``mask_quality`` are 1.
    """
    labels = part_particles(maps.cell, maps.neighbour, thresholds)
    found = Segmentation.from_labels(labels)
    ids = np.unique(labels)
    ids = ids[ids > 0]
    highest = np.zeros(int(labels.max(initial=0)) + 1)
    np.maximum.at(highest, labels.ravel(), maps.cell.ravel())
    heights = highest[ids]
    if thresholds.contrast > -1 and len(ids):
        masks = [level >= HALF_LEVEL for level in found.probabilities]
        ground = is_ground(ground_shades(maps.grey, found.boxes, masks), heights, thresholds.contrast, 0.0)
        if ground.any():
            labels[np.isin(labels, ids[ground])] = 0
            found, heights = Segmentation.from_labels(labels), heights[~ground]
    return replace(found, objectness=heights)
