"""Crops for training: which image, which part of it, at which scale, and how it is augmented.

Each crop is drawn by a generator of its own, seeded by (seed, step, place in the batch), so that a training that
resumes sees the crops it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from labsem.normalisation import grey_levels, normalise

CROP_PX = 448
SCALE_RANGE = (0.45, 1.9)
"""Range of the magnification of crops, log-uniform: particles of any size are seen at many."""

MOSAIC_SHARE = 0.15
MOSAIC_SCALE_RANGE = (0.3, 1.0)
"""This share of crops is put together from four of half the size, seen at these scales: crowds of small particles."""

MIN_AREA_PX = 16
MIN_VISIBLE = 0.1
"""A particle is learned where at least this share of its area, and this many pixels, lie in the crop."""


@dataclass(frozen=True)
class TrainingImage:
    """A labelled image in memory.

    Attributes
    ----------
    grey
        (H, W) uint8.
    labels
        (H, W) integer label image.
    uncertain
        Labels judged uncertain; None where the image was not judged.
    """

    id: str
    grey: NDArray[np.uint8]
    labels: NDArray[np.int32]
    uncertain: frozenset[int] | None

    @property
    def particles(self) -> int:
        """How many particles are labelled."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))


@dataclass(frozen=True)
class Crop:
    """An augmented crop: grey (S, S) float32 in [0, 1]; labels (S, S); and (M,) ids, boxes (M, 4), certainty."""

    grey: NDArray[np.float32]
    labels: NDArray[np.int32]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    certainty: NDArray[np.int64]


class CropSampler:
    """Draws crops from several data sets, each weighted by the square root of its pixels.

    Parameters
    ----------
    datasets
        Images by data set.
    seed
        Of the whole training.
    size_px
        Side of a crop.
    """

    def __init__(
        self, datasets: Sequence[Sequence[TrainingImage]], seed: int, size_px: int = CROP_PX
    ) -> None:
        self._datasets = [list(images) for images in datasets if images]
        if not self._datasets:
            raise ValueError(
                "no image is left to train on: the data folders' train parts are empty for this regime"
            )
        weights = np.sqrt([sum(image.grey.size for image in images) for images in self._datasets])
        self._weights = weights / weights.sum()
        self._seed = seed
        self._size = size_px

    def batch(self, step: int, count: int) -> list[Crop]:
        """The crops of one step."""
        return [self._crop(np.random.default_rng([self._seed, step, place])) for place in range(count)]

    def _crop(self, rng: np.random.Generator) -> Crop:
        if rng.random() < MOSAIC_SHARE:
            half = self._size // 2
            return _mosaic([_cut(self._draw(rng), rng, half, MOSAIC_SCALE_RANGE) for _ in range(4)])
        image = self._draw(rng)
        for _ in range(5):
            crop = _cut(image, rng, self._size, SCALE_RANGE)
            if len(crop.ids):
                break
        return crop

    def _draw(self, rng: np.random.Generator) -> TrainingImage:
        images = self._datasets[rng.choice(len(self._datasets), p=self._weights)]
        areas = np.sqrt([image.grey.size for image in images])
        return images[rng.choice(len(images), p=areas / areas.sum())]


def _cut(image: TrainingImage, rng: np.random.Generator, size: int, scale_range: tuple[float, float]) -> Crop:
    scale = float(np.exp(rng.uniform(*np.log(scale_range))))
    side = max(32, round(size / scale))
    height, width = image.grey.shape
    y0 = int(rng.integers(0, height - side + 1)) if height > side else (height - side) // 2
    x0 = int(rng.integers(0, width - side + 1)) if width > side else (width - side) // 2
    rows, columns = slice(max(y0, 0), min(y0 + side, height)), slice(max(x0, 0), min(x0 + side, width))
    grey_part, label_part = image.grey[rows, columns], image.labels[rows, columns]
    factor = size / side
    shape = (max(1, round(grey_part.shape[0] * factor)), max(1, round(grey_part.shape[1] * factor)))
    shape = (min(shape[0], size), min(shape[1], size))
    grey = normalise(grey_part, grey_levels(image.grey))
    if factor < 1:
        grey = ndimage.gaussian_filter(grey, 0.5 * (1 / factor - 1))
    grey = resize(grey, shape, order=1, anti_aliasing=False).astype(np.float32)  # type: ignore[no-untyped-call]
    labels = _resize_labels(label_part, shape)
    grey, labels = _turn(grey, labels, rng)
    grey = _appearance(grey, rng)
    padded = np.zeros((size, size), np.float32)
    padded[: grey.shape[0], : grey.shape[1]] = grey
    padded_labels = np.zeros((size, size), np.int32)
    padded_labels[: labels.shape[0], : labels.shape[1]] = labels
    ids, boxes = _boxes(padded_labels, image.labels, factor)
    return Crop(padded, padded_labels, ids, boxes, _certainty(ids, image.uncertain))


