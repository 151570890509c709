"""The numbers of one frame."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsem.morphology.distributions import build_sizes, distribution, shapes
from labsem.morphology.intervals import uncertain_fraction
from labsem.morphology.particles import ParticleTable
from labsem.morphology.quality import charging, focus_measure, saturated_fraction, signal_to_noise
from labsem.morphology.specks import find_specks
from schemas.morphology import Flag, Shapes, Sizes, Specks, UncertainFraction

CROWDED_COVERAGE = 0.55
"""Area coverage from which particles hide each other: flag ``crowded``."""

SATURATED_SHARE = 0.05
"""Share of saturated pixels over which outlines of bright particles are lost: flag ``saturated``."""

CHARGED_STREAKS = 0.1
"""Strength of streaks, see :func:`labsem.morphology.quality.charging`, over which: flag ``charged``."""

SPECKS_COVERAGE = 0.1
"""Specks are looked for where the particles that were found cover less: elsewhere they cannot be the powder."""

FLOOR_MARGIN = 1.5
"""Flag ``near_detection_floor`` where the number D10 is under this multiple of the floor."""


@dataclass(frozen=True)
class FrameNumbers:
    """What :class:`schemas.morphology.FrameMorphology` says in numbers, under the same names."""

    width_px: int
    height_px: int
    particle_count: int
    certain_count: int
    uncertain_count: int
    cut_by_edge_count: int
    area_coverage: float
    uncertain_fraction: UncertainFraction
    sizes: Sizes
    shapes: Shapes
    focus: float | None
    signal_to_noise: float | None
    saturated_fraction: float
    charging: float
    largest_cut_px: float
    specks: Specks | None
    detection_floor_px: float | None
    detection_floor_um: float | None
    scale_relative_uncertainty: float | None
    flags: tuple[Flag, ...]

    def fields(self) -> dict[str, Any]:
        """By name, for ``FrameMorphology(**numbers.fields(), ...)``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def summarize_frame(
    table: ParticleTable,
    pixels: NDArray[Any],
    *,
    detection_floor_px: float | None = None,
    out_of_distribution: bool = False,
    focus_min: float = 0.5,
    signal_to_noise_min: float = 4.0,
    charging_max: float = CHARGED_STREAKS,
    area_coverage_max: float = CROWDED_COVERAGE,
    size_share_max: float = 1 / 3,
    covered: NDArray[np.bool_] | None = None,
    scale_relative_uncertainty: float | None = None,
    scale_verified: bool = False,
) -> FrameNumbers:
    """Counts, distributions, shapes, quality and flags of one frame.

    ``pixels`` are those analysed, (H, W), data bar removed. Distributions are of the particles not cut by the edge, in
    micrometres where the table has a scale and in pixels always. ``area_coverage`` is the share of pixels that any
    particle covers, the cut ones too. Specks are looked for where it is told which pixels are ``covered``, (H, W),
    and these are few.
    """
    height_px, width_px = pixels.shape
    um_per_px = None if table.pixel_size_nm is None else table.pixel_size_nm / 1e3
    whole = ~table.cut_by_edge
    selections = {"all": whole, "certain": whole & table.certain}
    sizes = build_sizes(
        lambda weighting, population: distribution(
            table.ecd_px[selections[population]],
            table.edge_weight[selections[population]],
            weighting,
            um_per_px,
        )
    )
    focus, snr, saturated = focus_measure(pixels), signal_to_noise(pixels), saturated_fraction(pixels)
    streaks = charging(pixels)
    coverage = min(1.0, float(table.area_px.sum()) / (width_px * height_px))
    d10, d90 = sizes.number.all.d10_px, sizes.number.all.d90_px
    floor = detection_floor_px
    flags = [
        flag
        for flag, raised in (
            (Flag.SCALE_UNKNOWN, um_per_px is None),
            (Flag.SCALE_UNVERIFIED, um_per_px is not None and not scale_verified),
            (Flag.BLURRED, focus is not None and focus < focus_min),
            (Flag.NOISY, snr is not None and snr < signal_to_noise_min),
            (Flag.SATURATED, saturated > SATURATED_SHARE),
            (Flag.CHARGED, streaks > charging_max),
            (Flag.CROWDED, coverage > area_coverage_max),
            (Flag.SIZE_NEAR_FIELD, d90 is not None and d90 > width_px * size_share_max),
            (
                Flag.NEAR_DETECTION_FLOOR,
                d10 is not None and floor is not None and d10 < FLOOR_MARGIN * floor,
            ),
            (Flag.OUT_OF_DISTRIBUTION, out_of_distribution),
            (Flag.NO_PARTICLES, len(table) == 0),
        )
        if raised
    ]
    certain_count = int(np.count_nonzero(table.certain))
    return FrameNumbers(
        width_px=width_px,
        height_px=height_px,
        particle_count=len(table),
        certain_count=certain_count,
        uncertain_count=len(table) - certain_count,
        cut_by_edge_count=int(np.count_nonzero(table.cut_by_edge)),
        area_coverage=coverage,
        uncertain_fraction=uncertain_fraction(
            int(np.count_nonzero(whole & ~table.certain)), int(np.count_nonzero(whole))
        ),
        sizes=sizes,
        shapes=shapes(
            table.aspect_ratio[whole],
            table.circularity_iso[whole],
            table.solidity[whole],
            table.edge_weight[whole],
        ),
        focus=focus,
        signal_to_noise=snr,
        saturated_fraction=saturated,
        charging=streaks,
        largest_cut_px=float(table.ecd_px[table.cut_by_edge].max(initial=0.0)),
        specks=find_specks(pixels, covered) if covered is not None and coverage < SPECKS_COVERAGE else None,
        detection_floor_px=floor,
        detection_floor_um=None if um_per_px is None or floor is None else floor * um_per_px,
        scale_relative_uncertainty=scale_relative_uncertainty if um_per_px is not None else None,
        flags=tuple(flags),
    )
