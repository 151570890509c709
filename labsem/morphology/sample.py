"""The numbers of a sample: one block for each field width of its current frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from labsem.morphology.distributions import (
    POPULATIONS,
    WEIGHTINGS,
    Floats,
    Population,
    Weighting,
    build_sizes,
    distribution,
    shapes,
    size_weights,
    weighted_quantile,
)
from labsem.morphology.frame import FLOOR_MARGIN, FrameNumbers
from labsem.morphology.intervals import MIN_FRAMES, RESAMPLES, d50_interval, pooled_uncertain_fraction
from labsem.morphology.particles import ParticleTable
from schemas.morphology import Distribution, FieldBlock, Flag

HFW_TOLERANCE = 0.01
"""Frames whose field widths differ by no more belong to one block."""

_FRAME_FLAGS = (
    Flag.BLURRED,
    Flag.NOISY,
    Flag.SATURATED,
    Flag.CHARGED,
    Flag.CROWDED,
    Flag.OUT_OF_DISTRIBUTION,
)
_FLAGGED_SHARE = 0.25

VarianceHistory = Mapping[tuple[Weighting, Population], float]
"""Variance of ln D50 between frames of an instrument's earlier samples, by distribution."""


@dataclass(frozen=True)
class FrameParticles:
    """What a sample's statistics need of one frame: equal-length arrays, one value for each particle.

    Diameters are in pixels; ``um_per_px`` is None where the scale is unknown, ``hfw_um`` then too.
    """

    frame_id: UUID
    hfw_um: float | None
    um_per_px: float | None
    width_px: int
    ecd_px: Floats
    edge_weight: Floats
    certain: NDArray[np.bool_]
    cut_by_edge: NDArray[np.bool_]
    aspect_ratio: Floats
    circularity_iso: Floats
    solidity: Floats
    area_coverage: float
    detection_floor_px: float | None = None
    flags: tuple[Flag, ...] = ()

    @classmethod
    def of(cls, frame_id: UUID, table: ParticleTable, numbers: FrameNumbers) -> Self:
        """From a frame as it was just measured."""
        um_per_px = None if table.pixel_size_nm is None else table.pixel_size_nm / 1e3
        return cls(
            frame_id=frame_id,
            hfw_um=None if um_per_px is None else um_per_px * numbers.width_px,
            um_per_px=um_per_px,
            width_px=numbers.width_px,
            ecd_px=table.ecd_px,
            edge_weight=table.edge_weight,
            certain=table.certain,
            cut_by_edge=table.cut_by_edge,
            aspect_ratio=table.aspect_ratio,
            circularity_iso=table.circularity_iso,
            solidity=table.solidity,
            area_coverage=numbers.area_coverage,
            detection_floor_px=numbers.detection_floor_px,
            flags=numbers.flags,
        )

    def chosen(self, population: Population) -> tuple[Floats, Floats]:
        """Diameters (um, or px without a scale) and edge weights of the particles not cut by the edge."""
        kept = ~self.cut_by_edge & (self.certain if population == "certain" else True)
        return self.ecd_px[kept] * (self.um_per_px or 1.0), self.edge_weight[kept]


def summarize_sample(
    frames: Sequence[FrameParticles],
    *,
    history: VarianceHistory | None = None,
    scale_relative_uncertainty: float | None = None,
    scale_verified: bool = False,
    resamples: int = RESAMPLES,
) -> tuple[FieldBlock, ...]:
    """One block for each field width, the smallest first, frames without a scale last.

    From five frames on the intervals and ``log_d50_se`` come from a bootstrap over frames. Below, the intervals are
    null, flag ``too_few_frames``, and ``log_d50_se`` is sqrt(variance of ``history`` / frames), flag ``se_assumed``,
    or null. A flag of single frames (blurred, noisy, …) is raised where a quarter of them have it.
    """
    return tuple(
        _block(group, history or {}, scale_relative_uncertainty, scale_verified, resamples)
        for group in group_by_field(frames)
    )


def group_by_field(frames: Sequence[FrameParticles]) -> list[list[FrameParticles]]:
    """Frames whose field width lies within 1 % of the smallest of their group."""
    groups: list[list[FrameParticles]] = []
    start = -math.inf
    for frame in sorted(frames, key=lambda each: (each.hfw_um or math.inf, str(each.frame_id))):
        width = frame.hfw_um or math.inf
        if not groups or not (width == start or width <= start * (1 + HFW_TOLERANCE)):
            groups.append([])
            start = width
        groups[-1].append(frame)
    return groups


