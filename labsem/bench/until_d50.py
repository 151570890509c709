"""Whether ending at a look keeps what the interval promises, on simulated powders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labsem.bench.truth import Diameters
from labsem.morphology import measure_particles
from labsem.morphology.distributions import Floats, edge_weights, weighted_quantile
from labsem.morphology.intervals import d50_interval
from labsem.morphology.looks import is_look, known_within
from labsem.segmentation import Segmentation
from labsem.simulation import SIMULATOR_VERSION, View, World, render
from labsem.simulation.bodies import Particle
from schemas.morphology import ModelReference, Regime
from schemas.plans import Place, grid

Look = Callable[[Place], tuple[Floats, Floats]]
"""Diameters (um) and edge weights of the particles whole in the field at a place."""

COLUMNS, ROWS, HFW_UM, HEIGHT_OVER_WIDTH = 12, 24, 80.0, 0.625
"""The grid of Rettenberger et al. 2024: 288 frames."""

WIDTH_PX = 960
AROUND: float = 2.0
"""The powder whose D50 is the true one reaches so many times as far as the grid, on either axis."""


class UntilRun(BaseModel):
    """One run: where it ended, what it said, and what was true."""

    model_config = ConfigDict(frozen=True)

    seed: int
    frames: int
    reached: bool
    particles: int
    d50_um: float
    interval_um: tuple[float, float]
    true_d50_um: float
    covered: bool


class UntilBench(BaseModel):
    """The bench's result; ``covered`` counts the runs whose stated interval holds the true D50 at their end."""

    model_config = ConfigDict(frozen=True)

    runs: int
    within: float
    covered: int
    reached: int
    frames_median: float
    seed: int
    model: str | None
    simulator_version: str
    rows: tuple[UntilRun, ...]


class Segments(Protocol):
    """What finds the particles of a frame, such as :class:`labsem.networks.segmenter.Segmenter`."""

    def segment(self, pixels: NDArray[Any], regime: Regime) -> Segmentation:
        """The particles of one frame."""
        ...

    def model(self, regime: Regime) -> ModelReference:
        """What it is."""
        ...


def bench_until_d50(
    runs: int,
    seed: int,
    within: float = 0.05,
    segmenter: Segments | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> UntilBench:
    """Take grids of 12 x 24 fields of simulated powders until D50 by number is known within a share of itself.

    Each run is another powder of the virtual microscope. A frame gives the diameters of the particles that lie
    whole in its field, weighted for the edge: the true ones or, with a ``segmenter``, those that it finds in a
    rendered frame of 960 x 600 px. Runs that never reach their aim end with the grid, with the 95 % interval.
    """
    rows: list[UntilRun] = []
    for number in range(runs):
        own = int(np.random.default_rng([seed, number, 37]).integers(2**31))

        def told(frames: int, number: int = number) -> None:
            if progress is not None:
                progress(number * COLUMNS * ROWS + frames, runs * COLUMNS * ROWS)

        told(0)
        rows.append(run_until(own, within, segmenter, told))
    return UntilBench(
        runs=runs,
        within=within,
        covered=sum(row.covered for row in rows),
        reached=sum(row.reached for row in rows),
        frames_median=float(np.median([row.frames for row in rows])),
        seed=seed,
        model=None if segmenter is None else _named(segmenter),
        simulator_version=SIMULATOR_VERSION,
        rows=tuple(rows),
    )


def run_until(
    seed: int,
    within: float,
    segmenter: Segments | None = None,
    told: Callable[[int], None] = lambda _frames: None,
) -> UntilRun:
    """One run; see :func:`bench_until_d50`."""
    world = World(seed)
    places = grid(Place(x_mm=0.0, y_mm=0.0), COLUMNS, ROWS, HFW_UM, height_over_width=HEIGHT_OVER_WIDTH)
    true_um, look = _true_look(world) if segmenter is None else _network_look(world, segmenter)
    sizes: list[Floats] = []
    weights: list[Floats] = []
    for frames, place in enumerate(places, start=1):
        told(frames)
        for kept, new in zip((sizes, weights), look(place), strict=True):
            kept.append(new)
        last = frames == len(places)
        if not (is_look(frames) or last):
            continue
        found = d50_interval(sizes, weights)
        if found is None:
            continue
        middle = float(weighted_quantile(np.concatenate(sizes), np.concatenate(weights), 0.5))
        reached = is_look(frames) and known_within(middle, found.interval_97_5) <= within
        if reached or last:
            interval = found.interval_97_5 if is_look(frames) else found.interval_95
            return UntilRun(
                seed=seed,
                frames=frames,
                reached=reached,
                particles=sum(map(len, sizes)),
                d50_um=middle,
                interval_um=interval,
                true_d50_um=true_um,
                covered=interval[0] <= true_um <= interval[1],
            )
    raise RuntimeError(f"powder {seed} has no particle in {len(places)} fields")


def _true_look(world: World) -> tuple[float, Look]:
    """The true D50, and what a frame would show of the true particles."""
    found = _around(world)
    x, y, diameter = np.array([(p.x_um, p.y_um, 2 * p.radius_um) for p in found]).T
    height_um = HFW_UM * HEIGHT_OVER_WIDTH

    def look(place: Place) -> tuple[Floats, Floats]:
        away_x = np.abs(x - 1000 * place.x_mm) + diameter / 2
        away_y = np.abs(y - 1000 * place.y_mm) + diameter / 2
        whole = (away_x < HFW_UM / 2) & (away_y < height_um / 2)
        sizes = diameter[whole]
        return sizes, edge_weights(sizes, sizes, HFW_UM, height_um)

    return float(np.median(diameter)), look


def _network_look(world: World, segmenter: Segments) -> tuple[float, Look]:
    """The true D50 of what is projected, and what is found in frames of 960 x 600 px."""
    view = View(hfw_um=HFW_UM, width_px=WIDTH_PX, height_px=round(WIDTH_PX * HEIGHT_OVER_WIDTH))
    view = replace(view, contrast=1 / world.scene.brightest[view.detector])
    # A field of 80 um holds too few particles to tell how much of its nominal size a kind of them shows.
    wide = replace(view, hfw_um=5 * HFW_UM, width_px=2 * view.width_px, height_px=2 * view.height_px)
    diameters = Diameters(world, wide)
    scans = count(1)

    def look(place: Place) -> tuple[Floats, Floats]:
        frame = render(world, replace(view, x_mm=place.x_mm, y_mm=place.y_mm, noise_seed=next(scans)))
        table = measure_particles(segmenter.segment(frame.pixels, Regime.LOW), frame.pixel_size_nm)
        whole = ~table.cut_by_edge
        return table.ecd_um[whole], table.edge_weight[whole]

    return float(np.median([diameters.of(p) for p in _around(world)])), look


def _around(world: World) -> list[Particle]:
    """All particles whose centre lies within reach."""
    reach_x, reach_y = AROUND * COLUMNS * HFW_UM / 2, AROUND * ROWS * HFW_UM * HEIGHT_OVER_WIDTH / 2
    return [
        particle
        for particle in world.particles(-reach_x, -reach_y, reach_x, reach_y)
        if abs(particle.x_um) < reach_x and abs(particle.y_um) < reach_y
    ]


def _named(segmenter: Segments) -> str:
    model = segmenter.model(Regime.LOW)
    return f"{model.name} {model.version}"
