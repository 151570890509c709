"""Whether a frame is unlike everything that a network learned from: :class:`Novelty`.

The network glances at two small views of the frame, the whole of it reduced and four patches at full resolution. Mean
and standard deviation of every channel of its backbone's stages describe the frame. Principal components of the
training's frames say how such descriptions vary, and a frame is as novel as its description lies far out among them
and off them (the two parts of the likelihood of probabilistic principal components; Tipping and Bishop,
J. R. Stat. Soc. B 61, 611, 1999). Frames made to be none of the domain say which way foreign ones lie: a discriminant
of their descriptions from the domain's adds to the distance (outlier exposure; Hendrycks et al., ICLR 2019). Where the
network sees what looks most like a particle, a strange frame is likelier an unusual one of the domain, so that counts
for it, a little: an empty frame is no foreign one. All that costs about a thirtieth of a frame of 1920x1200.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

VIEW_PX: Final = (224, 288)
"""Height and width of a view, multiples of 32."""

OFF_WEIGHT: Final = 3.0
"""How much more the distance off the components counts than that among them."""

PARTICLE_WEIGHT: Final = 0.15
"""How much a standard deviation of what looks like a particle takes from the logarithm of the distance."""

DISCRIMINANT_WEIGHT: Final = 1.3
"""How much the discriminant adds to the logarithm of the distance."""

CLIP: Final = 4.0
"""Standard deviations from which on the discriminant takes numbers of a description for equally far."""

PREFIX: Final = "ood."
"""Of the names of the tensors that lie with the weights."""


@dataclass(frozen=True)
class Glances:
    """What a network says of N frames at a glance.

    Attributes
    ----------
    descriptions
        (N, F) statistics of its backbone's stages.
    particles
        (N,) the highest objectness of any place, as log odds, mean of the two views.
    """

    descriptions: NDArray[np.float64]
    particles: NDArray[np.float64]

    @classmethod
    def join(cls, glances: Sequence[Glances]) -> Glances:
        """Of all frames in turn."""
        return cls(
            np.concatenate([one.descriptions for one in glances]),
            np.concatenate([one.particles for one in glances]),
        )

    def take(self, index: NDArray[np.bool_]) -> Glances:
        """Those of a mask."""
        return Glances(self.descriptions[index], self.particles[index])


@dataclass(frozen=True)
class Novelty:
    """How the training's frames vary at a glance.

    Attributes
    ----------
    mean, scale
        (F,) of each number of a description.
    basis
        (F, K) principal components of standardised descriptions, orthonormal.
    spread
        (K,) standard deviation along each.
    off
        Typical mean square off them of a frame that was left out.
    particles
        (2,) mean and standard deviation of what looks most like a particle.
    direction
        (F,) of the discriminant, around -1 for the domain and 1 for outliers, in standardised descriptions. Weights
        published before there was one lack it; it is zero then.
    offset
        Of the discriminant.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    basis: NDArray[np.float64]
    spread: NDArray[np.float64]
    off: NDArray[np.float64]
    particles: NDArray[np.float64]
    direction: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float64]]) -> Self:
        """From what :meth:`tensors` gave."""
        none = {
            PREFIX + "direction": np.zeros_like(tensors[PREFIX + "mean"]),
            PREFIX + "offset": np.zeros(1),
        }
        return cls(**{each.name: (none | dict(tensors))[PREFIX + each.name] for each in fields(cls)})

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """By the names under which they lie with the weights."""
        return {PREFIX + each.name: getattr(self, each.name) for each in fields(self)}

    def parts(self, descriptions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, N) of descriptions (N, F): mean square among the components, in units of their spread, mean square off
        them, and discriminant.
        """
        standard = self.standardise(descriptions)
        along = standard @ self.basis
        off = (standard**2).sum(axis=1) - (along**2).sum(axis=1)
        discriminant = standard.clip(-CLIP, CLIP) @ self.direction + self.offset
        return np.stack([((along / self.spread) ** 2).mean(axis=1), off / len(self.mean), discriminant])

    def standardise(self, descriptions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Descriptions (N, F) in standard deviations from the mean."""
        return (descriptions - self.mean) / self.scale

    def of_parts(self, parts: NDArray[np.float64], particles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Novelty (N,) from :meth:`parts` and what looks like a particle."""
        among, off, discriminant = parts
        distance = (among + OFF_WEIGHT * off / self.off) / (1 + OFF_WEIGHT)
        mean, deviation = self.particles
        novelty: NDArray[np.float64] = (
            np.log(distance)
            + DISCRIMINANT_WEIGHT * discriminant
            - PARTICLE_WEIGHT * (particles - mean) / deviation
        )
        return novelty

    def of(self, glances: Glances) -> NDArray[np.float64]:
        """How novel (N,) frames are: the logarithm of a distance, shifted by the discriminant."""
        return self.of_parts(self.parts(glances.descriptions), glances.particles)


class Glancing(Protocol):
    """A network that glances at small views."""

    def glance(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps (N, C, h, w) of the backbone's stages and (N,) the highest objectness, of (N, 1, H, W)."""
        ...


def glance(network: Glancing, grey: NDArray[np.float32]) -> Glances:
    """What a network says at a glance of one frame's grey values (H, W) in [0, 1]."""
    with torch.inference_mode():
        maps, particles = network.glance(views(grey).contiguous(memory_format=torch.channels_last))
        numbers = torch.cat(
            [torch.cat([one.mean(dim=(2, 3)), one.std(dim=(2, 3), correction=0)], dim=1) for one in maps],
            dim=1,
        )
    # A few channels of a few frames are far larger than usual: logarithms keep them from deciding alone.
    flat = numbers.double().flatten().numpy()
    return Glances((np.sign(flat) * np.log1p(np.abs(flat)))[None], particles.double().mean()[None].numpy())


def views(grey: NDArray[np.float32]) -> Tensor:
    """(2, 1, 224, 288): the frame reduced, and patches at full resolution from the middle of its four quarters."""
    height, width = VIEW_PX
    image = torch.from_numpy(grey)[None, None]
    factor = max(height / grey.shape[0], width / grey.shape[1])
    if factor > 1:
        size = (int(np.ceil(grey.shape[0] * factor)), int(np.ceil(grey.shape[1] * factor)))
        image = functional.interpolate(image, size=size, mode="bilinear")
    whole = functional.interpolate(image, size=VIEW_PX, mode="bilinear", antialias=True)
    rows = [_quarter(image.shape[-2], height // 2, place) for place in (1, 3)]
    columns = [_quarter(image.shape[-1], width // 2, place) for place in (1, 3)]
    patches = torch.cat([torch.cat([image[..., y, x] for x in columns], dim=-1) for y in rows], dim=-2)
    return torch.cat([whole, patches])


def _quarter(side: int, length: int, place: int) -> slice:
    start = min(max(place * side // 4 - length // 2, 0), side - length)
    return slice(start, start + length)
