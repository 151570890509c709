"""The images of a training and its validation, in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.run import route_image
from labsem.normalisation import grey_levels, normalise
from labsem.simulation import SIMULATOR_VERSION, write_dataset
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.sampling import TrainingImage
from labsem.training.splits import SPLIT_NAMES, load_split
from schemas.morphology import Regime

if TYPE_CHECKING:
    from labsem.training.train import TrainingOptions

VALIDATION_EVERY = 5
"""Of images that no committed split lists, one in so many validates."""

SIMULATED_REGIMES: dict[Regime, Literal["low", "high", "both"]] = {
    Regime.LOW: "low",
    Regime.HIGH: "high",
    Regime.JOINT: "both",
}


@dataclass(frozen=True)
class DataSet:
    """One data set in memory: its two parts, and the regime that each image's own scale routes it to."""

    name: str
    training: list[TrainingImage]
    validation: list[TrainingImage]
    regimes: dict[str, Regime]


def load_datasets(options: TrainingOptions) -> list[DataSet]:
    """The data sets of a training, the simulator's last.

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where a folder cannot be read.
    """
    datasets = [load_dataset(folder, options.regime) for folder in options.data]
    if options.leave_out_judged:
        datasets = [
            replace(one, training=[image for image in one.training if image.uncertain is None])
            for one in datasets
        ]
    if options.simulated:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder), options.simulated, options.seed, SIMULATED_REGIMES[options.regime])
            name = f"labsem simulator {SIMULATOR_VERSION}, seed {options.seed}"
            datasets.append(load_dataset(Path(folder), options.regime, name))
    return datasets


def load_dataset(folder: Path, regime: Regime, name: str | None = None) -> DataSet:
    """Training and validation images of a folder that belong to a regime (joint: all)."""
    images = read_dataset(folder)
    regimes = {image.id: route_image(image) for image in images}
    chosen = [image for image in images if regime is Regime.JOINT or regimes[image.id] is regime]
    return DataSet(
        name=name or folder.name,
        training=[to_training_image(image) for image in select_part(chosen, "train")],
        validation=[to_training_image(image) for image in select_part(chosen, "validation")],
        regimes=regimes,
    )


def select_part(images: Sequence[LabelledImage], part: Literal["train", "validation"]) -> list[LabelledImage]:
    """Images of one part: by the committed splits where they list an image, else every fifth is for validation.

    An image of a committed test part is in neither, whatever folder it lies in.
    """
    splits = [load_split(name) for name in SPLIT_NAMES]
    listed = frozenset[str]().union(*(split.ids for split in splits))
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
    return np.rint(normalise(pixels, grey_levels(pixels)) * 255).astype(np.uint8)
