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
from labsem.training.augment import Patch, paste_particles, vary_grey
from labsem.training.options import CROP_PX, Augmentation

SCALE_RANGE = (0.45, 1.9)
"""Range of the magnification of crops, log-uniform: particles of any size are seen at many."""

AIMED_SIDE_PX = (28.0, 180.0)
AIMED_SCALE_RANGE = (0.2, 4.0)
"""Aimed crops bring an image's typical particle to a side in this range, log-uniform, by a scale within these bounds:
inference looks at a frame where its particles are of middling size."""

MOSAIC_SCALE_RANGE = (0.3, 1.0)
"""Mosaics are seen at these scales: crowds of small particles."""

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
    simulated
        Whether the simulator made it.
    """

    id: str
    grey: NDArray[np.uint8]
    labels: NDArray[np.int32]
    uncertain: frozenset[int] | None
    simulated: bool = False

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


@dataclass(frozen=True)
class _Source:
    """An image with what every crop of it needs: grey levels, by label area and certainty, and the median particle's
    side (none: no particle).
    """

    image: TrainingImage
    levels: tuple[float, float]
    area_px: NDArray[np.int64]
    certainty: NDArray[np.int64]
    typical_px: float | None


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
    augmentation
        Shares of crops that are augmented in the ways that cost something.
    weights
        For each data set, by how much more often its images are drawn; ones where none.
    """

    def __init__(
        self,
        datasets: Sequence[Sequence[TrainingImage]],
        seed: int,
        size_px: int = CROP_PX,
        *,
        augmentation: Augmentation | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        factors = [1.0] * len(datasets) if weights is None else list(weights)
        filled = [(images, factor) for images, factor in zip(datasets, factors, strict=True) if images]
        if not filled:
            raise ValueError(
                "no image is left to train on: the data folders' train parts are empty for this regime"
            )
        self._datasets = [[_prepare(image) for image in images] for images, _ in filled]
        shares = np.array(
            [factor * np.sqrt(sum(image.grey.size for image in images)) for images, factor in filled]
        )
        self._shares = shares / shares.sum()
        roots = [np.sqrt([image.grey.size for image in images]) for images, _ in filled]
        self._image_shares = [root / root.sum() for root in roots]
        self._seed = seed
        self._size = size_px
        self._augmentation = augmentation or Augmentation()

    def batch(self, step: int, count: int) -> list[Crop]:
        """The crops of one step."""
        return [self._crop(np.random.default_rng([self._seed, step, place])) for place in range(count)]

    def _crop(self, rng: np.random.Generator) -> Crop:
        if rng.random() < self._augmentation.mosaic:
            half = self._size // 2
            quarters = [_cut(self._draw(rng), rng, half, MOSAIC_SCALE_RANGE) for _ in range(4)]
            return _mosaic([self._finish(quarter, rng, half) for quarter in quarters])
        source = self._draw(rng)
        for _ in range(5):
            patch = _cut(source, rng, self._size, self._scale_range(source, rng))
            if patch.labels.any():
                break
        if rng.random() < self._augmentation.copy_paste:
            donor = self._draw(rng)
            patch = paste_particles(patch, _cut(donor, rng, self._size, self._scale_range(donor, rng)), rng)
        return self._finish(patch, rng, self._size)

    def _scale_range(self, source: _Source, rng: np.random.Generator) -> tuple[float, float]:
        if source.typical_px is None or rng.random() >= self._augmentation.aimed:
            return SCALE_RANGE
        low, high = (side / source.typical_px for side in AIMED_SIDE_PX)
        # A crop that is much wider than its image is mostly padding.
        least = max(AIMED_SCALE_RANGE[0], 0.8 * self._size / max(source.image.grey.shape))
        return float(np.clip(low, least, AIMED_SCALE_RANGE[1])), float(
            np.clip(high, least, AIMED_SCALE_RANGE[1])
        )

    def _draw(self, rng: np.random.Generator) -> _Source:
        which = rng.choice(len(self._datasets), p=self._shares)
        images = self._datasets[which]
        return images[rng.choice(len(images), p=self._image_shares[which])]

    def _finish(self, patch: Patch, rng: np.random.Generator, size: int) -> Crop:
        grey = np.zeros((size, size), np.float32)
        labels = np.zeros((size, size), np.int32)
        height, width = patch.labels.shape
        grey[:height, :width] = vary_grey(patch.grey, rng, self._augmentation)
        labels[:height, :width] = patch.labels
        ids, boxes = _boxes(labels, patch.whole_px)
        return Crop(grey, labels, ids, boxes, patch.certainty[ids])


def _prepare(image: TrainingImage) -> _Source:
    area = np.bincount(image.labels.ravel())
    certainty = np.full(len(area), -1 if image.uncertain is None else 1, np.int64)
    if image.uncertain:
        certainty[[label for label in image.uncertain if label < len(area)]] = 0
    sides = [
        np.sqrt((rows.stop - rows.start) * (columns.stop - columns.start))
        for rows, columns in filter(None, ndimage.find_objects(image.labels))
    ]
    typical = float(np.median(sides)) if sides else None
    return _Source(image, grey_levels(image.grey), area, certainty, typical)


def _cut(source: _Source, rng: np.random.Generator, size: int, scale_range: tuple[float, float]) -> Patch:
    scale = float(np.exp(rng.uniform(*np.log(scale_range))))
    side = max(32, round(size / scale))
    height, width = source.image.grey.shape
    y0 = int(rng.integers(0, height - side + 1)) if height > side else (height - side) // 2
    x0 = int(rng.integers(0, width - side + 1)) if width > side else (width - side) // 2
    rows, columns = slice(max(y0, 0), min(y0 + side, height)), slice(max(x0, 0), min(x0 + side, width))
    grey_part, label_part = source.image.grey[rows, columns], source.image.labels[rows, columns]
    factor = size / side
    shape = (max(1, round(grey_part.shape[0] * factor)), max(1, round(grey_part.shape[1] * factor)))
    shape = (min(shape[0], size), min(shape[1], size))
    grey = normalise(grey_part, source.levels)
    if factor < 1:
        grey = ndimage.gaussian_filter(grey, 0.5 * (1 / factor - 1))
    grey = resize(grey, shape, order=1, anti_aliasing=False).astype(np.float32)  # type: ignore[no-untyped-call]
    grey, labels = _turn(grey, _resize_labels(label_part, shape), rng)
    return Patch(grey, labels, source.certainty, (source.area_px * factor**2).astype(np.float64))


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
    rows = ((np.arange(shape[0]) + 0.5) * labels.shape[0] / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * labels.shape[1] / shape[1]).astype(int)
    rows, columns = np.minimum(rows, labels.shape[0] - 1), np.minimum(columns, labels.shape[1] - 1)
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


def _boxes(
    labels: NDArray[np.int32], whole_px: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Particles of the crop that are learned: large enough, and enough of them inside."""
    ids: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    areas = np.bincount(labels.ravel())
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None or areas[label] < max(MIN_AREA_PX, MIN_VISIBLE * whole_px[label]):
            continue
        rows, columns = where
        if rows.stop - rows.start < 3 or columns.stop - columns.start < 3:
            continue
        ids.append(label)
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(ids, np.int64), np.array(boxes, np.float32).reshape(-1, 4)
