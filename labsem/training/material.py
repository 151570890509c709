"""The images of a training or a validation, in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.run import route_image
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.sampling import TrainingImage
from labsem.training.splits import SPLIT_NAMES, load_split
from schemas.morphology import Regime

if TYPE_CHECKING:
    from labsem.training.train import TrainingOptions


VALIDATION_EVERY = 5
"""Of images that no committed split lists, one in so many validates."""


def training_images(options: TrainingOptions) -> list[list[TrainingImage]]:
    """Images to learn from, one list for each data set, the simulator's last.

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where a folder cannot be read.
    """
    datasets = [load_images(folder, "train", options.regime) for folder in options.data]
    if options.simulated:
        from labsem.simulation import write_dataset

        with tempfile.TemporaryDirectory() as folder:
            write_dataset(
                Path(folder),
                options.simulated,
                seed=options.seed,
                regime="both" if options.regime is Regime.JOINT else options.regime.value,
            )
            datasets.append(load_images(Path(folder), "train", options.regime))
    return datasets


def load_images(folder: Path, part: Literal["train", "validation"], regime: Regime) -> list[TrainingImage]:
    """The labelled images of one part of a folder that belong to a regime (joint: all)."""
    return [
        to_training_image(image)
        for image in select_part(read_dataset(folder), part)
        if regime is Regime.JOINT or route_image(image) is regime
    ]


def select_part(images: Sequence[LabelledImage], part: Literal["train", "validation"]) -> list[LabelledImage]:
    """Images of one part: by the committed splits where they list an image, else every fifth is for validation.

    An image of a committed test part is in neither, whatever folder it lies in.
    """
    splits = [load_split(name) for name in SPLIT_NAMES]
    listed = frozenset().union(*(split.ids for split in splits))
    wanted = frozenset(image_id for split in splits for image_id in split.part(part))
    others = [image.id for image in images if image.id not in listed]
    validation = frozenset(others[VALIDATION_EVERY - 2 :: VALIDATION_EVERY])
    wanted |= validation if part == "validation" else frozenset(others) - validation
    return [image for image in images if image.id in wanted]


def to_training_image(image: LabelledImage) -> TrainingImage:
    """Load pixels and labels; 16-bit pixels are stretched to 8 bit between the frame's percentiles."""
    uncertain = image.uncertain_ids()
    return TrainingImage(
        id=image.id,
        grey=_to_8_bit(image.pixels()),
        labels=image.labels(),
        uncertain=None if uncertain is None else frozenset(int(label) for label in uncertain),
    )


def _to_8_bit(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    from labsem.normalisation import grey_levels, normalise

    return np.rint(normalise(pixels, grey_levels(pixels)) * 255).astype(np.uint8)
