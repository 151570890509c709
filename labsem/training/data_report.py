"""What a training is about to learn from: particles, uncertain ones, sizes, by data set and part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labsem.evaluation.detection import equivalent_diameter_px
from labsem.training.material import DataSet
from labsem.training.sampling import TrainingImage


class PartReport(BaseModel):
    """Images of one part of a data set.

    Attributes
    ----------
    judged_images, judged_particles, uncertain_particles
        Images whose certainty was judged, their particles, and the uncertain ones among these.
    diameter_px
        Least, median and largest equivalent circular diameter; None without particles.
    diameter_um
        The same of the images whose scale is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    particles: int
    judged_images: int
    judged_particles: int
    uncertain_particles: int
    diameter_px: tuple[float, float, float] | None
    diameter_um: tuple[float, float, float] | None


class DataSetReport(BaseModel):
    """One data set of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str | None
    weight: float
    training: PartReport
    validation: PartReport


def report_dataset(dataset: DataSet) -> DataSetReport:
    """Count what a data set gives."""
    return DataSetReport(
        name=dataset.name,
        licence=dataset.licence,
        weight=dataset.weight,
        training=_part(dataset.training, dataset.pixel_sizes_nm),
        validation=_part(dataset.validation, dataset.pixel_sizes_nm),
    )


def _part(images: Sequence[TrainingImage], pixel_sizes_nm: dict[str, float]) -> PartReport:
    diameters = [_diameters_px(image) for image in images]
    judged = [image for image in images if image.uncertain is not None]
    scaled = [
        diameter * pixel_sizes_nm[image.id] / 1000
        for image, diameter in zip(images, diameters, strict=True)
        if image.id in pixel_sizes_nm
    ]
    return PartReport(
        images=len(images),
        particles=sum(len(each) for each in diameters),
        judged_images=len(judged),
        judged_particles=sum(image.particles for image in judged),
        uncertain_particles=sum(len(image.uncertain or ()) for image in judged),
        diameter_px=_range(diameters),
        diameter_um=_range(scaled),
    )


def _diameters_px(image: TrainingImage) -> NDArray[np.float64]:
    areas = np.bincount(image.labels.ravel())[1:]
    return equivalent_diameter_px(areas[areas > 0])


def _range(diameters: Sequence[NDArray[np.float64]]) -> tuple[float, float, float] | None:
    everything = np.concatenate([np.zeros(0), *diameters])
    if not len(everything):
        return None
    low, middle, high = (float(f"{value:.4g}") for value in np.quantile(everything, (0, 0.5, 1)))
    return low, middle, high
