"""Small labelled images, and the smallest network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from labsem.networks.architecture import Architecture
from labsem.training import novelty
from labsem.training.options import TrainingOptions
from labsem.training.sampling import TrainingImage

UNCERTAIN = frozenset({1, 2, 3, 4})


def labelled_discs(seed: int, side: int = 128) -> TrainingImage:
    """Bright discs on a dark ground; those of the lowest labels are judged uncertain."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    y, x = np.mgrid[:side, :side]
    for label in range(1, 13):
        cy, cx, radius = rng.integers(10, side - 10), rng.integers(10, side - 10), rng.integers(5, 16)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
    grey = np.where(labels > 0, 190, 60) + rng.normal(0, 6, labels.shape)
    return TrainingImage(f"image{seed}", grey.clip(0, 255).astype(np.uint8), labels, UNCERTAIN)


@pytest.fixture(scope="session", autouse=True)
def few_frames() -> Iterator[None]:
    """Novelty is fitted with a few rendered and drawn frames, which take longer to make than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "bare_frames", partial(novelty.bare_frames, 4))
        patch.setattr(novelty, "simulated_frames", partial(novelty.simulated_frames, 1))
        patch.setattr(novelty, "outlier_frames", partial(novelty.outlier_frames, each=1))
        yield


@pytest.fixture(scope="session")
def small() -> Architecture:
    """The smallest network."""
    return Architecture(channels=16, box_features=32)


@pytest.fixture(scope="session")
def images() -> list[TrainingImage]:
    """Eight images of 128 px."""
    return [labelled_discs(seed) for seed in range(8)]


@pytest.fixture(scope="session")
def options(small: Architecture) -> Callable[..., TrainingOptions]:
    """Options of a training of four steps into a folder."""

    def make(folder: Path, **more: object) -> TrainingOptions:
        given = {"steps": 4, "imagenet": False, "crop_px": 64, "architecture": small, "precision": "float32"}
        return TrainingOptions.model_validate({"data": (folder,), "output": folder, **given, **more})

    return make
