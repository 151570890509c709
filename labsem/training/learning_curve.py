"""``labsem train --learning-curve``: what more labels are worth, from trainings on shares of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labsem.evaluation.bootstrap import mean_interval, paired_bootstrap
from labsem.frames import write_atomically
from labsem.networks.manifest import load_weights
from labsem.networks.registry import build_network
from labsem.networks.unet import UNetArchitecture
from labsem.training import figures
from labsem.training.material import DataSet
from labsem.training.options import TrainingOptions
from labsem.training.pipeline import Notify, require_validation, train_on
from labsem.training.sampling import TrainingImage
from labsem.training.train import CHECKPOINT
from labsem.training.validation import validate

SHARES = (0.25, 0.5, 0.75, 1.0)
FOLDER = "learning-curve"
CURVE = "curve.json"
PICTURE = "curve.png"
WORTH_WHILE = 0.005
"""A gain of AJI+ under this is not worth the labelling."""


class CurvePoint(BaseModel):
    """A training on a share of the images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float
    images: int
    particles: int
    aji_plus: float
    aji_plus_interval_95: tuple[float, float]


class LearningCurve(BaseModel):
    """What trainings on shares of the images reached on the same validation images.

    Attributes
    ----------
    gain, gain_interval_95
        AJI+ with all images less that with three quarters, image by image.
    advice
        Whether more labels will help, in a sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: tuple[CurvePoint, ...]
    validation_images: int
    gain: float
    gain_interval_95: tuple[float, float]
    advice: str


def measure_learning_curve(
    options: TrainingOptions, datasets: Sequence[DataSet], notify: Notify
) -> LearningCurve:
    """Train on 25, 50, 75 and 100 % of the images, each for as long, and compare on all validation images.

    The shares are nested, by data set. The last training is the ordinary one, in ``options.output``; those before it
    lie in ``learning-curve/`` there, with the curve itself. Thresholds are those of no search, the same for all.

    Raises
    ------
    ValueError
        Where the architecture cannot be compared so, or there are under two validation images.
    """
    if isinstance(options.architecture, UNetArchitecture):
        raise ValueError("a learning curve is measured for networks that detect particles, not for a U-Net")
    require_validation(datasets, options.regime)
    validation = [image for dataset in datasets for image in dataset.validation]
    if len(validation) < 2:
        raise ValueError("a learning curve needs two validation images at least; add labelled images")
    points: list[CurvePoint] = []
    reached: list[NDArray[np.float64]] = []
    for share in SHARES:
        part = [
            replace(dataset, training=_nested(dataset.training, share, options.seed)) for dataset in datasets
        ]
        folder = options.output if share == 1 else options.output / FOLDER / f"{share:.0%}".rstrip("%")
        weights = train_on(
            options.model_copy(
                update={"output": folder, "resume": options.resume and (folder / CHECKPOINT).is_file()}
            ),
            part,
            _labelled(notify, share),
        )
        values = _measure(weights, options, validation)
        reached.append(values)
        points.append(
            CurvePoint(
                share=share,
                images=sum(len(dataset.training) for dataset in part),
                particles=sum(image.particles for dataset in part for image in dataset.training),
                aji_plus=float(values.mean()),
                aji_plus_interval_95=mean_interval(values) or (float(values.min()), float(values.max())),
            )
        )
    difference = paired_bootstrap(reached[-1], reached[-2])
    curve = LearningCurve(
        points=tuple(points),
        validation_images=len(validation),
        gain=difference.difference,
        gain_interval_95=difference.interval_95,
        advice=advise(difference.difference, difference.interval_95),
    )
    _write(options.output / FOLDER, curve)
    return curve


def advise(gain: float, interval: tuple[float, float]) -> str:
    """Whether more labels will help, from the gain of the last quarter of the images."""
    low, high = interval
    told = f"from 75 to 100 % of the images AJI+ changed by {gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    if low > 0:
        return f"More labels will probably help: {told}."
    if high < WORTH_WHILE:
        return f"More labels of this kind will hardly help: {told}; label other kinds of frames, or train longer."
    return f"These images cannot tell whether more labels will help: {told}; more validation images would."


def _labelled(notify: Notify, share: float) -> Notify:
    return lambda done, what: notify(done, f"{share:.0%} of the images: {what}")


def _nested(images: list[TrainingImage], share: float, seed: int) -> list[TrainingImage]:
    order = np.random.default_rng(seed).permutation(len(images))
    count = max(1, round(share * len(images))) if images else 0
    return [images[place] for place in sorted(order[:count])]


def _measure(
    weights: Path, options: TrainingOptions, validation: Sequence[TrainingImage]
) -> NDArray[np.float64]:
    network = build_network(options.architecture)
    network.load_state_dict(load_weights(weights))
    return validate(network, validation).aji_plus


def _write(folder: Path, curve: LearningCurve) -> None:
    write_atomically(folder / CURVE, (curve.model_dump_json(indent=2) + "\n").encode())
    picture = figures.learning_curve(
        [point.share for point in curve.points],
        [point.aji_plus for point in curve.points],
        [point.aji_plus_interval_95 for point in curve.points],
    )
    write_atomically(folder / PICTURE, picture)
