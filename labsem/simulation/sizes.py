"""Size distributions of a powder, by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

CUT: Final = 2.2
"""Diameters lie within so many standard deviations of the logarithm."""


@dataclass(frozen=True)
class LogNormal:
    """Diameters whose logarithm is normal, cut at :data:`CUT` standard deviations.

    Attributes
    ----------
    median_um
        Median diameter.
    sigma_g
        Geometric standard deviation, 1 for equal particles.
    """

    median_um: float
    sigma_g: float = 1.3

    def __post_init__(self) -> None:
        if not (self.median_um > 0 and self.sigma_g >= 1):
            raise ValueError(f"{self}: give median_um over 0 and sigma_g of at least 1")

    @property
    def typical_um(self) -> float:
        """The median."""
        return self.median_um

    @property
    def largest_um(self) -> float:
        """Largest diameter that is drawn."""
        return float(self.median_um * self.sigma_g**CUT)

    @property
    def mean_square_um2(self) -> float:
        """Mean of the squared diameter (without the cut)."""
        return float(self.median_um**2 * np.exp(2 * np.log(self.sigma_g) ** 2))

    def draw(self, rng: np.random.Generator) -> float:
        """One diameter, um."""
        return float(self.median_um * self.sigma_g ** min(max(rng.standard_normal(), -CUT), CUT))


@dataclass(frozen=True)
class Bimodal:
    """Two log-normal populations of one substance and shape.

    Attributes
    ----------
    coarse_share
        Share of the coarse population, by number, 0 to 1.
    """

    fine: LogNormal
    coarse: LogNormal
    coarse_share: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.coarse_share <= 1:
            raise ValueError(f"coarse_share: {self.coarse_share}; give a share from 0 to 1")

    @property
    def typical_um(self) -> float:
        """Median of the population that covers more."""
        fine, coarse = (1 - self.coarse_share) * self.fine.mean_square_um2, self.coarse.mean_square_um2
        return self.fine.median_um if fine > self.coarse_share * coarse else self.coarse.median_um

    @property
    def largest_um(self) -> float:
        """Largest diameter that is drawn."""
        return max(self.fine.largest_um, self.coarse.largest_um)

    @property
    def mean_square_um2(self) -> float:
        """Mean of the squared diameter (without the cut)."""
        share = self.coarse_share
        return (1 - share) * self.fine.mean_square_um2 + share * self.coarse.mean_square_um2

    def draw(self, rng: np.random.Generator) -> float:
        """One diameter, um."""
        return (self.coarse if rng.random() < self.coarse_share else self.fine).draw(rng)


Sizes = LogNormal | Bimodal
