"""What ``out_of_distribution`` is told by, fitted to the images of a training: :func:`fit_novelty`.

The limit comes from images of the domain alone, each by a fit that saw nothing of its series: a powder that is new must
not raise it. How strong the ridge is, what the discriminant weighs and which share lies under the limit were chosen on
such left-out series, and on families of outliers left out in turn.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage
from skimage.transform import resize

from labsem.networks.detector import Detector
from labsem.networks.manifest import OutOfDistribution
from labsem.networks.novelty import CLIP, Glances, Novelty
from labsem.normalisation import grey_levels, normalise
from labsem.simulation import World, render
from labsem.simulation.random_frames import random_frame, random_world
from labsem.training.outliers import outlier_frames
from labsem.training.sampling import TrainingImage

COMPONENTS: Final = 32
RIDGE: Final = 0.03
FOLDS: Final = 10
BARE_FRAMES: Final = 40
BARE_SEED: Final = 800_000_000
SIMULATED_FRAMES: Final = 40
SIMULATED_SEED: Final = 700_000_000
MAGNIFICATIONS: Final = (0.4, 2.0)
"""Range by which varied frames are reduced or enlarged."""

QUANTILE: Final = 0.985
"""Share of left-out images of the domain that lie under the limit."""

SERIES_MOST: Final = 0.2
"""Images that share the beginning of their names are one series, if they are no more than this share of all."""


def fit_novelty(
    detector: Detector, training: Sequence[TrainingImage], validation: Sequence[TrainingImage]
) -> tuple[dict[str, NDArray[np.float64]], OutOfDistribution]:
    """Fit components and a discriminant to images of the domain and to outliers, and a limit to left-out images.

    Of the domain are the images of the training and its validation, and simulated frames. Each counts twice: as it
    is, and varied as frames of the domain are (of another magnification, blurred, noisy, saturated or faint).
    Simulated frames with next to nothing on them count too, so that neither a bad frame nor a bare one is taken for a
    foreign one.

    Returns
    -------
    The tensors that lie with the weights, and the limit for the manifest.
    """
    images = [*training, *validation]
    ids = [image.id for image in images]
    frames = [image.grey for image in images]
    for index, frame in enumerate(simulated_frames()):
        ids.append(f"simulated-{index}")
        frames.append(frame)
    tensors, limit = fit_glances(
        look(detector, frames),
        look(
            detector, [vary(grey, zlib.crc32(name.encode())) for name, grey in zip(ids, frames, strict=True)]
        ),
        look(detector, bare_frames()),
        look(detector, [frame for _, frame in outlier_frames([image.grey for image in training])]),
        ids,
    )
    fitted_on = f"{len(images)} images and {len(frames) - len(images)} simulated frames, left out by series"
    return tensors, OutOfDistribution(limit=limit, fitted_on=fitted_on)


def look(detector: Detector, frames: Iterable[NDArray[np.uint8]]) -> Glances:
    """What a network says at a glance of frames (H, W)."""
    return Glances.join([detector.glance(normalise(grey, grey_levels(grey))) for grey in frames])


def fit_glances(
    plain: Glances, varied: Glances, bare: Glances, outliers: Glances, ids: Sequence[str], seed: int = 0
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Tensors and limit from glances at images of the domain, their varied copies, bare frames and outliers.

    Parameters
    ----------
    ids
        Of the images, by which :func:`series_of` knows which are left out together.
    """
    fold = series_of(ids, seed) % FOLDS
    left_out = np.zeros((3, len(ids)))
    for number in np.unique(fold):
        kept = fold != number
        partial = fit_domain(Glances.join([plain.take(kept), varied.take(kept), bare]), outliers)
        left_out[:, ~kept] = partial.parts(plain.descriptions[~kept])
    whole = replace(
        fit_domain(Glances.join([plain, varied, bare]), outliers),
        off=np.array([np.median(left_out[1])]),
        particles=np.array([plain.particles.mean(), plain.particles.std() + 1e-3]),
    )
    return whole.tensors(), float(np.quantile(whole.of_parts(left_out, plain.particles), QUANTILE))


def series_of(ids: Sequence[str], seed: int = 0) -> NDArray[np.int64]:
    """Number (N,) of each image's series, in random order: images whose ids agree up to the first ``_``.

    A beginning that too many images share (a camera's, say) makes no series; each is one of its own then.
    """
    beginnings = [name.split("_")[0] for name in ids]
    counts = Counter(beginnings)
    most = SERIES_MOST * len(ids)
    keys = [
        name if counts[beginning] > most else beginning
        for name, beginning in zip(ids, beginnings, strict=True)
    ]
    _, series = np.unique(keys, return_inverse=True)
    shuffled: NDArray[np.int64] = np.random.default_rng(seed).permutation(series.max() + 1)[series]
    return shuffled


def fit_domain(domain: Glances, outliers: Glances) -> Novelty:
    """Principal components of the domain's descriptions, and the discriminant of outliers from it.

    What is typical off the components is not known yet, and 1.
    """
    components = fit_components(domain)
    inside, outside = (
        components.standardise(each.descriptions).clip(-CLIP, CLIP) for each in (domain, outliers)
    )
    direction, offset = fit_discriminant(inside, outside)
    return replace(components, direction=direction, offset=offset)


def fit_components(glances: Glances) -> Novelty:
    """Principal components of descriptions, with no discriminant."""
    descriptions = glances.descriptions
    mean, scale = descriptions.mean(axis=0), descriptions.std(axis=0) + 1e-3
    standard = (descriptions - mean) / scale
    # Frames are fewer than numbers: the components of their Gram matrix are those of the descriptions.
    number = len(descriptions)
    count = min(COMPONENTS, number - 1)
    variances, vectors = linalg.eigh(standard @ standard.T, subset_by_index=(number - count, number - 1))
    return Novelty(
        mean=mean,
        scale=scale,
        basis=standard.T @ vectors / np.sqrt(variances),
        spread=np.sqrt(variances / number),
        off=np.ones(1),
        particles=np.array([0.0, 1.0]),
        direction=np.zeros(len(mean)),
        offset=np.zeros(1),
    )


def fit_discriminant(
    inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction (F,) and offset (1,) that give -1 inside (N, F) and 1 outside (M, F): ridge regression, both sides of
    equal weight (in its dual form; Saunders et al., ICML 1998).
    """
    inputs = np.concatenate([inside, outside])
    number, width = inputs.shape
    wanted = np.repeat([-1.0, 1.0], [len(inside), len(outside)])
    share = np.repeat([0.5 / len(inside), 0.5 / len(outside)], [len(inside), len(outside)])
    centre = share @ inputs
    centred = inputs - centre
    gram = centred @ centred.T / width + np.diag(RIDGE / (share * number))
    direction: NDArray[np.float64] = centred.T @ linalg.solve(gram, wanted, assume_a="pos") / width
    return direction, np.array([-centre @ direction])


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


def simulated_frames(count: int = SIMULATED_FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Ordinary simulated frames, of both regimes in turn."""
    for index in range(count):
        frame = random_frame(SIMULATED_SEED + index, ("low", "high")[index % 2], 640, 480)
        yield frame.pixels.astype(np.uint8)
