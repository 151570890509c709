"""Frames on which only sharpness, noise or contrast changes: to judge what a network says of its certainty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from labsem.simulation.materials import IRON, SILICON, TAPE, Material
from labsem.simulation.optics import CONVERGENCE_RAD, FWHM, GAUSSIAN_OF_DISC
from labsem.simulation.render import SimulatedFrame, render
from labsem.simulation.scene import (
    Component,
    Look,
    Regime,
    SceneParameters,
    ShapeKind,
    Substrate,
    TextureKind,
)
from labsem.simulation.sizes import LogNormal
from labsem.simulation.truth import CERTAIN_BLUR
from labsem.simulation.view import View
from labsem.simulation.world import World

LADDER_SEEDS: Final = range(24)
"""The scenes that figures are given over: even ones at low magnification, odd ones at high."""

BLURS: Final = (0.25, 4.0)
"""Blur of the first and last level of a ladder, over the widest with which a particle is certain."""

DOSES_NS: Final = (1600.0, 6.0)
"""Dwell time x averages of the first and last level of a ladder."""

UNCLEAR_BLUR: Final = 2.2
"""Blur of the frame out of focus, over the widest with which the median particle is certain."""


@dataclass(frozen=True)
class GeometryPair:
    """Two frames of one scene with equal label images, of which one shows hardly any edges.

    Attributes
    ----------
    kind
        What ails ``unclear``: ``focus`` (out of it), or ``contrast`` (the powder has the substrate's grey).
    """

    kind: Literal["focus", "contrast"]
    clear: SimulatedFrame
    unclear: SimulatedFrame

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels certain in ``clear`` and uncertain in ``unclear``: the same masks once on either side."""
        pairs = zip(self.clear.particles, self.unclear.particles, strict=True)
        return tuple(good.label for good, bad in pairs if good.certain and not bad.certain)


def blur_ladder(
    seed: int, levels: int = 6, *, width_px: int = 960, height_px: int = 600
) -> tuple[SimulatedFrame, ...]:
    """One scene and view at rising defocus, the first in focus; labels and boxes are the same at each level.

    Parameters
    ----------
    seed
        Even: low magnification, odd: high. Figures are given over :data:`LADDER_SEEDS`.
    levels
        At least 2.
    """
    world, view = _scene(seed, width_px, height_px)
    at = np.geomspace(*BLURS, _checked(levels))
    return tuple(render(world, replace(view, defocus_um=_defocus_um(world, float(x)))) for x in at)


def noise_ladder(
    seed: int, levels: int = 6, *, width_px: int = 960, height_px: int = 600
) -> tuple[SimulatedFrame, ...]:
    """One scene and view at falling dwell time; labels and boxes are the same at each level.

    Parameters are those of :func:`blur_ladder`.
    """
    world, view = _scene(seed, width_px, height_px)
    doses_ns = np.geomspace(*DOSES_NS, _checked(levels))
    return tuple(
        render(world, replace(view, dwell_time_ns=float(dose), frame_averages=1)) for dose in doses_ns
    )


def equal_geometry_pairs(
    seed: int, *, width_px: int = 960, height_px: int = 600
) -> tuple[GeometryPair, GeometryPair]:
    """The same scene in and out of focus, and with strong and weak edges.

    Whatever is computed from masks alone is equal on both sides of a pair, so that it cannot tell them apart.
    ``seed`` is that of :func:`blur_ladder`.
    """
    world, view = _scene(seed, width_px, height_px)
    clear = render(world, view)
    far = render(world, replace(view, defocus_um=_defocus_um(world, UNCLEAR_BLUR)))
    faint = render(World(world.seed, _without_contrast(world.scene)), replace(view, noise_seed=seed + 1))
    return GeometryPair("focus", clear, far), GeometryPair("contrast", clear, faint)


def _checked(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"levels: {levels}; a ladder has at least 2")
    return levels


def _scene(seed: int, width_px: int, height_px: int) -> tuple[World, View]:
    """Particles of about 20 to 60 px that mostly stand clear, sharp and well lit."""
    rng = np.random.default_rng([seed, 61])
    regime: Regime = "low" if seed % 2 == 0 else "high"
    hfw_um = float(np.exp(rng.uniform(np.log(100), np.log(800)) if regime == "low" else rng.uniform(2, 3.8)))
    shapes: tuple[ShapeKind, ...] = ("sphere", "crystal", "fragment", "agglomerate", "sphere", "plate")
    textures: tuple[TextureKind, ...] = ("fine", "dusty", "granular")
    shape = shapes[int(rng.integers(len(shapes)))]
    component = Component(
        shape=shape,
        sizes=LogNormal(hfw_um * float(rng.uniform(0.03, 0.06)), float(rng.uniform(1.1, 1.35))),
        albedo=float(rng.uniform(0.6, 0.8)),
        material=IRON,
        texture="granular" if shape == "agglomerate" else textures[int(rng.integers(len(textures)))],
        roughness=float(rng.uniform(0.01, 0.05)),
        warp=0.08 if shape == "agglomerate" else 0.03,
    )
    tape = rng.random() < 0.7
    scene = SceneParameters(
        (component,),
        coverage=float(rng.uniform(0.12, 0.25)),
        clumping=0.1,
        piling=0.1,
        substrate=Substrate(
            kind="tape" if tape else "silicon",
            level=float(rng.uniform(0.12, 0.28)),
            material=TAPE if tape else SILICON,
            features_per_field=8.0 if tape else 0.0,
            grain=float(rng.uniform(0.01, 0.05)),
            dust=20.0,
        ),
        look=Look(edge=float(rng.uniform(0.6, 1.4)), azimuth_rad=float(rng.uniform(0, 2 * np.pi))),
    )
    detector: Literal["sed", "bsd"] = "sed" if rng.random() < 0.5 else "bsd"
    view = View(
        hfw_um=hfw_um,
        width_px=width_px,
        height_px=height_px,
        detector=detector,
        dwell_time_ns=1600.0,
        frame_averages=2,
        contrast=0.9 / scene.brightest[detector],
        noise_seed=seed,
    )
    return World(seed, scene), view


def _defocus_um(world: World, blur: float) -> float:
    """Defocus whose disc is ``blur`` times as wide as the widest with which the median particle is certain."""
    sigma_um = blur * CERTAIN_BLUR * world.scene.typical_um / FWHM
    return sigma_um / (GAUSSIAN_OF_DISC * CONVERGENCE_RAD)


def _without_contrast(scene: SceneParameters) -> SceneParameters:
    """The same bodies in nearly the substrate's grey, without edges or shadows."""
    grey = Material("grey", scene.substrate.material.atomic_number + 0.15)
    components = tuple(
        replace(c, albedo=scene.substrate.level * 1.02 / 0.72, material=grey) for c in scene.components
    )
    return replace(
        scene,
        components=components,
        look=replace(scene.look, edge=0.05, direction=0.0, occlusion=0.03),
    )
