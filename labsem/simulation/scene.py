"""What lies on a stub: the powder's components, the substrate and how both look to the detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ShapeKind = Literal["sphere", "crystal", "plate", "needle", "rod", "fragment", "agglomerate", "drop"]
SubstrateKind = Literal["tape", "silicon"]
Regime = Literal["low", "high"]

SHAPES: tuple[ShapeKind, ...] = (
    "sphere",
    "crystal",
    "plate",
    "needle",
    "rod",
    "fragment",
    "agglomerate",
    "drop",
)


@dataclass(frozen=True)
class Component:
    """One population of a powder: log-normal in diameter, of one shape and one composition.

    Attributes
    ----------
    median_um, sigma_g
        Median of the diameter and geometric standard deviation (number-weighted).
    share
        Share of the powder's bodies.
    albedo
        Grey level of a flat face, 0 to 1.
    roughness
        Height of the surface texture over the radius.
    warp
        How far the outline leaves the ideal shape, over the radius.
    satellites
        Mean number of satellites on a body (spheres only).
    primaries
        More than 1: bodies are clusters of about so many touching particles, each a particle of its own.
    """

    shape: ShapeKind
    median_um: float
    sigma_g: float = 1.3
    share: float = 1.0
    albedo: float = 0.7
    roughness: float = 0.02
    warp: float = 0.02
    satellites: float = 0.0
    primaries: int = 1

    @property
    def largest_um(self) -> float:
        """Diameter at which the distribution is cut off (2.2 standard deviations up)."""
        return float(self.median_um * self.sigma_g**2.2)


@dataclass(frozen=True)
class Substrate:
    """The stub's surface.

    Attributes
    ----------
    level
        Its grey level, 0 to 1.
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
    relief: float = 1.0
    features_per_field: float = 10.0
    grain: float = 0.05
    dust: float = 40.0


@dataclass(frozen=True)
class Look:
    """How topography becomes signal, apart from the choice of the detector.

    ``edge`` and ``edge_power`` brighten inclined faces (secondary electrons); ``direction`` and
    ``azimuth_rad`` light one side; ``occlusion`` darkens what lies beside something higher.
    """

    edge: float = 1.0
    edge_power: float = 2.0
    direction: float = 0.15
    azimuth_rad: float = 0.8
    occlusion: float = 0.6
    charging: float = 0.0
    jitter_px: float = 0.1


