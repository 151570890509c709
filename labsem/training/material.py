"""The images of a training and its validation, in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.run import route_image
from labsem.normalisation import grey_levels, normalise
from labsem.simulation import SIMULATOR_VERSION, write_dataset
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.labels import image_size_px
from labsem.training.sampling import TrainingImage
from labsem.training.splits import SPLIT_NAMES, load_split
from schemas.morphology import Regime

if TYPE_CHECKING:
    from labsem.training.options import TrainingOptions

VALIDATION_EVERY = 5
"""Of images that no committed split lists, one in so many validates."""

SIMULATED_REGIMES: dict[Regime, Literal["low", "high", "both"]] = {
    Regime.LOW: "low",
    Regime.HIGH: "high",
    Regime.JOINT: "both",
}

PUBLISHED_LICENCES = {
    "emps": "MIT (EMPS: Yildirim and Cole, J. Chem. Inf. Model. 2021)",
    "powders": "CC BY 4.0 (DualSight powders: Price et al., Sci. Rep. 15, 27521, 2025)",
    "ampis": "MIT (AMPIS: Cohn et al., JOM 2021)",
}
AMPIS_IDS = frozenset(
    f"{tile}_0-000"
    for tile in ("Sc1Tile_001-001-000", "Sc1Tile_001-002-000", "Sc2Tile_001-001-000", "Sc3Tile_008-007-000")
)
SIMULATED_LICENCE = "Apache-2.0 (labsem's own simulator)"


@dataclass(frozen=True)
class JudgedImages:
    """Real images whose certainty was judged, by part."""

    training: list[TrainingImage]
    validation: list[TrainingImage]


@dataclass(frozen=True)
class DataSet:
    """One data set in memory.

    Attributes
    ----------
    training, validation
        Its two parts.
    regimes
        The regime that each image's own scale routes it to.
    licence
        Of its images, where it is known.
    weight
        By how much more often its images are drawn.
    pixel_sizes_nm
        Of the images whose scale is known.
    judged_elsewhere
        Images of other regimes whose certainty was judged, of the part to learn from and of the part to validate on:
        experts judge few images, and certainty is learned from those of all regimes where one has too few.
    """

    name: str
    training: list[TrainingImage]
    validation: list[TrainingImage]
    regimes: dict[str, Regime]
    licence: str | None = None
    weight: float = 1.0
    pixel_sizes_nm: dict[str, float] = field(default_factory=dict)
    judged_elsewhere: JudgedImages = field(default_factory=lambda: JudgedImages([], []))

    def of_regime(self, regime: Regime) -> list[TrainingImage]:
        """Validation images of a regime; the joint one serves any frame without a scale, so it gets all."""
        return [
            image for image in self.validation if regime is Regime.JOINT or self.regimes[image.id] is regime
        ]


def validation_images(datasets: Sequence[DataSet], regime: Regime) -> list[TrainingImage]:
    """What thresholds, calibrations and choices of a regime are found on.

    At most half as many simulated images as real ones, where there are real ones: they are no more than a supplement.
    """
    images = [image for one in datasets for image in one.of_regime(regime)]
    real = [image for image in images if not image.simulated]
    simulated = [image for image in images if image.simulated]
    return real + thin(simulated, len(real) // 2 if real else len(simulated))


def thin(images: Sequence[TrainingImage], most: int) -> list[TrainingImage]:
    """At most so many of the images, evenly spread over them."""
    count = min(most, len(images))
    return [images[place * len(images) // count] for place in range(count)]


def load_datasets(options: TrainingOptions) -> list[DataSet]:
    """The data sets of a training, the simulator's last.

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where a folder cannot be read.
    ValueError
        Where a weight is given for a folder that is not among them.
    """
    datasets = [load_dataset(folder, options.regime) for folder in options.data]
    unknown = sorted(options.data_weights.keys() - {one.name for one in datasets})
    if unknown:
        raise ValueError(
            f"no data folder is called {', '.join(unknown)}: weights are for "
            f"{', '.join(one.name for one in datasets)}"
        )
    datasets = [replace(one, weight=options.data_weights.get(one.name, 1.0)) for one in datasets]
    if options.leave_out_judged:
        datasets = [
            replace(
                one,
                training=[image for image in one.training if image.uncertain is None],
                judged_elsewhere=replace(one.judged_elsewhere, training=[]),
            )
            for one in datasets
        ]
    if options.simulated:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(
                Path(folder), options.simulated, options.simulated_seed, SIMULATED_REGIMES[options.regime]
            )
            name = f"labsem simulator {SIMULATOR_VERSION}, seed {options.simulated_seed}"
            datasets.append(load_dataset(Path(folder), options.regime, name))
    return datasets


def load_dataset(folder: Path, regime: Regime, name: str | None = None) -> DataSet:
    """Training and validation images of a folder that belong to a regime (joint: all)."""
    images = read_dataset(folder)
    regimes = {image.id: route_image(image) for image in images}
    chosen = [image for image in images if regime is Regime.JOINT or regimes[image.id] is regime]
    judged = [image for image in images if image.judged and regime not in (Regime.JOINT, regimes[image.id])]
    return DataSet(
        name=name or folder.name,
        licence=_licence(folder.name, images),
        pixel_sizes_nm={image.id: size for image in chosen if (size := _pixel_size_nm(image)) is not None},
        training=[to_training_image(image) for image in select_part(chosen, "train")],
        validation=[to_training_image(image) for image in select_part(chosen, "validation")],
        regimes=regimes,
        judged_elsewhere=JudgedImages(
            training=[to_training_image(image) for image in select_part(judged, "train")],
            validation=[to_training_image(image) for image in select_part(judged, "validation")],
        ),
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


def is_simulated(image: LabelledImage) -> bool:
    """Whether the simulator made it: its metadata name the simulator's version."""
    return bool(image.extra.get("simulator_version"))


def _licence(name: str, images: Sequence[LabelledImage]) -> str | None:
    """Of the simulator's frames, and of the published data sets, which are known by their images' ids."""
    if all(is_simulated(image) for image in images):
        return SIMULATED_LICENCE
    ids = frozenset(image.id for image in images)
    if name in SPLIT_NAMES and ids <= load_split(name).ids:
        return PUBLISHED_LICENCES[name]
    return PUBLISHED_LICENCES["ampis"] if ids <= AMPIS_IDS else None


def _pixel_size_nm(image: LabelledImage) -> float | None:
    if image.pixel_size_nm is not None or image.hfw_um is None:
        return image.pixel_size_nm
    return image.hfw_um * 1000 / image_size_px(image.image_path)[1]


def to_training_image(image: LabelledImage) -> TrainingImage:
    """Load pixels and labels; 16-bit pixels are stretched to 8 bit between the frame's percentiles."""
    uncertain = image.uncertain_ids()
    return TrainingImage(
        id=image.id,
        grey=_to_8_bit(image.pixels()),
        labels=image.labels(),
        uncertain=None if uncertain is None else frozenset(int(label) for label in uncertain),
        simulated=is_simulated(image),
    )


def _to_8_bit(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return np.rint(normalise(pixels, grey_levels(pixels)) * 255).astype(np.uint8)
