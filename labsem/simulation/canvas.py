"""Draws the particles of a view into a height buffer: the higher surface is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.simulation.bodies import Particle
from labsem.simulation.scene import Component, Detector
from labsem.simulation.shapes import height_map
from labsem.simulation.textures import Image
from labsem.simulation.truth import VISIBLE_PIXELS_MIN
from labsem.simulation.world import World

SMALLEST_PX = 0.6
"""Particles of a smaller radius are not drawn."""

NOTHING = np.float32(-1e6)
"""Height in pixels where there is no surface."""

CRUMB = 0.15
"""Pieces of a particle under this share of its largest piece get no label."""

Axis = NDArray[np.float64]


@dataclass(frozen=True)
class _Surface:
    """A particle's pixels: the rectangle, heights (px, :data:`NOTHING` outside), factors on the grey level."""

    i0: int
    j0: int
    height: Image
    shade: Image

    @property
    def place(self) -> tuple[slice, slice]:
        rows, columns = self.height.shape
        return slice(self.i0, self.i0 + rows), slice(self.j0, self.j0 + columns)


class Canvas:
    """A view's surface, with a margin around the frame so that blur and shadows come in from outside.

    Attributes
    ----------
    height, albedo
        (H, W) float32 with the margin: height over the stub in pixels, grey level of a flat face.
    labels
        (H, W) int32: 0, or 1 + the particle's place in ``drawn``.
    full_px
        Of each particle drawn, its unoccluded area within the frame, without the margin.
    """

    def __init__(self, columns: Axis, rows: Axis, margin_px: int) -> None:
        shape = (len(rows), len(columns))
        self.columns, self.rows, self.margin_px = columns, rows, margin_px
        self.pixel_um = float(columns[1] - columns[0])
        self.height = np.zeros(shape, np.float32)
        self.albedo = np.zeros(shape, np.float32)
        self.labels = np.zeros(shape, np.int32)
        self.drawn: list[Particle] = []
        self.full_px: list[int] = []

    def draw(self, world: World, detector: Detector) -> None:
        """Draw all particles of a world that reach into the view."""
        components = world.scene.components
        levels = [component.level(detector) for component in components]
        for particle in world.particles(self.columns[0], self.rows[0], self.columns[-1], self.rows[-1]):
            if particle.radius_um < SMALLEST_PX * self.pixel_um:
                continue
            surface = self._surface(particle, components)
            if surface is not None:
                self._put(particle, surface, levels[particle.component])

    def _put(self, particle: Particle, surface: _Surface, level: float) -> None:
        inside = surface.height > NOTHING
        self.drawn.append(particle)
        self.full_px.append(int(np.count_nonzero(inside[self._framed(surface)])))
        before = self.height[surface.place]
        seen = inside & (surface.height > before)
        np.copyto(before, surface.height, where=seen)
        np.copyto(self.albedo[surface.place], surface.shade * np.float32(level), where=seen)
        np.copyto(self.labels[surface.place], np.int32(len(self.drawn)), where=seen)

    def _framed(self, surface: _Surface) -> tuple[slice, slice]:
        """The part of a surface's rectangle that lies in the frame."""
        m = self.margin_px
        (rows, columns), (height, width) = surface.height.shape, self.labels.shape
        return (
            slice(max(m - surface.i0, 0), max(min(height - m - surface.i0, rows), 0)),
            slice(max(m - surface.j0, 0), max(min(width - m - surface.j0, columns), 0)),
        )

    def _box(self, particle: Particle, component: Component) -> tuple[int, int, int, int] | None:
        reach = particle.extent_um(component)
        j0, j1 = np.searchsorted(self.columns, (particle.x_um - reach, particle.x_um + reach))
        i0, i1 = np.searchsorted(self.rows, (particle.y_um - reach, particle.y_um + reach))
        return None if i1 - i0 < 2 or j1 - j0 < 2 else (int(i0), int(i1), int(j0), int(j1))

    def _surface(self, particle: Particle, components: tuple[Component, ...]) -> _Surface | None:
        component = components[particle.component]
        box = self._box(particle, component)
        if box is None:
            return None
        i0, i1, j0, j1 = box
        if particle.parts:
            return self._fused(particle, components, box)
        radius = particle.radius_um
        height, shade = height_map(
            component,
            particle.seed,
            (self.columns[j0:j1] - particle.x_um) / radius,
            (self.rows[i0:i1] - particle.y_um) / radius,
            particle.necks,
        )
        inside = height > 0
        height *= np.float32(radius / self.pixel_um)
        height += np.float32(particle.base_um / self.pixel_um)
        height[~inside] = NOTHING
        return _Surface(i0, j0, height, shade)

    def _fused(
        self, particle: Particle, components: tuple[Component, ...], box: tuple[int, int, int, int]
    ) -> _Surface:
        """The primaries of one particle, joined by a smooth maximum."""
        i0, i1, j0, j1 = box
        whole = _Surface(
            i0, j0, np.full((i1 - i0, j1 - j0), NOTHING), np.ones((i1 - i0, j1 - j0), np.float32)
        )
        for part in particle.parts:
            surface = self._surface(part, components)
            if surface is None:
                continue
            rows, columns = surface.height.shape
            place = (
                slice(surface.i0 - i0, surface.i0 - i0 + rows),
                slice(surface.j0 - j0, surface.j0 - j0 + columns),
            )
            old = whole.height[place]
            width = np.float32(0.15 * part.radius_um / self.pixel_um)
            near = np.maximum(width - np.abs(surface.height - old), 0)
            shade = np.where(surface.height > old, surface.shade, whole.shade[place])
            bare = (old == NOTHING) & (surface.height == NOTHING)
            joined = np.maximum(surface.height, old) + near**2 / (4 * width)
            whole.height[place] = np.where(bare, NOTHING, joined)
            whole.shade[place] = shade
        return whole

    def framed_labels(self) -> tuple[NDArray[np.int32], list[Particle], list[int]]:
        """Without the margin: labels 1 to N of what is seen enough of, their particles and unoccluded areas.

        Crumbs of a particle beside its largest piece get no label.
        """
        m = self.margin_px
        height, width = self.labels.shape
        labels = self.labels[m : height - m, m : width - m].copy()
        sizes = np.bincount(labels.ravel(), minlength=len(self.drawn) + 1)
        for index, place in enumerate(ndimage.find_objects(labels), start=1):
            if place is None or sizes[index] == self.full_px[index - 1]:
                continue
            mine = labels[place] == index
            pieces, count = ndimage.label(mine)
            if count > 1:
                piece_sizes = np.bincount(pieces.ravel())
                piece_sizes[0] = 0
                crumbs = mine & (piece_sizes[pieces] < CRUMB * piece_sizes.max())
                labels[place][crumbs] = 0
                sizes[index] -= int(np.count_nonzero(crumbs))
        kept = [k for k in range(1, len(self.drawn) + 1) if sizes[k] >= VISIBLE_PIXELS_MIN]
        renumbered = np.zeros(len(self.drawn) + 1, np.int32)
        renumbered[kept] = np.arange(1, len(kept) + 1)
        return (
            np.asarray(renumbered[labels]),
            [self.drawn[k - 1] for k in kept],
            [self.full_px[k - 1] for k in kept],
        )
