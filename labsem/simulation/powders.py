"""Powders to draw from: wide ones for training, plausible ones for the virtual microscope."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np

from labsem.simulation.materials import IRON, POWDERS, SILICON, TAPE, Material
from labsem.simulation.scene import (
    SHAPES,
    Component,
    Look,
    Regime,
    SceneParameters,
    ShapeKind,
    Substrate,
    TextureKind,
)
from labsem.simulation.sizes import Bimodal, LogNormal, Sizes

SceneKind = Literal["mixed", "oxide", "bed", "crowd", "atomised", "cluster"]

KINDS: Final[dict[Regime, dict[SceneKind, float]]] = {
    "low": {"mixed": 0.35, "oxide": 0.2, "bed": 0.12, "crowd": 0.13, "atomised": 0.15, "cluster": 0.05},
    "high": {"mixed": 0.4, "oxide": 0.06, "bed": 0.07, "crowd": 0.09, "atomised": 0.03, "cluster": 0.35},
}
"""How often a random scene is of each kind.

``oxide``: granular agglomerates and fragments, often in chains; ``bed``: powder fills the field; ``crowd``: hundreds
of small particles; ``atomised``: spheres with satellites and drops; ``cluster``: touching or fused primaries.
"""

SHARE_OF_FIELD: Final[dict[Regime, dict[SceneKind, tuple[float, float]]]] = {
    "low": {
        "mixed": (0.012, 0.1),
        "oxide": (0.015, 0.1),
        "bed": (0.025, 0.12),
        "crowd": (0.012, 0.025),
        "atomised": (0.025, 0.13),
        "cluster": (0.01, 0.05),
    },
    "high": {
        "mixed": (0.035, 0.28),
        "oxide": (0.06, 0.3),
        "bed": (0.04, 0.18),
        "crowd": (0.014, 0.03),
        "atomised": (0.08, 0.25),
        "cluster": (0.02, 0.15),
    },
}
"""Range of the typical diameter over the field's width."""

CLUSTER_SHARE: Final = 0.3
"""Clusters are at most about so large a part of the field's width, as an operator would choose it."""

_SHAPE_WEIGHTS: Final[dict[Regime, tuple[float, ...]]] = {
    "low": (0.32, 0.16, 0.06, 0.06, 0.05, 0.18, 0.11, 0.06),
    "high": (0.42, 0.2, 0.08, 0.08, 0.1, 0.07, 0.05, 0.0),
}

_SHAPES_OF: Final[dict[SceneKind, tuple[ShapeKind, ...]]] = {
    "oxide": ("agglomerate", "agglomerate", "fragment"),
    "atomised": ("sphere", "sphere", "drop"),
    "cluster": ("sphere", "sphere", "sphere", "crystal", "crystal", "rod"),
}


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sizes(rng: np.random.Generator, median_um: float, widest: float) -> Sizes:
    main = LogNormal(median_um, float(rng.uniform(1.05, widest)))
    if rng.random() > 0.2:
        return main
    fine = LogNormal(median_um * _log_uniform(rng, 0.3, 0.6), float(rng.uniform(1.05, 1.4)))
    return Bimodal(fine, main, float(rng.uniform(0.2, 0.7)))


def _texture(rng: np.random.Generator, shape: ShapeKind) -> tuple[TextureKind, float]:
    """Kind and roughness of a powder's surface."""
    if shape == "agglomerate":
        return "granular", float(rng.uniform(0.04, 0.14))
    kinds: tuple[TextureKind, ...] = ("fine", "fine", "fine", "dusty", "cracks", "pits", "granular")
    kind = kinds[int(rng.integers(len(kinds)))]
    most = {"fine": 0.07, "dusty": 0.05, "cracks": 0.05, "pits": 0.04, "granular": 0.05}[kind]
    return kind, float(rng.uniform(0.0, most))


