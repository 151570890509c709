"""Frames of a scan that is turned about the field's centre."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labsem.simulation.render import SimulatedFrame, render
from labsem.simulation.view import View
from labsem.simulation.world import World


def render_rotated(world: World, view: View, rotation_deg: float) -> SimulatedFrame:
    """Render a frame whose image is turned clockwise against the stage.

    A larger field is rendered and turned by its nearest pixels, so that noise stays as strong as it was; what is
    said of a particle's visible fraction and border is what the larger field knows. Vignetting turns along.

    Returns
    -------
    SimulatedFrame
        Of the view's own size; its particles are those of which a pixel is left.
    """
    if rotation_deg % 360 == 0:
        return render(world, view)
    angle = np.deg2rad(rotation_deg)
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    width_px = int(np.ceil(view.width_px * cos + view.height_px * sin)) + 2
    height_px = int(np.ceil(view.width_px * sin + view.height_px * cos)) + 2
    wide = replace(view, width_px=width_px, height_px=height_px, hfw_um=width_px * view.pixel_um)
    frame = render(world, wide)
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in (view.height_px, view.width_px))
    x, y = columns[None, :], rows[:, None]
    places = np.stack(
        [
            y * np.cos(angle) - x * np.sin(angle) + (height_px - 1) / 2,
            x * np.cos(angle) + y * np.sin(angle) + (width_px - 1) / 2,
        ]
    )

    def turned(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ndimage.map_coordinates(image, places, order=0, mode="nearest"))

    kept, labels = np.unique(turned(frame.labels), return_inverse=True)
    particles = tuple(
        replace(frame.particles[old - 1], label=new) for new, old in enumerate(kept[kept > 0], start=1)
    )
    numbers = labels.reshape(view.height_px, view.width_px).astype(np.int32) + (0 if 0 in kept else 1)
    return replace(frame, pixels=turned(frame.pixels), labels=numbers, particles=particles, view=view)
