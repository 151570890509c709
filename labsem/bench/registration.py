"""How well two frames of one place are found to be so, on simulated pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from labsem.morphology.registration import register_frames
from labsem.simulation import SIMULATOR_VERSION, View, World
from labsem.simulation.random_frames import random_world
from labsem.simulation.rotation import render_rotated
from labsem.simulation.scene import Regime

WIDTH_PX, HEIGHT_PX = 960, 600
STAGE_ERROR = 0.05
"""Largest stage error on either axis, as a share of the frame's field width."""

HFW_RATIO = 2.0
ROTATION_DEG = 5.0
ELSEWHERE_FIELDS = 3.0
"""How far another place lies away, in field widths: the same powder, no common particle."""

WITHIN_PX = 2.0


class PairResult(BaseModel):
    """One pair of one place; pixels are those of the frame before."""

    model_config = ConfigDict(frozen=True)

    seed: int
    regime: Regime
    hfw_ratio: float
    rotation_deg: float
    correlation: float
    lead: float
    clear: bool
    error_px: float
    shift_um_error_px: float


class RegistrationBench(BaseModel):
    """The bench's result.

    Attributes
    ----------
    clear, within
        Of the pairs of one place: how many were called clear, and how many of those are within
        :data:`WITHIN_PX` of the truth.
    worst_error_px
        Of those called clear.
    false_clear
        Pairs of different places that were called clear.
    false_correlations
        Correlation and lead of each of those pairs.
    """

    model_config = ConfigDict(frozen=True)

    pairs: int
    clear: int
    within: int
    worst_error_px: float | None
    false_clear: int
    false_correlations: tuple[tuple[float, float], ...]
    seed: int
    simulator_version: str
    rows: tuple[PairResult, ...]


def bench_registration(
    pairs: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> RegistrationBench:
    """Register simulated pairs of one place, and as many of different places.

    Stage errors are up to 5 % of the field on either axis, the field widths differ by up to a factor of 2 either
    way, the scans are turned by up to 5 degrees (which the instrument reports). Scenes are those of
    :func:`labsem.simulation.random_frames.random_world`, of both regimes, a spoiled frame among them now and then.
    """
    rows: list[PairResult] = []
    elsewhere: list[tuple[float, float]] = []
    false_clear = 0
    for number in range(pairs):
        if progress is not None:
            progress(number, pairs)
        regime: Regime = "low" if number % 2 else "high"
        rng = np.random.default_rng([seed, number, 23])
        world, view = random_world(int(rng.integers(2**31)), regime, WIDTH_PX, HEIGHT_PX)
        view = replace(view, drift_x_nm_s=0.0, drift_y_nm_s=0.0)
        before = render_rotated(world, view, 0.0)
        rows.append(_one_place(world, view, before.pixels, rng, number, regime))
        other = replace(
            view,
            x_mm=view.x_mm + ELSEWHERE_FIELDS * view.hfw_um / 1000,
            noise_seed=view.noise_seed + 1,
        )
        found = register_frames(
            before.pixels,
            render_rotated(world, other, 0.0).pixels,
            1000 * view.pixel_um,
            1000 * view.pixel_um,
        )
        elsewhere.append((0.0, 0.0) if found is None else (found.correlation, found.lead))
        false_clear += found is not None and found.clear
    clear = [row for row in rows if row.clear]
    return RegistrationBench(
        pairs=pairs,
        clear=len(clear),
        within=sum(row.error_px <= WITHIN_PX for row in clear),
        worst_error_px=max((row.error_px for row in clear), default=None),
        false_clear=false_clear,
        false_correlations=tuple(elsewhere),
        seed=seed,
        simulator_version=SIMULATOR_VERSION,
        rows=tuple(rows),
    )


def _one_place(
    world: World, view: View, pixels: np.ndarray, rng: np.random.Generator, number: int, regime: Regime
) -> PairResult:
    ratio = float(np.exp(rng.uniform(-np.log(HFW_RATIO), np.log(HFW_RATIO))))
    rotation_deg = float(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    away_um = rng.uniform(-STAGE_ERROR, STAGE_ERROR, 2) * view.hfw_um
    after = replace(
        view,
        x_mm=view.x_mm + away_um[0] / 1000,
        y_mm=view.y_mm + away_um[1] / 1000,
        hfw_um=ratio * view.hfw_um,
        noise_seed=view.noise_seed + 2,
    )
    found = register_frames(
        pixels,
        render_rotated(world, after, rotation_deg).pixels,
        1000 * view.pixel_um,
        1000 * after.pixel_um,
        rotation_deg,
    )
    if found is None:
        raise RuntimeError(f"fields of ratio {ratio:.2f} were not registered at all")
    shift_px = np.array([found.shift_x_px, found.shift_y_px])
    true_px = away_um / view.pixel_um
    return PairResult(
        seed=number,
        regime=regime,
        hfw_ratio=ratio,
        rotation_deg=rotation_deg,
        correlation=found.correlation,
        lead=found.lead,
        clear=found.clear,
        error_px=float(np.hypot(*(shift_px - true_px))),
        shift_um_error_px=float(abs(np.hypot(*shift_px) - np.hypot(*true_px))),
    )