def history_variance(samples: Sequence[Sequence[FrameParticles]]) -> VarianceHistory:
    """Variance of ln D50 between frames of one sample and field width, pooled over earlier samples.

    A distribution that no sample shows in two frames is left out.
    """
    found: dict[tuple[Weighting, Population], float] = {}
    for weighting in WEIGHTINGS:
        for population in POPULATIONS:
            squares, degrees = 0.0, 0
            for group in (group for sample in samples for group in group_by_field(sample)):
                logs = [
                    math.log(float(weighted_quantile(sizes, size_weights(sizes, weights, weighting), 0.5)))
                    for sizes, weights in (frame.chosen(population) for frame in group)
                    if len(sizes)
                ]
                if len(logs) > 1:
                    squares += float(np.var(logs)) * len(logs)
                    degrees += len(logs) - 1
            if degrees:
                found[weighting, population] = squares / degrees
    return found


def _block(
    frames: list[FrameParticles],
    history: VarianceHistory,
    scale_relative_uncertainty: float | None,
    scale_verified: bool,
    resamples: int,
) -> FieldBlock:
    scaled = frames[0].hfw_um is not None
    assumed: list[bool] = []

    def make(weighting: Weighting, population: Population) -> Distribution:
        chosen = [frame.chosen(population) for frame in frames]
        sizes = np.concatenate([each[0] for each in chosen])
        found = distribution(sizes, np.concatenate([each[1] for each in chosen]), weighting, 1.0)
        if scaled:
            found = found.model_copy(update={"d10_px": None, "d50_px": None, "d90_px": None})
        else:
            found = found.model_copy(update={"d10_um": None, "d50_um": None, "d90_um": None, "mean_um": None})
        if found.n == 0:
            return found
        if len(frames) >= MIN_FRAMES:
            top = float(sizes.max())
            interval = d50_interval(
                [each[0] for each in chosen],
                [size_weights(each[0] / top, each[1], weighting) for each in chosen],
                resamples,
            )
            if interval is None:
                return found
            update: dict[str, object] = {"log_d50_se": interval.log_d50_se}
            if scaled:
                update["d50_interval_95_um"] = interval.interval_95
                update["d50_interval_97_5_um"] = interval.interval_97_5
            return found.model_copy(update=update)
        variance = history.get((weighting, population))
        if variance is None:
            return found
        assumed.append(True)
        return found.model_copy(update={"log_d50_se": math.sqrt(variance / len(frames))})

    sizes = build_sizes(make)
    whole = [~frame.cut_by_edge for frame in frames]
    columns = [
        np.concatenate([getattr(frame, name)[kept] for frame, kept in zip(frames, whole, strict=True)])
        for name in ("aspect_ratio", "circularity_iso", "solidity", "edge_weight")
    ]
    counts = [int(np.count_nonzero(kept)) for kept in whole]
    uncertain = [
        int(np.count_nonzero(kept & ~frame.certain)) for frame, kept in zip(frames, whole, strict=True)
    ]
    floors = [
        frame.detection_floor_px * (frame.um_per_px or 1.0)
        for frame in frames
        if frame.detection_floor_px is not None
    ]
    floor = max(floors, default=None)
    return FieldBlock(
        hfw_um=float(np.mean([frame.hfw_um for frame in frames])) if scaled else None,
        frames=len(frames),
        particle_count=sum(len(frame.ecd_px) for frame in frames),
        sizes=sizes,
        shapes=shapes(*columns),
        uncertain_fraction=pooled_uncertain_fraction(uncertain, counts, resamples),
        area_coverage=float(np.mean([frame.area_coverage for frame in frames])),
        detection_floor_um=floor if scaled else None,
        scale_relative_uncertainty=scale_relative_uncertainty if scaled else None,
        flags=_flags(frames, sizes.number.all, floor, scale_verified, bool(assumed)),
    )


def _flags(
    frames: list[FrameParticles],
    number_all: Distribution,
    floor: float | None,
    scale_verified: bool,
    assumed: bool,
) -> tuple[Flag, ...]:
    scaled = frames[0].hfw_um is not None
    field = min(frame.hfw_um or frame.width_px for frame in frames)
    d10 = number_all.d10_um if scaled else number_all.d10_px
    d90 = number_all.d90_um if scaled else number_all.d90_px
    seen = Counter(flag for frame in frames for flag in set(frame.flags))
    raised = {
        Flag.SCALE_UNKNOWN: not scaled,
        Flag.SCALE_UNVERIFIED: scaled and not scale_verified,
        Flag.SIZE_NEAR_FIELD: d90 is not None and d90 > field / 3,
        Flag.NEAR_DETECTION_FLOOR: floor is not None and d10 is not None and d10 < FLOOR_MARGIN * floor,
        Flag.NO_PARTICLES: all(len(frame.ecd_px) == 0 for frame in frames),
        Flag.TOO_FEW_FRAMES: len(frames) < MIN_FRAMES,
        Flag.SE_ASSUMED: assumed,
    }
    raised |= {flag: seen[flag] >= max(1.0, _FLAGGED_SHARE * len(frames)) for flag in _FRAME_FLAGS}
    return tuple(flag for flag in Flag if raised.get(flag, False))
