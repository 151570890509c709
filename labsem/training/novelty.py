"""What ``out_of_distribution`` is told by, fitted to the images of a training: :func:`fit_novelty`.

The limit comes from images of the domain alone: those of the validation parts, and those of the training, each by
components that were fitted without it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from labsem.networks.detector import Detector
from labsem.networks.manifest import OutOfDistribution
from labsem.networks.novelty import Glances, Novelty
from labsem.normalisation import grey_levels, normalise
from labsem.simulation import World, render
from labsem.simulation.random_frames import random_world
from labsem.training.sampling import TrainingImage

COMPONENTS: Final = 32
FOLDS: Final = 5
BARE_FRAMES: Final = 40
BARE_SEED: Final = 800_000_000
MAGNIFICATIONS: Final = (0.4, 2.0)
"""Range by which varied frames are reduced or enlarged."""

QUANTILE: Final = 0.96
"""Share of left-out images of the domain that lie under the limit; whole fits see more, and let more of them pass."""


def fit_novelty(
    detector: Detector, training: Sequence[TrainingImage], validation: Sequence[TrainingImage]
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """Fit components to training images and a limit to left-out ones.

    Every training image counts twice: as it is, and varied as frames of the domain are (of another magnification,
    blurred, noisy, saturated or faint); and simulated frames with next to nothing on them count too, so that neither a
    bad frame nor a bare one is taken for a foreign one.

    Returns
    -------
    The tensors that lie with the weights, and the limit for the manifest.
    """
    return fit_glances(
        look(detector, [image.grey for image in training]),
        look(detector, [vary(image.grey, zlib.crc32(image.id.encode())) for image in training]),
        look(detector, bare_frames()),
        look(detector, [image.grey for image in validation]),
    )


def look(detector: Detector, frames: Iterable[NDArray[np.uint8]]) -> Glances:
    """What a network says at a glance of frames (H, W)."""
    return Glances.join([detector.glance(normalise(grey, grey_levels(grey))) for grey in frames])


def fit_glances(
    plain: Glances, varied: Glances, bare: Glances, validation: Glances, seed: int = 0
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """The same from glances at training images, their varied copies, bare frames and validation images."""
    count = len(plain.particles)
    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    left_out = np.zeros((2, count))
    for number in range(min(FOLDS, count)):
        kept = fold != number
        partial = fit_components(Glances.join([plain.take(kept), varied.take(kept), bare]))
        left_out[:, ~kept] = partial.parts(plain.descriptions[~kept])
    whole = replace(
        fit_components(Glances.join([plain, varied, bare])),
        off=np.array([np.median(left_out[1])]),
        particles=np.array([plain.particles.mean(), plain.particles.std() + 1e-3]),
    )
    found = np.concatenate([whole.of_parts(left_out[0], left_out[1], plain.particles), whole.of(validation)])
    limit = OutOfDistribution(
        limit=float(np.quantile(found, QUANTILE)),
        fitted_on=f"{count} training images left out by fives, {len(validation.particles)} validation images",
    )
    return whole.tensors(), limit


def fit_components(glances: Glances) -> Novelty:
    """Principal components of descriptions; what is typical off them is not known yet, and 1."""
    descriptions = glances.descriptions
    mean, scale = descriptions.mean(axis=0), descriptions.std(axis=0) + 1e-3
    standard = (descriptions - mean) / scale
    # Frames are fewer than numbers: the components of their Gram matrix are those of the descriptions.
    variances, vectors = np.linalg.eigh(standard @ standard.T)
    count = min(COMPONENTS, len(descriptions) - 1)
    variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
    return Novelty(
        mean=mean,
        scale=scale,
        basis=standard.T @ vectors / np.sqrt(variances),
        spread=np.sqrt(variances / len(descriptions)),
        off=np.ones(1),
        particles=np.array([0.0, 1.0]),
    )


def vary(grey: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A frame (H, W) of another magnification, and half of the time a bad one: :func:`spoil`."""
    rng = np.random.default_rng([seed, 1])
    factor = float(np.exp(rng.uniform(*np.log(MAGNIFICATIONS))))
    image = grey
    if factor > 1:
        height, width = (max(1, round(side / factor)) for side in grey.shape)
        y, x = rng.integers(grey.shape[0] - height + 1), rng.integers(grey.shape[1] - width + 1)
        image = grey[y : y + height, x : x + width]
    shape = tuple(max(1, round(side * factor)) for side in image.shape)
    scaled = resize(image.astype(np.float32), shape, order=1, anti_aliasing=factor < 1)  # type: ignore[no-untyped-call]
    varied: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return spoil(varied, seed) if rng.random() < 0.5 else varied


def spoil(grey: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A frame (H, W) as a bad one of the domain: out of focus, noisy, both, clipped, or faint."""
    rng = np.random.default_rng(seed)
    image = grey.astype(np.float32) / 255
    kind = rng.choice(["blur", "noise", "blur and noise", "clip", "faint"])
    if kind in ("blur", "blur and noise"):
        image = ndimage.gaussian_filter(image, float(rng.uniform(1.0, 5.0)))
    if kind == "clip":
        image = (image - 0.5) * rng.uniform(1.8, 4.0) + 0.5 + rng.uniform(-0.3, 0.3)
    if kind == "faint":
        image = image * rng.uniform(0.15, 0.4)
    noise = {"noise": (0.03, 0.12), "blur and noise": (0.02, 0.1), "faint": (0.02, 0.04)}.get(kind)
    if noise is not None:
        image = image + rng.normal(0, rng.uniform(*noise), image.shape).astype(np.float32)
    spoilt: NDArray[np.uint8] = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    return spoilt


def bare_frames(count: int = BARE_FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Simulated frames with no particle, or one or two, of both regimes in turn."""
    for index in range(count):
        world, view = random_world(BARE_SEED + index, ("low", "high")[index % 2], 640, 480)
        scene = replace(world.scene, coverage=world.scene.coverage * (1e-4, 0.03)[index // 2 % 2])
        yield render(World(world.seed, scene), view).pixels.astype(np.uint8)
