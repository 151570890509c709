"""Whether a frame is unlike everything that a network learned from: :class:`Novelty`.

Two small views of the frame, the whole of it reduced and four patches at full resolution, go through the network's own
backbone; mean and standard deviation of every channel of its stages describe the frame. Principal components of the
training's frames say how such descriptions vary, and a frame is as novel as its description lies far out among them
and off them (the two parts of the likelihood of probabilistic principal components; Tipping and Bishop,
J. R. Stat. Soc. B 61, 611, 1999). That costs about a thirtieth of a frame of 1920x1200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from labsem.networks.imagenet import PIXEL_MEAN, PIXEL_STD

VIEW_PX: Final = (224, 288)
"""Height and width of a view, multiples of 32."""

OFF_WEIGHT: Final = 3.0
"""How much more the distance off the components counts than that among them."""

PREFIX: Final = "ood."
"""Of the names of the tensors that lie with the weights."""


@dataclass(frozen=True)
class Novelty:
    """How the descriptions of the training's frames vary.

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
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    basis: NDArray[np.float64]
    spread: NDArray[np.float64]
    off: float

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float64]]) -> Self:
        """From what :meth:`tensors` gave."""
        values = {name: tensors[f"{PREFIX}{name}"] for name in ("mean", "scale", "basis", "spread")}
        return cls(**values, off=float(tensors[f"{PREFIX}off"].item()))

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """By the names under which they lie with the weights."""
        values = {"mean": self.mean, "scale": self.scale, "basis": self.basis, "spread": self.spread}
        named = {f"{PREFIX}{name}": value for name, value in values.items()}
        return {**named, f"{PREFIX}off": np.array([self.off])}

    def parts(self, descriptions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean squares (N,) of descriptions (N, F) among the components, in units of their spread, and off them."""
        standard = (descriptions - self.mean) / self.scale
        along = standard @ self.basis
        off = (standard**2).sum(axis=1) - (along**2).sum(axis=1)
        return ((along / self.spread) ** 2).mean(axis=1), off / len(self.mean)

    def distance(self, descriptions: NDArray[np.float64]) -> NDArray[np.float64]:
        """How novel (N,) frames of descriptions (N, F) are; around 1 for frames like those of the training."""
        among, off = self.parts(descriptions)
        distance: NDArray[np.float64] = (among + OFF_WEIGHT * off / self.off) / (1 + OFF_WEIGHT)
        return distance


def describe(backbone: nn.Module, grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """Description (F,) of a frame's grey values (H, W) in [0, 1] by a network's backbone."""
    images = ((views(grey) - PIXEL_MEAN) / PIXEL_STD).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        stages = backbone(images)
        maps: list[Tensor] = list(stages.values()) if isinstance(stages, dict) else list(stages)
        numbers = torch.cat(
            [torch.cat([one.mean(dim=(2, 3)), one.std(dim=(2, 3), correction=0)], dim=1) for one in maps],
            dim=1,
        )
    # A few channels of a few frames are far larger than usual: logarithms keep them from deciding alone.
    flat = numbers.double().flatten().numpy()
    description: NDArray[np.float64] = np.sign(flat) * np.log1p(np.abs(flat))
    return description


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
