"""What ``out_of_distribution`` is told by, fitted to the images of a training: :func:`fit_novelty`.

The limit comes from images of the domain alone: those of the validation parts, and those of the training, each by
components that were fitted without it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.networks.detector import Detector
from labsem.networks.manifest import OutOfDistribution
from labsem.networks.novelty import OFF_WEIGHT, Novelty
from labsem.normalisation import grey_levels, normalise
from labsem.training.sampling import TrainingImage

COMPONENTS: Final = 32
FOLDS: Final = 5
QUANTILE: Final = 0.985
"""Share of left-out images of the domain that lie under the limit."""


def fit_novelty(
    detector: Detector, training: Sequence[TrainingImage], validation: Sequence[TrainingImage]
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """Fit components to training images and a limit to left-out ones.

    Every training image counts twice: as it is, and spoilt as frames of the domain may be (blurred, noisy, saturated,
    faint), so that a bad frame is not taken for a foreign one.

    Returns
    -------
    The tensors that lie with the weights, and the limit for the manifest.
    """
    rng = [np.random.default_rng(zlib.crc32(image.id.encode())) for image in training]
    plain = np.stack([_describe(detector, image.grey) for image in training])
    spoilt = np.stack(
        [_describe(detector, spoil(image.grey, own)) for image, own in zip(training, rng, strict=True)]
    )
    others = np.stack([_describe(detector, image.grey) for image in validation])
    return fit_descriptions(plain, spoilt, others)


def fit_descriptions(
    plain: NDArray[np.float64], spoilt: NDArray[np.float64], validation: NDArray[np.float64], seed: int = 0
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """The same from descriptions (N, F) of training images, (N, F) of their spoilt copies, (M, F) of validation."""
    fold = np.random.default_rng(seed).permutation(len(plain)) % FOLDS
    left_out = np.zeros((2, len(plain)))
    for number in range(min(FOLDS, len(plain))):
        kept = fold != number
        partial = fit_components(np.concatenate([plain[kept], spoilt[kept]]))
        left_out[:, ~kept] = partial.parts(plain[~kept])
    whole = fit_components(np.concatenate([plain, spoilt]), off=float(np.median(left_out[1])))
    distances = np.concatenate([_distance(whole, left_out), whole.distance(validation)])
    limit = OutOfDistribution(
        limit=float(np.quantile(distances, QUANTILE)),
        fitted_on=f"{len(plain)} training images left out by fives, {len(validation)} validation images",
    )
    return whole.tensors(), limit


def _describe(detector: Detector, grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    return detector.describe(normalise(grey, grey_levels(grey)))


def fit_components(descriptions: NDArray[np.float64], off: float = 1.0) -> Novelty:
    """Principal components of descriptions (N, F).

    Parameters
    ----------
    off
        Typical mean square of a left-out frame off the components, where it is known.
    """
    mean, scale = descriptions.mean(axis=0), descriptions.std(axis=0) + 1e-3
    standard = (descriptions - mean) / scale
    # N frames are fewer than F numbers: the components of the Gram matrix are theirs.
    variances, vectors = np.linalg.eigh(standard @ standard.T)
    count = min(COMPONENTS, len(descriptions) - 1)
    variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
    basis = standard.T @ vectors / np.sqrt(variances)
    return Novelty(mean, scale, basis, np.sqrt(variances / len(descriptions)), off)


def spoil(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A frame (H, W) as a bad one of the domain: out of focus, noisy, both, clipped, or faint."""
    image = grey.astype(np.float32) / 255
    kind = rng.choice(["blur", "noise", "blur and noise", "clip", "faint"])
    if kind in ("blur", "blur and noise"):
        image = ndimage.gaussian_filter(image, float(rng.uniform(1.0, 5.0)))
    if kind == "clip":
        image = (image - 0.5) * rng.uniform(1.8, 4.0) + 0.5 + rng.uniform(-0.3, 0.3)
    if kind == "faint":
        image = image * rng.uniform(0.15, 0.4)
    noise = {"noise": (0.05, 0.25), "blur and noise": (0.03, 0.15), "faint": (0.02, 0.04)}.get(kind)
    if noise is not None:
        image = image + rng.normal(0, rng.uniform(*noise), image.shape).astype(np.float32)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _distance(novelty: Novelty, parts: NDArray[np.float64]) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = (parts[0] + OFF_WEIGHT * parts[1] / novelty.off) / (1 + OFF_WEIGHT)
    return distance
