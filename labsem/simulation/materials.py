"""What powders are made of, as far as the electrons care."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Material:
    """A substance.

    Attributes
    ----------
    atomic_number
        Mean over its mass fractions (Castaing's rule, under which backscattering of compounds is predicted well).
    insulating
        Whether it charges under the beam.
    """

    name: str
    atomic_number: float
    insulating: bool = False


CARBON: Final = Material("carbon", 6.0)
TAPE: Final = Material("carbon tape", 6.6)
SILICON: Final = Material("silicon", 14.0)
IRON: Final = Material("iron", 26.0)

POWDERS: Final = (
    Material("polystyrene", 5.6, insulating=True),
    CARBON,
    Material("alumina", 10.6, insulating=True),
    Material("silica", 10.8, insulating=True),
    Material("calcite", 12.6, insulating=True),
    Material("aluminium", 13.0),
    Material("titania", 16.4, insulating=True),
    Material("lithium nickel oxide", 19.4),
    Material("titanium", 22.0),
    Material("zinc oxide", 25.7),
    IRON,
    Material("nickel", 28.0),
    Material("copper", 29.0),
    Material("zirconia", 31.7, insulating=True),
    Material("ceria", 48.7, insulating=True),
    Material("tungsten", 74.0),
)
"""Common powders; mean atomic numbers from their formulae."""


def backscatter_coefficient(atomic_number: float) -> float:
    """Backscattered over incident electrons at normal incidence, 5 to 40 kV.

    Reuter's fit (Proc. 6th Int. Conf. X-ray Optics and Microanalysis, 1972, p. 121), as given by Goldstein et al.,
    *Scanning Electron Microscopy and X-Ray Microanalysis*, 4th ed., equation 2.2.
    """
    z = atomic_number
    return -0.0254 + 0.016 * z - 1.86e-4 * z**2 + 8.3e-7 * z**3
