"""Whether ending at a look keeps what the interval promises: runs on the true particles of simulated powders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict

from labsem.morphology.distributions import Floats, edge_weights, weighted_quantile
from labsem.morphology.intervals import d50_interval
from labsem.morphology.looks import is_look, known_within
from labsem.simulation import SIMULATOR_VERSION, World
from schemas.plans import Place, grid

COLUMNS, ROWS, HFW_UM, HEIGHT_OVER_WIDTH = 12, 24, 80.0, 0.625
"""The grid of Rettenberger et al. 2024: 288 frames."""

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
    simulator_version: str
    rows: tuple[UntilRun, ...]


def bench_until_d50(
    runs: int, seed: int, within: float = 0.05, progress: Callable[[int, int], None] | None = None
) -> UntilBench:
    """Take grids of 12 x 24 fields of simulated powders until D50 by number is known within a share of itself.

    Each run is another powder of the virtual microscope. A frame gives the diameters of the particles that lie
    whole in its field, weighted for the edge, without the network. Runs that never reach their aim end with the
    grid, with the 95 % interval.
    """
    rows = []
    for number in range(runs):
        if progress is not None:
            progress(number, runs)
        rows.append(run_until(int(np.random.default_rng([seed, number, 37]).integers(2**31)), within))
    return UntilBench(
        runs=runs,
        within=within,
        covered=sum(row.covered for row in rows),
        reached=sum(row.reached for row in rows),
        frames_median=float(np.median([row.frames for row in rows])),
        seed=seed,
        simulator_version=SIMULATOR_VERSION,
        rows=tuple(rows),
    )


def run_until(seed: int, within: float) -> UntilRun:
    """One run; see :func:`bench_until_d50`."""
    world = World(seed)
    places = grid(Place(x_mm=0.0, y_mm=0.0), COLUMNS, ROWS, HFW_UM, height_over_width=HEIGHT_OVER_WIDTH)
    height_um = HFW_UM * HEIGHT_OVER_WIDTH
    reach_x, reach_y = AROUND * COLUMNS * HFW_UM / 2, AROUND * ROWS * height_um / 2
    x, y, diameter = _particles(world, reach_x, reach_y)
    true_um = float(np.median(diameter))
    sizes: list[Floats] = []
    weights: list[Floats] = []
    for frames, place in enumerate(places, start=1):
        away_x = np.abs(x - 1000 * place.x_mm) + diameter / 2
        away_y = np.abs(y - 1000 * place.y_mm) + diameter / 2
        whole = (away_x < HFW_UM / 2) & (away_y < height_um / 2)
        sizes.append(diameter[whole])
        weights.append(edge_weights(sizes[-1], sizes[-1], HFW_UM, height_um))
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


def _particles(world: World, reach_x_um: float, reach_y_um: float) -> tuple[Floats, Floats, Floats]:
    """Centres and diameters of all particles whose centre lies within reach, um."""
    found = [
        (particle.x_um, particle.y_um, 2 * particle.radius_um)
        for particle in world.particles(-reach_x_um, -reach_y_um, reach_x_um, reach_y_um)
        if abs(particle.x_um) < reach_x_um and abs(particle.y_um) < reach_y_um
    ]
    x, y, diameter = np.array(found, np.float64).T
    return x, y, diameter
