"""Frames of a world: one view, its pixels and its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.simulation import optics
from labsem.simulation.scene import Component
from labsem.simulation.shapes import REACH, height_map
from labsem.simulation.substrate import render_substrate
from labsem.simulation.textures import Image
from labsem.simulation.truth import VISIBLE_PIXELS_MIN, TrueParticle, judge
from labsem.simulation.world import Particle, World

SIMULATOR_VERSION: Final = "2"
"""Stamped on all output; raised whenever the same seed gives other pixels."""

Detector = Literal["sed", "bsd"]


@dataclass(frozen=True)
class View:
    """Where the stage stands and how the frame is scanned.

    Attributes
    ----------
    x_mm, y_mm
        Place of the image's centre; x grows to the right, y downwards.
    hfw_um
        Horizontal field width.
    defocus_um
        Error of the working distance; 0 has the powder in focus.
    astigmatism_um
        Distance between the foci of the two axes.
    brightness, contrast
        Offset and gain of the amplifier, in units of the 8-bit range.
    noise_seed
        Two frames with the same seed have the same noise.
    """

    x_mm: float = 0.0
    y_mm: float = 0.0
    hfw_um: float = 100.0
    width_px: int = 1920
    height_px: int = 1200
    defocus_um: float = 0.0
    astigmatism_um: float = 0.0
    dwell_time_ns: float = 400.0
    frame_averages: int = 4
    brightness: float = 0.0
    contrast: float = 1.0
    detector: Detector = "sed"
    noise_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hfw_um", "width_px", "height_px", "dwell_time_ns", "frame_averages"):
            if not getattr(self, name) > 0:
                raise ValueError(f"view.{name}: {getattr(self, name)} must be over 0")
        if min(self.width_px, self.height_px) < 8:
            raise ValueError(f"view: {self.width_px} x {self.height_px} px; a frame has at least 8 x 8")

    @property
    def pixel_um(self) -> float:
        """Edge of a pixel."""
        return self.hfw_um / self.width_px


@dataclass(frozen=True)
class SimulatedFrame:
    """A frame and its truth.

    Attributes
    ----------
    pixels
        (H, W) uint8.
    labels
        (H, W) int32: 0 background, 1 to N the visible particles.
    particles
        The truth of each label, in order.
    """

    pixels: NDArray[np.uint8]
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


@dataclass
class _Canvas:
    height: Image
    albedo: Image
    labels: NDArray[np.int32]
    drawn: list[Particle]
    full_px: list[int]


def render(world: World, view: View) -> SimulatedFrame:
    """Render one frame.

    Equal arguments give equal frames. At another field width, or in a neighbouring field, the same particles
    lie at the same places.
    """
    pixel_um = view.pixel_um
    columns = (
        1000 * view.x_mm + (np.arange(view.width_px, dtype=np.float64) - (view.width_px - 1) / 2) * pixel_um
    )
    rows = (
        1000 * view.y_mm + (np.arange(view.height_px, dtype=np.float64) - (view.height_px - 1) / 2) * pixel_um
    )
    canvas = _draw(world, columns, rows, pixel_um)
    scene, look = world.scene, world.scene.look
    image = render_substrate(world.seed, scene.substrate, look, columns, rows)
    inside = canvas.labels > 0
    if inside.any():
        surface = optics.shade(canvas.height, canvas.albedo, inside, look, view.detector)
        image = np.where(inside, surface, image)
        typical = max(float(np.median([p.radius_um for p in canvas.drawn])) / pixel_um, 4.0)
        shadow = optics.occlusion(canvas.height, typical, look.occlusion)
        image *= np.where(inside, np.sqrt(shadow), shadow)
    rng = np.random.default_rng([world.seed, 31, view.noise_seed])
    focus_um = view.defocus_um + 0.5 * max(c.median_um for c in scene.components)
    image, sigma = optics.blur(image, canvas.height, pixel_um, focus_um, view.astigmatism_um)
    noise = np.asarray(optics.noise_sigma(image, view.dwell_time_ns, view.frame_averages), np.float32)
    labels, ids, full = _relabel(canvas)
    shown = np.clip(image * np.float32(view.contrast) + np.float32(view.brightness), 0, 1)
    particles = judge(labels, ids, full, shown, noise * np.float32(view.contrast), sigma)
    scanned = optics.scan_artefacts(image, look, rng)
    pixels = optics.digitise(
        scanned, view.dwell_time_ns, view.frame_averages, view.brightness, view.contrast, rng
    )
    return SimulatedFrame(pixels, labels, tuple(particles), view, world.seed)


def _draw(world: World, columns: NDArray[np.float64], rows: NDArray[np.float64], pixel_um: float) -> _Canvas:
    """Draw each particle inside its box into a height buffer (in pixels): the higher surface is seen."""
    shape = (len(rows), len(columns))
    canvas = _Canvas(
        np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int32), [], []
    )
    for particle in world.particles(columns[0], rows[0], columns[-1], rows[-1]):
        if particle.radius_um < 0.6 * pixel_um:
            continue
        component = world.scene.components[particle.component]
        reach = REACH[component.shape] * particle.radius_um
        j0, j1 = np.searchsorted(columns, (particle.x_um - reach, particle.x_um + reach))
        i0, i1 = np.searchsorted(rows, (particle.y_um - reach, particle.y_um + reach))
        if i1 - i0 < 2 or j1 - j0 < 2:
            continue
        _draw_one(canvas, particle, component, (i0, i1, j0, j1), columns, rows, pixel_um)
    return canvas


def _draw_one(
    canvas: _Canvas,
    particle: Particle,
    component: Component,
    box: tuple[int, int, int, int],
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    pixel_um: float,
) -> None:
    i0, i1, j0, j1 = box
    radius = particle.radius_um
    height, shade = height_map(
        component,
        particle.seed,
        (columns[j0:j1] - particle.x_um) / radius,
        (rows[i0:i1] - particle.y_um) / radius,
    )
    inside = height > 0
    canvas.drawn.append(particle)
    canvas.full_px.append(int(np.count_nonzero(inside)))
    raised = height * np.float32(radius / pixel_um) + np.float32(particle.base_um / pixel_um)
    before = canvas.height[i0:i1, j0:j1]
    seen = inside & (raised > before)
    np.copyto(before, raised, where=seen)
    np.copyto(canvas.albedo[i0:i1, j0:j1], shade * np.float32(component.albedo), where=seen)
    np.copyto(canvas.labels[i0:i1, j0:j1], np.int32(len(canvas.drawn)), where=seen)


def _relabel(canvas: _Canvas) -> tuple[NDArray[np.int32], list[int], list[int]]:
    """Labels 1 to N of what is seen enough of; crumbs of a particle beside its largest piece are dropped."""
    sizes = np.bincount(canvas.labels.ravel(), minlength=len(canvas.drawn) + 1)
    labels = canvas.labels.copy()
    for index, place in enumerate(ndimage.find_objects(canvas.labels), start=1):
        if place is None or sizes[index] == canvas.full_px[index - 1]:
            continue
        mine = canvas.labels[place] == index
        pieces, count = ndimage.label(mine)
        if count > 1:
            piece_sizes = np.bincount(pieces.ravel())
            piece_sizes[0] = 0
            largest = piece_sizes.max()
            crumbs = mine & (piece_sizes[pieces] < 0.15 * largest)
            labels[place][crumbs] = 0
            sizes[index] -= int(np.count_nonzero(crumbs))
    kept = [k for k in range(1, len(canvas.drawn) + 1) if sizes[k] >= VISIBLE_PIXELS_MIN]
    renumbered = np.zeros(len(canvas.drawn) + 1, np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    return (
        np.asarray(renumbered[labels]),
        [canvas.drawn[k - 1].particle_id for k in kept],
        [canvas.full_px[k - 1] for k in kept],
    )