def _component(
    rng: np.random.Generator, median_um: float, largest_um: float, regime: Regime, kind: SceneKind
) -> Component:
    """A component with primaries of about ``median_um``, and clusters of at most about ``largest_um``."""
    if kind in _SHAPES_OF:
        shape = _SHAPES_OF[kind][int(rng.integers(len(_SHAPES_OF[kind])))]
    else:
        weights = np.array(_SHAPE_WEIGHTS[regime])
        shape = SHAPES[int(rng.choice(len(SHAPES), p=weights / weights.sum()))]
    clustered = kind == "cluster" or rng.random() < {
        "mixed": 0.1 if regime == "low" else 0.3,
        "oxide": 0.5,
    }.get(kind, 0.0)
    primaries = int(rng.integers(3, 8 if kind == "oxide" else 13)) if clustered else 1
    median_um = min(median_um, largest_um / primaries ** (1 / 3))
    can_fuse = shape in ("sphere", "crystal")
    texture, roughness = _texture(rng, shape)
    warp = {"agglomerate": (0.05, 0.16), "fragment": (0.02, 0.12), "sphere": (0.0, 0.04)}.get(
        shape, (0.0, 0.025)
    )
    satellites = (1, 2, 5) if kind == "atomised" else (0, 0, 1, 3)
    return Component(
        shape=shape,
        sizes=_sizes(rng, median_um, 1.7 if regime == "low" else 1.4),
        albedo=float(rng.uniform(0.4, 0.9)),
        material=POWDERS[int(rng.integers(len(POWDERS)))],
        texture=texture,
        roughness=roughness,
        warp=float(rng.uniform(*warp)),
        satellites=float(rng.choice(satellites)) if shape in ("sphere", "drop") else 0.0,
        primaries=primaries,
        neck=float(rng.choice([0.0, rng.uniform(0.25, 0.7), rng.uniform(0.9, 0.95)], p=[0.45, 0.45, 0.1]))
        if clustered and can_fuse
        else 0.0,
    )


def _substrate(rng: np.random.Generator, tape: bool) -> Substrate:
    level = float(rng.uniform(0.03, 0.42))
    return Substrate(
        kind="tape" if tape else "silicon",
        level=level,
        material=Material(TAPE.name, float(rng.uniform(5.5, 8.0))) if tape else SILICON,
        relief=float(rng.uniform(0.4, 1.3)),
        features_per_field=float(rng.uniform(8, 40)) if tape else float(rng.uniform(0, 2)),
        grain=float(rng.uniform(0.01, 0.14)) if tape else float(rng.uniform(0.0, 0.05)),
        dust=float(rng.choice([0, 10, 80, 400, 3000])) if tape else float(rng.choice([0, 5, 30])),
    )


def _with_contrast(
    rng: np.random.Generator, components: list[Component], substrate: Substrate
) -> tuple[list[Component], Substrate]:
    """Mostly bright powder on dark ground; now and then dark powder on a bright one, or hardly any contrast."""
    which = rng.random()
    if substrate.kind == "silicon" and which < 0.12:
        # Never on tape, whose dark places are holes.
        level = float(rng.uniform(0.55, 0.8))
        ground = Material("metal", float(rng.uniform(25, 50)))
        dark = Material("organic", float(rng.uniform(5.5, 12)), insulating=True)
        substrate = replace(substrate, level=level, material=ground, features_per_field=0.0)
        return [
            replace(c, albedo=level * float(rng.uniform(0.35, 0.75)), material=dark) for c in components
        ], substrate
    if which < 0.17:
        # Nearly the substrate's own grey: only rims and shadows show these.
        z = substrate.material.atomic_number
        return [
            replace(
                c,
                albedo=substrate.level * 1.2 + float(rng.uniform(0.03, 0.12)),
                material=Material("light", z + float(rng.uniform(0.5, 2.0)), c.material.insulating),
            )
            for c in components
        ], substrate
    ground_z = substrate.material.atomic_number
    visible = [m for m in POWDERS if m.atomic_number > 1.5 * ground_z]
    return [
        c
        if c.material.atomic_number > 1.5 * ground_z
        else replace(c, material=visible[int(rng.integers(len(visible)))])
        for c in components
    ], substrate


