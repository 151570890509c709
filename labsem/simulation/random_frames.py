"""Frames of which everything is drawn at random, for training and for judging."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from labsem.simulation.optics import CONVERGENCE_RAD, GAUSSIAN_OF_DISC
from labsem.simulation.powders import random_scene
from labsem.simulation.render import SimulatedFrame, render
from labsem.simulation.scene import Detector, Regime, SceneParameters
from labsem.simulation.view import View
from labsem.simulation.world import World

HFW_UM: Final[dict[Regime, tuple[float, float]]] = {"low": (60.0, 1500.0), "high": (3.0, 50.0)}
"""Range of field widths of each regime: over and under 10,000x on a display of 0.5 m."""

SPOILED: Final = 0.06
"""Share of frames out of focus or in haste, which an operator would take again; the others are kept.

With it, a quarter of a frame's particles are uncertain by the rule of :mod:`labsem.simulation.truth` (mean of 80
frames: 26 %); an annotator found 20 % of 2,562 in published micrographs so.
"""

BLUR_PX: Final[dict[Regime, tuple[float, float]]] = {"low": (0.1, 1.2), "high": (0.2, 2.5)}
"""Range of the defocus blur's standard deviation in frames that were kept."""

SPOILED_BLUR_PX: Final[dict[Regime, tuple[float, float]]] = {"low": (1.0, 4.0), "high": (2.0, 7.0)}

KEPT_BLUR_SHARE: Final = 0.06
"""Of the typical diameter: nobody keeps a frame whose particles are blurred more (standard deviation)."""

MOST_PARTICLES: Final = 450
MOST_SMALL_PARTICLES: Final = 700
SMALL_PX: Final = 18.0
"""Frames are kept under about so many bodies (twice that in a bed, where most lie hidden); small: under so wide."""

FEWEST_BODIES: Final = 4

FEWEST_NS: Final = 2000.0
SPOILED_NS: Final = 400.0
"""Least dwell time x averages, of kept and of spoiled frames; a full scan of good quality takes 2,000 ns and more."""


STUB_HFW_UM: Final[dict[Regime, tuple[float, float]]] = {"low": (60.0, 300.0), "high": (20.0, 50.0)}
"""Range of field widths in which the virtual microscope's powders (6 to 14 um) are looked at."""


def random_frame(seed: int, regime: Regime, width_px: int = 1024, height_px: int = 768) -> SimulatedFrame:
    """A frame of which powder, substrate and scan are all drawn from the seed."""
    world, view = random_world(seed, regime, width_px, height_px)
    return render(world, view)


def random_world(seed: int, regime: Regime, width_px: int = 1024, height_px: int = 768) -> tuple[World, View]:
    """The world and the view that :func:`random_frame` renders."""
    rng = np.random.default_rng([seed, 0 if regime == "low" else 1, 41])
    low_um, high_um = HFW_UM[regime]
    hfw_um = float(np.exp(rng.uniform(np.log(low_um), np.log(high_um))))
    pixel_um = hfw_um / width_px
    scene = random_scene(rng, hfw_um, regime)
    scene = _with_bodies(scene, hfw_um**2 * height_px / width_px, pixel_um)
    view = _random_view(rng, regime, scene, hfw_um, width_px, height_px)
    return World(int(rng.integers(2**62)), scene), view


def stub_world(seed: int, regime: Regime, width_px: int = 1024, height_px: int = 768) -> tuple[World, View]:
    """A powder of the virtual microscope, on carbon tape, at a random place and field width, scanned at random."""
    rng = np.random.default_rng([seed, 0 if regime == "low" else 1, 43])
    hfw_um = float(np.exp(rng.uniform(*np.log(STUB_HFW_UM[regime]))))
    world = World(int(rng.integers(2**62)))
    return world, _random_view(rng, regime, world.scene, hfw_um, width_px, height_px)


def _random_view(
    rng: np.random.Generator,
    regime: Regime,
    scene: SceneParameters,
    hfw_um: float,
    width_px: int,
    height_px: int,
) -> View:
    pixel_um = hfw_um / width_px
    detector: Detector = "sed" if rng.random() < 0.6 else "bsd"
    spoiled = rng.random() < SPOILED
    blur_px = float(np.exp(rng.uniform(*np.log((SPOILED_BLUR_PX if spoiled else BLUR_PX)[regime]))))
    if not spoiled:
        blur_px = min(blur_px, KEPT_BLUR_SHARE * scene.typical_um / pixel_um)
    defocus_um = blur_px * pixel_um / (GAUSSIAN_OF_DISC * CONVERGENCE_RAD) * float(rng.choice([-1, 1]))
    dwell_time_ns, averages = (
        float(rng.choice([50, 100, 200, 500, 1000, 4000])),
        int(rng.choice([1, 2, 4, 16])),
    )
    averages = max(averages, int(np.ceil((SPOILED_NS if spoiled else FEWEST_NS) / dwell_time_ns)))
    view = View(
        x_mm=float(rng.uniform(-5, 5)),
        y_mm=float(rng.uniform(-5, 5)),
        hfw_um=hfw_um,
        width_px=width_px,
        height_px=height_px,
        defocus_um=defocus_um,
        astigmatism_um=float(rng.choice([0.0, 0.0, 0.5])) * abs(defocus_um),
        accelerating_voltage_kv=float(rng.choice([5.0, 10.0, 15.0])),
        dwell_time_ns=dwell_time_ns,
        frame_averages=averages,
        brightness=float(rng.uniform(-0.06, 0.1)),
        contrast=float(rng.uniform(0.45, 1.15)) / scene.brightest[detector],
        detector=detector,
        vibration_nm=float(rng.uniform(0, 0.5)) * 1000 * pixel_um * averages**0.5,
        vignetting=float(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.35)])),
        noise_seed=int(rng.integers(2**31)),
    )
    if rng.random() < 0.15:
        span_nm = rng.uniform(-3, 3, 2) * 1000 * pixel_um
        drift = span_nm / (view.scan_s * max(averages - 1, 1))
        view = replace(view, drift_x_nm_s=float(drift[0]), drift_y_nm_s=float(drift[1]))
    return view


def _with_bodies(scene: SceneParameters, area_um2: float, pixel_um: float) -> SceneParameters:
    """The scene with its coverage bounded, so that a frame holds some particles and not thousands."""
    shares = [c.share for c in scene.components]
    mean_um2 = (
        np.pi
        / 4
        * float(np.average([c.sizes.mean_square_um2 * c.primaries for c in scene.components], weights=shares))
    )
    members = float(np.average([1 if c.fused else c.primaries for c in scene.components], weights=shares))
    small = scene.typical_um < SMALL_PX * pixel_um
    most = (MOST_SMALL_PARTICLES if small else MOST_PARTICLES) * (2 if scene.coverage > 0.9 else 1)
    one = mean_um2 / area_um2  # coverage by one body
    return replace(
        scene,
        coverage=min(max(scene.coverage, FEWEST_BODIES * one), max(most / members, FEWEST_BODIES) * one),
    )
