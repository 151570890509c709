"""What lies on a stub: the powder's components, the substrate and how both look to the detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from labsem.simulation.materials import IRON, TAPE, Material, backscatter_coefficient
from labsem.simulation.sizes import Sizes

ShapeKind = Literal["sphere", "crystal", "plate", "needle", "rod", "fragment", "agglomerate", "drop"]
TextureKind = Literal["fine", "cracks", "granular", "dusty", "pits"]
SubstrateKind = Literal["tape", "silicon"]
Detector = Literal["sed", "bsd"]
Regime = Literal["low", "high"]

SHAPES: Final[tuple[ShapeKind, ...]] = (
    "sphere",
    "crystal",
    "plate",
    "needle",
    "rod",
    "fragment",
    "agglomerate",
    "drop",
)
TEXTURES: Final[tuple[TextureKind, ...]] = ("fine", "cracks", "granular", "dusty", "pits")

FUSED_NECK: Final = 0.75
"""Neck radius over the smaller primary's radius above which nobody parts the primaries: one particle."""

BACKSCATTER_GAIN: Final = 2.4
"""Grey level of the backscatter detector per backscattered electron, before the view's contrast."""


@dataclass(frozen=True)
class Component:
    """One population of a powder, of one shape, size distribution and substance.

    Attributes
    ----------
    sizes
        Diameters, by number; those of the primaries where bodies are clusters.
    share
        Share of the powder's bodies.
    albedo
        Grey level of a flat face under the secondary electron detector, 0 to 1; the backscatter detector's
        follows from ``material``.
    texture, roughness
        Kind of the surface texture, and its height over the radius.
    warp
        How far the outline leaves the ideal shape, over the radius.
    satellites
        Mean number of satellites on a body (they belong to it).
    primaries
        More than 1: bodies are clusters of about so many primary particles.
    neck
        Radius of the necks between the primaries of a cluster over that of the smaller primary: 0 where they
        only touch. Up to :data:`FUSED_NECK` each primary is a particle; above it the cluster is one.
    """

    shape: ShapeKind
    sizes: Sizes
    share: float = 1.0
    albedo: float = 0.7
    material: Material = IRON
    texture: TextureKind = "fine"
    roughness: float = 0.02
    warp: float = 0.02
    satellites: float = 0.0
    primaries: int = 1
    neck: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.neck <= 0.95:
            raise ValueError(f"component.neck: {self.neck}; give 0 (touching) to 0.95 (nearly one body)")

    @property
    def fused(self) -> bool:
        """Whether a cluster counts as one particle."""
        return self.primaries > 1 and self.neck > FUSED_NECK

    def level(self, detector: Detector) -> float:
        """Grey level of a flat face."""
        return self.albedo if detector == "sed" else grey_of(self.material)


@dataclass(frozen=True)
class Substrate:
    """The stub's surface.

    Attributes
    ----------
    level
        Its grey level under the secondary electron detector, 0 to 1.
    relief
        Strength of what is on it and is no particle: holes, bubbles, craters, ridges, hollows, zones.
    features_per_field
        Mean number of such features in a field, at whatever HFW (they are scale-free).
    grain
        Standard deviation of its fine texture over its level.
    dust
        Mean number of specks too small to be a particle, for a field.
    """

    kind: SubstrateKind = "tape"
    level: float = 0.25
    material: Material = TAPE
    relief: float = 1.0
    features_per_field: float = 10.0
    grain: float = 0.05
    dust: float = 40.0

    def level_under(self, detector: Detector) -> float:
        """Grey level under a detector."""
        return self.level if detector == "sed" else grey_of(self.material)


def grey_of(material: Material) -> float:
    """Grey level of a flat face under the backscatter detector."""
    return BACKSCATTER_GAIN * backscatter_coefficient(material.atomic_number)


@dataclass(frozen=True)
class Look:
    """How topography becomes signal, apart from the choice of the detector.

    ``edge`` and ``edge_power`` brighten inclined faces (secondary electrons); ``direction`` and
    ``azimuth_rad`` light one side; ``occlusion`` darkens what lies beside something higher; ``charging`` is
    the strength of streaks and halo of insulating components.
    """

    edge: float = 1.0
    edge_power: float = 2.0
    direction: float = 0.15
    azimuth_rad: float = 0.8
    occlusion: float = 0.6
    charging: float = 0.0


@dataclass(frozen=True)
class SceneParameters:
    """A whole scene.

    Attributes
    ----------
    coverage
        Share of the surface that the powder would cover if nothing overlapped; over 1 for a bed of powder.
    clumping
        Probability that a body is put against another one.
    piling
        Probability that a body without room lies on top of others instead of elsewhere.
    layout
        ``random``, or ``lattice`` (a hexagonal monolayer of spheres).
    """

    components: tuple[Component, ...]
    coverage: float = 0.15
    clumping: float = 0.2
    piling: float = 0.3
    layout: Literal["random", "lattice"] = "random"
    substrate: Substrate = Substrate()
    look: Look = Look()

    @property
    def typical_um(self) -> float:
        """Largest of the components' typical diameters."""
        return max(component.sizes.typical_um for component in self.components)

    @property
    def brightest(self) -> dict[Detector, float]:
        """Highest grey level of a flat face under each detector."""
        levels: dict[Detector, float] = {}
        for detector in ("sed", "bsd"):
            of = (component.level(detector) for component in self.components)
            levels[detector] = max(self.substrate.level_under(detector), *of)
        return levels
