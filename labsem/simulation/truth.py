"""Which simulated particles an expert could outline with certainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.textures import Image

VISIBLE_PIXELS_MIN: Final = 12
"""A particle of which fewer pixels are seen has no label."""

CERTAIN_VISIBLE: Final = 0.7
CERTAIN_ECD_PX: Final = 8.0
CERTAIN_CONTRAST: Final = 3.0
CERTAIN_FAINT_BORDER: Final = 0.35
CERTAIN_BLUR: Final = 0.25

STEP_MIN: Final = 0.02
"""Steps of grey under 2 % of the range count as if there were so much noise: an eye does not see them."""


@dataclass(frozen=True)
class TrueParticle:
    """What is known of one visible particle.

    Attributes
    ----------
    label
        Its value in the label image.
    particle_id
        The same in each frame of the world that shows it.
    ecd_px
        Diameter of the circle of the visible area.
    full_area_px
        Area within the frame that it would have if nothing lay over it.
    visible_fraction
        Visible over full area.
    contrast_to_noise
        Mean step of the noise-free grey level across its border over the standard deviation of the noise in
        an average over 3 x 3 pixels.
    faint_border_fraction
        Share of its border where that ratio is under 1.5.
    blur_px
        Full width at half maximum of the blur on it.
    certain
        Whether visible fraction >= 0.7, diameter >= 8 px, contrast to noise >= 3, faint border <= 0.35 and
        blur <= a quarter of the diameter.
    """

    label: int
    particle_id: int
    ecd_px: float
    full_area_px: int
    visible_fraction: float
    contrast_to_noise: float
    faint_border_fraction: float
    blur_px: float
    certain: bool


def judge(
    labels: NDArray[np.int32],
    particle_ids: list[int],
    full_px: list[int],
    image: Image,
    noise: Image,
    blur_sigma_px: Image | float,
) -> list[TrueParticle]:
    """Judge every label of an image by the rule of :class:`TrueParticle`.

    Parameters
    ----------
    labels
        (H, W) int32, particles 1 to N without gaps.
    particle_ids, full_px
        For each label its id and its unoccluded area within the frame.
    image, noise
        (H, W) noise-free image as it is shown (0 to 1, clipped), and the noise's standard deviation.
    blur_sigma_px
        Standard deviation of the blur, one value or (H, W).
    """
    count = len(particle_ids)
    size = np.bincount(labels.ravel(), minlength=count + 1).astype(float)
    if isinstance(blur_sigma_px, float):
        sigma = np.full(count + 1, blur_sigma_px)
        typical = blur_sigma_px
    else:
        inside = labels > 0
        total = np.bincount(labels[inside], blur_sigma_px[inside], minlength=count + 1)
        sigma = total / np.maximum(size, 1)
        typical = float(np.median(sigma[1:])) if count else 1.0
    pairs, contrast, faint = _borders(labels, image, noise, count, step=max(2, round(1.5 * typical)))
    found = []
    for label in range(1, count + 1):
        ecd = 2 * (size[label] / np.pi) ** 0.5
        visible = size[label] / max(full_px[label - 1], 1)
        ratio = contrast[label] / max(pairs[label], 1)
        faint_fraction = faint[label] / max(pairs[label], 1) if pairs[label] else 0.0
        fwhm = 2.355 * sigma[label]
        certain = (
            visible >= CERTAIN_VISIBLE
            and ecd >= CERTAIN_ECD_PX
            and (ratio >= CERTAIN_CONTRAST or pairs[label] == 0)
            and faint_fraction <= CERTAIN_FAINT_BORDER
            and fwhm <= CERTAIN_BLUR * ecd
        )
        found.append(
            TrueParticle(
                label,
                particle_ids[label - 1],
                float(ecd),
                full_px[label - 1],
                float(min(visible, 1.0)),
                float(ratio),
                float(faint_fraction),
                float(fwhm),
                bool(certain),
            )
        )
    return found


def _borders(
    labels: NDArray[np.int32], image: Image, noise: Image, count: int, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For each label: number of border pairs, sum of their contrast to noise, number of faint ones."""
    pairs, contrast, faint = (np.zeros(count + 1) for _ in range(3))
    for axis in (0, 1):
        if labels.shape[axis] <= step:
            continue
        ahead = (slice(step, None), slice(None)) if axis == 0 else (slice(None), slice(step, None))
        behind = (slice(None, -step), slice(None)) if axis == 0 else (slice(None), slice(None, -step))
        border = labels[ahead] != labels[behind]
        ratio = np.abs(image[ahead][border] - image[behind][border]) / np.maximum(
            noise[ahead][border] / 3, STEP_MIN / 3
        )
        ratio = np.minimum(ratio, 50)
        for side in (labels[ahead][border], labels[behind][border]):
            pairs += np.bincount(side, minlength=count + 1)
            contrast += np.bincount(side, ratio, minlength=count + 1)
            faint += np.bincount(side, ratio < 1.5, minlength=count + 1)
    return pairs, contrast, faint
