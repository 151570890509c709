"""How crops are varied: grey values of the microscope's faults, and particles laid onto other images.

Nothing here moves a labelled pixel: what changes grey values leaves the labels, and a pasted particle brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.training.options import Augmentation

PASTED_MOST = 8
PASTE_ATTEMPTS = 6
PASTE_GAP_PX = 2
"""A pasted particle keeps this far from labelled ones, so that it occludes none and every certainty stays true."""

GROUND_MIN_PX = 12
"""Bare pixels around a particle that tell how bright its ground is."""

EDGE_SIGMA_PX = 0.7
"""Softness of a pasted particle's edge."""


@dataclass(frozen=True)
class Patch:
    """A part of an image at the scale of its crop, before its grey values are varied.

    Attributes
    ----------
    grey
        (h, w) float32 in [0, 1].
    labels
        (h, w) int32.
    certainty
        By label: 1 certain, 0 uncertain, -1 not judged; index 0 is the ground.
    whole_px
        By label: area of the whole particle in pixels of the patch, inside and outside of it.
    """

    grey: NDArray[np.float32]
    labels: NDArray[np.int32]
    certainty: NDArray[np.int64]
    whole_px: NDArray[np.float64]


def vary_grey(
    grey: NDArray[np.float32], rng: np.random.Generator, shares: Augmentation
) -> NDArray[np.float32]:
    """Contrast, brightness, gamma, defocus, shading, charging, line jitter and noise.

    Never inverted: a hole of the tape is no particle.
    """
    gamma = float(np.exp(rng.normal(0, 0.25)))
    grey = np.clip(grey, 0, 1) ** np.float32(gamma)
    contrast, brightness = np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.06)
    grey = (grey - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5 + brightness)
    if rng.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, float(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.25:
        slope: NDArray[np.float32] = rng.normal(0, 0.12, 2).astype(np.float32)
        y = np.linspace(-1, 1, grey.shape[0], dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, grey.shape[1], dtype=np.float32)[None, :]
        grey = grey + (slope[0] * y + slope[1] * x)
    if rng.random() < shares.line_jitter:
        grey = jitter_lines(grey, rng)
    if rng.random() < shares.charging:
        grey = charge(grey, rng)
    if rng.random() < 0.5:
        grey = grey + np.float32(rng.uniform(0.01, 0.1)) * rng.standard_normal(grey.shape, np.float32)
    return np.clip(grey, 0, 1).astype(np.float32, copy=False)


def jitter_lines(grey: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move every scan line sideways by a random walk's noise of 0.2 to 1 px, as vibration does."""
    height, width = grey.shape
    shift = rng.normal(0, float(rng.uniform(0.2, 1.0)), (height,))
    place = np.clip(np.arange(width)[None, :] + shift[:, None], 0, width - 1)
    left = np.floor(place).astype(np.int64)
    share = (place - left).astype(np.float32)
    right = np.minimum(left + 1, width - 1)
    moved: NDArray[np.float32] = (1 - share) * np.take_along_axis(grey, left, 1)
    moved += share * np.take_along_axis(grey, right, 1)
    return moved


def charge(grey: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Streaks that start sharply and fade along the scan, and brightness that drifts from line to line."""
    height, width = grey.shape
    drift = np.cumsum(rng.normal(0, 0.01, height)).astype(np.float32)
    charged: NDArray[np.float32] = grey + np.clip(drift - drift.mean(), -0.12, 0.12)[:, None]
    x = np.arange(width, dtype=np.float32)
    for _ in range(int(rng.integers(4, 16))):
        row, thickness = int(rng.integers(height)), int(rng.integers(1, 4))
        start, length = int(rng.integers(width)), float(rng.uniform(0.1, 0.8)) * width
        streak = np.float32(rng.normal(0, 0.15)) * np.exp(-(x[start:] - start) / np.float32(length))
        charged[row : row + thickness, start:] += streak
    return charged


def paste_particles(onto: Patch, donor: Patch, rng: np.random.Generator) -> Patch:
    """Lay whole particles of one patch onto bare ground of another.

    A particle keeps its certainty, and its contrast to its own ground; one that touches others in its image, is cut
    by the patch's edge or is over half as wide as the target stays where it is, for its outline is not its own.
    """
    grey, labels = onto.grey.copy(), onto.labels.copy()
    certainty, whole = [onto.certainty], [onto.whole_px]
    following = len(onto.certainty)
    boxes = ndimage.find_objects(donor.labels)
    candidates = rng.permutation([label for label, box in enumerate(boxes, start=1) if box is not None])
    wanted = int(rng.integers(1, PASTED_MOST + 1))
    for label in candidates[: 3 * PASTED_MOST].tolist():
        if following - len(onto.certainty) == wanted:
            break
        particle = _cut_out(donor, label, boxes[label - 1], labels.shape)
        if particle is None:
            continue
        place = _find_place(labels, particle.reach, rng)
        if place is None:
            continue
        _lay(grey, labels, particle, place, following)
        certainty.append(donor.certainty[label : label + 1])
        whole.append(np.array([float(particle.mask.sum())]))
        following += 1
    return replace(
        onto, grey=grey, labels=labels, certainty=np.concatenate(certainty), whole_px=np.concatenate(whole)
    )


@dataclass(frozen=True)
class _CutOut:
    """A particle with a margin: grey values less its ground's, its mask, and the pixels that must be bare."""

    contrast: NDArray[np.float32]
    mask: NDArray[np.bool_]
    reach: NDArray[np.bool_]


def _cut_out(
    donor: Patch, label: int, box: tuple[slice, slice], target_shape: tuple[int, ...]
) -> _CutOut | None:
    margin = PASTE_GAP_PX + 2
    rows, columns = box
    top, left = rows.start - margin, columns.start - margin
    bottom, right = rows.stop + margin, columns.stop + margin
    if top < 0 or left < 0 or bottom > donor.labels.shape[0] or right > donor.labels.shape[1]:
        return None
    if 2 * (bottom - top) > target_shape[0] or 2 * (right - left) > target_shape[1]:
        return None
    window = donor.labels[top:bottom, left:right]
    mask = window == label
    if mask.sum() < 0.95 * donor.whole_px[label]:
        return None
    reach = ndimage.binary_dilation(mask, iterations=PASTE_GAP_PX)
    if (window[reach] != label)[window[reach] > 0].any():
        return None
    ground = (window == 0) & ~reach
    if ground.sum() < GROUND_MIN_PX:
        return None
    grey = donor.grey[top:bottom, left:right]
    return _CutOut(grey - np.median(grey[ground]), mask, reach)


def _find_place(
    labels: NDArray[np.int32], reach: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[int, int] | None:
    height, width = reach.shape
    for _ in range(PASTE_ATTEMPTS):
        y = int(rng.integers(0, labels.shape[0] - height + 1))
        x = int(rng.integers(0, labels.shape[1] - width + 1))
        window = labels[y : y + height, x : x + width]
        if not window[reach].any() and np.count_nonzero(window == 0) - reach.sum() >= GROUND_MIN_PX:
            return y, x
    return None


def _lay(
    grey: NDArray[np.float32],
    labels: NDArray[np.int32],
    particle: _CutOut,
    place: tuple[int, int],
    label: int,
) -> None:
    height, width = particle.mask.shape
    window = (slice(place[0], place[0] + height), slice(place[1], place[1] + width))
    ground = np.median(grey[window][(labels[window] == 0) & ~particle.reach])
    opacity = ndimage.gaussian_filter(particle.mask.astype(np.float32), EDGE_SIGMA_PX) * particle.reach
    grey[window] = np.clip((1 - opacity) * grey[window] + opacity * (ground + particle.contrast), 0, 1)
    labels[window][particle.mask] = label