def _mosaic(quarters: Sequence[Crop]) -> Crop:
    """Four crops of equal size as one: upper left, upper right, lower left, lower right."""
    side = quarters[0].grey.shape[0]
    grey = np.zeros((2 * side, 2 * side), np.float32)
    labels = np.zeros((2 * side, 2 * side), np.int32)
    ids: list[NDArray[np.int64]] = []
    boxes: list[NDArray[np.float32]] = []
    taken = 0
    for place, quarter in enumerate(quarters):
        y, x = side * (place // 2), side * (place % 2)
        grey[y : y + side, x : x + side] = quarter.grey
        labels[y : y + side, x : x + side] = np.where(quarter.labels > 0, quarter.labels + taken, 0)
        ids.append(quarter.ids + taken)
        boxes.append(quarter.boxes + np.array([x, y, x, y], np.float32))
        taken = int(labels.max(initial=taken))
    return Crop(
        grey,
        labels,
        np.concatenate(ids),
        np.concatenate(boxes),
        np.concatenate([q.certainty for q in quarters]),
    )


def _resize_labels(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    rows = np.minimum((np.arange(shape[0]) + 0.5) * labels.shape[0] / shape[0], labels.shape[0] - 1).astype(
        int
    )
    columns = np.minimum(
        (np.arange(shape[1]) + 0.5) * labels.shape[1] / shape[1], labels.shape[1] - 1
    ).astype(int)
    resized: NDArray[np.int32] = labels[rows[:, None], columns[None, :]]
    return resized


def _turn(
    grey: NDArray[np.float32], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    quarter = int(rng.integers(4))
    grey, labels = np.rot90(grey, quarter), np.rot90(labels, quarter)
    if rng.random() < 0.5:
        grey, labels = grey[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(grey), np.ascontiguousarray(labels)


def _appearance(grey: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Contrast, brightness, gamma, defocus, noise and a slow shading; never inverted (a tape hole is no particle)."""
    gamma = float(np.exp(rng.normal(0, 0.25)))
    grey = np.clip(grey, 0, 1) ** gamma
    grey = (grey - 0.5) * float(np.exp(rng.normal(0, 0.2))) + 0.5 + float(rng.normal(0, 0.06))
    if rng.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, float(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.25:
        slope = rng.normal(0, 0.12, 2)
        y, x = np.linspace(-1, 1, grey.shape[0])[:, None], np.linspace(-1, 1, grey.shape[1])[None, :]
        grey = grey + (slope[0] * y + slope[1] * x)
    if rng.random() < 0.5:
        grey = grey + rng.normal(0, float(rng.uniform(0.01, 0.1)), grey.shape).astype(np.float32)
    return np.clip(grey, 0, 1).astype(np.float32)


def _boxes(
    labels: NDArray[np.int32], source: NDArray[np.int32], factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Particles of the crop that are learned: large enough, and enough of them inside."""
    ids: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    areas = np.bincount(labels.ravel())
    whole = np.bincount(source.ravel()) * factor**2
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None or areas[label] < max(MIN_AREA_PX, MIN_VISIBLE * whole[label]):
            continue
        rows, columns = where
        if rows.stop - rows.start < 3 or columns.stop - columns.start < 3:
            continue
        ids.append(label)
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(ids, np.int64), np.array(boxes, np.float32).reshape(-1, 4)


def _certainty(ids: NDArray[np.int64], uncertain: frozenset[int] | None) -> NDArray[np.int64]:
    if uncertain is None:
        return np.full(len(ids), -1, np.int64)
    return np.array([0 if int(label) in uncertain else 1 for label in ids], np.int64)