def _look(rng: np.random.Generator) -> Look:
    return Look(
        edge=float(rng.uniform(0.3, 2.2)),
        edge_power=float(rng.uniform(0.7, 3.5)),
        direction=float(rng.uniform(0.0, 0.5)),
        azimuth_rad=float(rng.uniform(0, 2 * np.pi)),
        occlusion=float(rng.uniform(0.2, 0.95)),
        charging=float(rng.uniform(0.03, 0.15)) if rng.random() < 0.5 else 0.0,
    )


def random_scene(rng: np.random.Generator, hfw_um: float, regime: Regime) -> SceneParameters:
    """A scene to be looked at with about ``hfw_um``, with every parameter drawn at random.

    For training: wider than any one powder (domain randomisation, Tobin et al., IROS 2017).
    """
    kinds = KINDS[regime]
    kind = tuple(kinds)[int(rng.choice(len(kinds), p=np.array(tuple(kinds.values()))))]
    median_um = hfw_um * _log_uniform(rng, *SHARE_OF_FIELD[regime][kind])
    first = _component(rng, median_um, CLUSTER_SHARE * hfw_um, regime, kind)
    components = [first]
    if rng.random() < 0.45:
        finest = 0.6 if kind == "crowd" else 0.4
        other_um = median_um * _log_uniform(rng, finest, 0.9)
        other = _component(rng, other_um, CLUSTER_SHARE * hfw_um, regime, kind)
        if rng.random() < 0.5:
            albedo = float(np.clip(first.albedo + rng.normal(0, 0.05), 0.2, 0.95))
            other = replace(other, albedo=albedo, material=first.material)
        components.append(replace(other, share=float(rng.uniform(0.3, 1.5))))
    tape = kind == "oxide" or rng.random() < (0.8 if regime == "low" else 0.55)
    components, substrate = _with_contrast(rng, components, _substrate(rng, tape))
    lattice = (
        kind == "mixed"
        and regime == "high"
        and median_um > 0.05 * hfw_um
        and (first.shape, first.primaries) == ("sphere", 1)
        and rng.random() < 0.3
    )
    dense = rng.random() < 0.4
    coverage = float(rng.uniform(0.3, 0.8)) if dense else _log_uniform(rng, 0.04, 0.37)
    bed = kind == "bed"
    return SceneParameters(
        components=tuple(components),
        coverage=float(rng.uniform(0.9, 1.7)) if bed else coverage,
        clumping=float(rng.choice([0.0, 0.2, 0.6])) if kind != "oxide" else float(rng.uniform(0.3, 0.8)),
        piling=1.0 if bed else float(rng.choice([0.0, 0.4, 0.9])),
        layout="lattice" if lattice else "random",
        substrate=substrate,
        look=_look(rng),
    )


def powder_scene(rng: np.random.Generator) -> SceneParameters:
    """A plausible powder on carbon tape for the virtual microscope: 5 to 16 um, some fines, fair contrast."""
    median_um = _log_uniform(rng, 6, 14)
    shape: ShapeKind = ("sphere", "crystal", "fragment", "sphere")[int(rng.integers(4))]
    main = Component(
        shape=shape,
        sizes=LogNormal(median_um, float(rng.uniform(1.2, 1.45))),
        albedo=float(rng.uniform(0.62, 0.8)),
        material=IRON,
        roughness=float(rng.uniform(0.005, 0.03)),
        warp=float(rng.uniform(0.01, 0.08)),
        satellites=1.0 if shape == "sphere" else 0.0,
    )
    fines = replace(
        main,
        shape="sphere" if shape == "sphere" else "fragment",
        sizes=LogNormal(median_um * 0.45, 1.25),
        share=0.4,
        warp=0.04,
        satellites=0.0,
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
