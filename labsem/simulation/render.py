"""Frames of a world: one view, its pixels and its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.simulation import optics, scan
from labsem.simulation.canvas import Canvas
from labsem.simulation.scene import SceneParameters
from labsem.simulation.shapes import HEIGHTS
from labsem.simulation.signal import occlusion, shade
from labsem.simulation.substrate import render_substrate
from labsem.simulation.textures import Image
from labsem.simulation.truth import TrueParticle, judge
from labsem.simulation.view import View
from labsem.simulation.world import World

SIMULATOR_VERSION: Final = "4"
"""Stamped on all output; raised whenever the same seed gives other pixels."""

MARGIN_PX: Final = (6, 48)
"""Fewest and most pixels that are drawn around a frame."""


@dataclass(frozen=True)
class SimulatedFrame:
    """A frame and its truth.

    Attributes
    ----------
    pixels
        (H, W) uint8, or uint16 where the view has 16 bits.
    labels
        (H, W) int32: 0 background, 1 to N the visible particles.
    particles
        The truth of each label, in order.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.int32]
    particles: tuple[TrueParticle, ...]
    view: View
    seed: int
    simulator_version: str = SIMULATOR_VERSION

    @property
    def pixel_size_nm(self) -> float:
        """Edge of a pixel."""
        return 1000 * self.view.pixel_um

    @cached_property
    def uncertain(self) -> NDArray[np.int32]:
        """(H, W) label image of those particles alone that are not certain."""
        keep = np.array([0, *(0 if p.certain else p.label for p in self.particles)], np.int32)
        return np.asarray(keep[self.labels])

    @property
    def uncertain_fraction(self) -> float:
        """Uncertain over all labels; 0 where there are none."""
        return sum(not p.certain for p in self.particles) / max(len(self.particles), 1)

    @cached_property
    def boxes(self) -> NDArray[np.int32]:
        """(N, 4) x0, y0, x1, y1 of each label in px, the ends exclusive."""
        places = [place for place in ndimage.find_objects(self.labels) if place is not None]
        found = [(x.start, y.start, x.stop, y.stop) for y, x in places]
        return np.array(found, np.int32).reshape(-1, 4)


def render(world: World, view: View) -> SimulatedFrame:
    """Render one frame.

    Equal arguments give equal frames. At another field width, or in a neighbouring field, the same particles
    lie at the same places; neighbouring frames continue each other but for noise, vibration, drift, charging and
    vignetting, which belong to a scan.
    """
    scene, pixel_um = world.scene, view.pixel_um
    typical_px = max(0.5 * scene.typical_um / pixel_um, 4.0)
    focus_um = view.defocus_um + 0.5 * scene.typical_um
    widest = optics.blur_sigma_px(
        abs(view.defocus_um) + 0.5 * abs(view.astigmatism_um),
        pixel_um,
        view.accelerating_voltage_kv,
        view.spot,
    )
    margin = int(np.clip(max(3 * widest, 0.5 * typical_px), *MARGIN_PX))
    columns = _axis(view.x_mm, view.width_px, margin, pixel_um)
    rows = _axis(view.y_mm, view.height_px, margin, pixel_um)
    canvas = Canvas(columns, rows, margin)
    canvas.draw(world, view.detector)
    image = _surface(world, view, canvas, typical_px)
    image, sigma = optics.blur(
        image,
        canvas.height,
        pixel_um,
        _top_um(scene),
        focus_um,
        view.astigmatism_um,
        view.accelerating_voltage_kv,
        view.spot,
    )
    rng = np.random.default_rng([world.seed, 31, view.noise_seed])
    vibration, shear = (
        np.pad(lines, margin, mode="edge")
        for lines in (scan.line_vibration_px(view, rng), scan.drift_shear_px(view))
    )
    image = scan.shift_rows(image, vibration + shear)
    canvas.labels = scan.shift_labels(canvas.labels, shear)
    inner = (slice(margin, margin + view.height_px), slice(margin, margin + view.width_px))
    image, sigma = image[inner], sigma if isinstance(sigma, float) else sigma[inner]
    labels, found, full_px = canvas.framed_labels()
    insulating = np.array([False, *(scene.components[p.component].material.insulating for p in found)])
    image = _charged(image, insulating[labels], scene.look.charging * view.charging, view, rng)
    image = scan.drift_blur(image, view) * scan.vignette(view)
    noise = np.asarray(
        scan.noise_sigma(image, view.spot**2 * view.dwell_time_ns, view.frame_averages), np.float32
    )
    shown = np.clip(image * np.float32(view.contrast) + np.float32(view.brightness), 0, 1)
    ids = [p.particle_id for p in found]
    particles = judge(labels, ids, full_px, shown, noise * np.float32(view.contrast), sigma)
    return SimulatedFrame(scan.digitise(image, noise, view, rng), labels, tuple(particles), view, world.seed)


def _charged(
    image: Image, insulating: NDArray[np.bool_], strength: float, view: View, rng: np.random.Generator
) -> Image:
    image = scan.charge(image, insulating, strength, view.accelerating_voltage_kv, rng)
    if not insulating.any():
        return image
    deflection = scan.charge_deflection_px(image.shape, strength, view.accelerating_voltage_kv, rng)
    return image if deflection is None else scan.shift_rows(image, deflection)


def _axis(centre_mm: float, pixels: int, margin: int, pixel_um: float) -> NDArray[np.float64]:
    steps = np.arange(-margin, pixels + margin, dtype=np.float64) - (pixels - 1) / 2
    return np.asarray(1000 * centre_mm + steps * pixel_um)


def _surface(world: World, view: View, canvas: Canvas, typical_px: float) -> Image:
    """Signal of substrate and particles before the beam's blur."""
    scene = world.scene
    image = render_substrate(world.seed, scene.substrate, scene.look, view, canvas.columns, canvas.rows)
    inside = canvas.labels > 0
    if not inside.any():
        return image
    surface = shade(canvas.height, canvas.albedo, inside, scene.look, view.detector)
    shadow = occlusion(canvas.height, typical_px, scene.look)
    np.sqrt(shadow, out=shadow, where=inside)
    np.copyto(image, surface, where=inside)
    image *= shadow
    return image


def _top_um(scene: SceneParameters) -> float:
    """Height of nearly all of the powder."""
    return max(0.5 * c.sizes.largest_um * HEIGHTS[c.shape] for c in scene.components)