@dataclass(frozen=True)
class SceneParameters:
    """A whole scene.

    Attributes
    ----------
    coverage
        Share of the surface that the powder would cover if nothing overlapped.
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


def _component(rng: np.random.Generator, median_um: float, regime: Regime) -> Component:
    weights = (
        np.array([0.32, 0.16, 0.06, 0.06, 0.05, 0.18, 0.11, 0.06])
        if regime == "low"
        else np.array([0.42, 0.2, 0.08, 0.08, 0.1, 0.07, 0.05, 0.0])
    )
    shape = SHAPES[int(rng.choice(len(SHAPES), p=weights / weights.sum()))]
    clustered = rng.random() < (0.12 if regime == "low" else 0.45)
    rough = {"agglomerate": (0.06, 0.16), "fragment": (0.01, 0.08)}.get(shape, (0.0, 0.06))
    warp = {"agglomerate": (0.05, 0.16), "fragment": (0.02, 0.12), "sphere": (0.0, 0.04)}.get(
        shape, (0.0, 0.025)
    )
    return Component(
        shape=shape,
        median_um=median_um,
        sigma_g=float(rng.uniform(1.05, 1.7 if regime == "low" else 1.4)),
        albedo=float(rng.uniform(0.4, 0.9)),
        roughness=float(rng.uniform(*rough)),
        warp=float(rng.uniform(*warp)),
        satellites=float(rng.choice([0, 0, 1, 3])) if shape in ("sphere", "drop") else 0.0,
        primaries=int(rng.integers(3, 14)) if clustered and shape != "agglomerate" else 1,
    )


def random_scene(rng: np.random.Generator, hfw_um: float, regime: Regime) -> SceneParameters:
    """A scene to be looked at with about ``hfw_um``, with every parameter drawn at random.

    For training: wider than any one powder (domain randomisation, Tobin et al., IROS 2017).
    """
    share_of_field = (0.012, 0.1) if regime == "low" else (0.035, 0.28)
    median_um = hfw_um * float(np.exp(rng.uniform(*np.log(share_of_field))))
    first = _component(rng, median_um, regime)
    components = [first]
    if rng.random() < 0.45:
        ratio = float(np.exp(rng.uniform(np.log(0.25), np.log(0.9))))
        other = _component(rng, median_um * ratio, regime)
        near = rng.random() < 0.5
        components.append(
            Component(
                **{
                    **other.__dict__,
                    "share": float(rng.uniform(0.3, 1.5)),
                    "albedo": float(np.clip(first.albedo + rng.normal(0, 0.05), 0.2, 0.95))
                    if near
                    else other.albedo,
                }
            )
        )
    tape = rng.random() < (0.8 if regime == "low" else 0.55)
    level = float(rng.uniform(0.03, 0.42))
    if not tape and rng.random() < 0.12:
        # Light substrate under darker particles; never on tape, whose dark places are holes.
        level = float(rng.uniform(0.55, 0.8))
        components = [
            Component(**{**c.__dict__, "albedo": float(level * rng.uniform(0.35, 0.75))}) for c in components
        ]
    elif rng.random() < 0.12:
        # Nearly the substrate's own grey: only rims and shadows show these.
        components = [
            Component(**{**c.__dict__, "albedo": float(level * 1.2 + rng.uniform(0.03, 0.12))})
            for c in components
        ]
    substrate = Substrate(
        kind="tape" if tape else "silicon",
        level=level,
        relief=float(rng.uniform(0.4, 1.3)),
        features_per_field=float(rng.uniform(8, 40)) if tape else float(rng.uniform(0, 2)) * (level < 0.5),
        grain=float(rng.uniform(0.01, 0.14)) if tape else float(rng.uniform(0.0, 0.05)),
        dust=float(rng.choice([0, 10, 80, 400])) if tape else float(rng.choice([0, 5, 30])),
    )
    lattice = regime == "high" and first.shape == "sphere" and first.primaries == 1 and rng.random() < 0.2
    look = Look(
        edge=float(rng.uniform(0.3, 2.2)),
        edge_power=float(rng.uniform(1.0, 4.0)),
        direction=float(rng.uniform(0.0, 0.4)),
        azimuth_rad=float(rng.uniform(0, 2 * np.pi)),
        occlusion=float(rng.uniform(0.2, 0.95)),
        charging=float(rng.choice([0.0, 0.0, rng.uniform(0.02, 0.12)])),
        jitter_px=float(rng.uniform(0, 0.5)),
    )
    return SceneParameters(
        components=tuple(components),
        coverage=float(rng.uniform(0.3, 0.8) if rng.random() < 0.4 else np.exp(rng.uniform(-3.2, -1.0))),
        clumping=float(rng.choice([0.0, 0.2, 0.6])),
        piling=float(rng.choice([0.0, 0.4, 0.9])),
        layout="lattice" if lattice else "random",
        substrate=substrate,
        look=look,
    )


def powder_scene(rng: np.random.Generator) -> SceneParameters:
    """A plausible powder on carbon tape for the virtual microscope: 5 to 16 um, some fines, fair contrast."""
    median_um = float(np.exp(rng.uniform(np.log(6), np.log(14))))
    shape: ShapeKind = ("sphere", "crystal", "fragment", "sphere")[int(rng.integers(4))]
    main = Component(
        shape=shape,
        median_um=median_um,
        sigma_g=float(rng.uniform(1.2, 1.45)),
        albedo=float(rng.uniform(0.62, 0.8)),
        roughness=float(rng.uniform(0.005, 0.03)),
        warp=float(rng.uniform(0.01, 0.08)),
        satellites=1.0 if shape == "sphere" else 0.0,
    )
    fines = Component(
        shape="sphere" if shape == "sphere" else "fragment",
        median_um=median_um * 0.45,
        sigma_g=1.25,
        share=0.4,
        albedo=main.albedo,
        warp=0.04,
    )
    return SceneParameters(
        components=(main, fines),
        coverage=float(rng.uniform(0.1, 0.22)),
        clumping=0.15,
        piling=0.15,
        substrate=Substrate(
            level=float(rng.uniform(0.14, 0.26)), features_per_field=6.0, grain=0.04, dust=20.0
        ),
        look=Look(edge=float(rng.uniform(0.6, 1.2)), edge_power=2.5, azimuth_rad=float(rng.uniform(0, 6.2))),
    )
