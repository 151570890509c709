"""What the analysis says of a frame and of a sample (definitions: the docstrings of ``labsem.morphology``)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from schemas.acts import RescanReason
from schemas.base import Label, SampleId, Schema, SourceId, UtcTime
from schemas.image import Acquisition, Sha256


class Regime(StrEnum):
    """Which network analyses a frame; ``joint`` where the frame has no scale."""

    LOW = "low"
    HIGH = "high"
    JOINT = "joint"


class Flag(StrEnum):
    """What a reader of a summary must know before using its numbers."""

    SCALE_UNKNOWN = "scale_unknown"
    SCALE_UNVERIFIED = "scale_unverified"
    BLURRED = "blurred"
    NOISY = "noisy"
    SATURATED = "saturated"
    CHARGED = "charged"
    CROWDED = "crowded"
    SIZE_NEAR_FIELD = "size_near_field"
    NEAR_DETECTION_FLOOR = "near_detection_floor"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    NO_PARTICLES = "no_particles"
    TOO_FEW_FRAMES = "too_few_frames"
    SE_ASSUMED = "se_assumed"


class Distribution(Schema):
    """Quantiles of the equivalent circular diameter of one population under one weighting (ISO 9276-2).

    Quantiles in pixels are given for a frame, in micrometres where the scale is known. Intervals are null
    below five frames.
    """

    n: int = Field(ge=0, description="particles that enter: those not cut by the frame's edge")
    n_effective: float = Field(ge=0, description="(sum w)^2 / sum w^2 of the edge-correction weights")
    d10_um: float | None = None
    d50_um: float | None = None
    d90_um: float | None = None
    mean_um: float | None = None
    d10_px: float | None = None
    d50_px: float | None = None
    d90_px: float | None = None
    d50_interval_95_um: tuple[float, float] | None = None
    d50_interval_97_5_um: tuple[float, float] | None = None
    log_d50_se: float | None = Field(default=None, description="standard error of ln D50 between frames")


class Populations(Schema):
    """The same weighting over two populations."""

    certain: Distribution
    all: Distribution


class Sizes(Schema):
    """``sizes.number.all.d50_um`` and its like."""

    number: Populations
    area: Populations
    volume: Populations


class Spread(Schema):
    """Number-weighted quantiles of a dimensionless descriptor over the particles not cut by the edge."""

    p10: float
    p50: float
    p90: float


class Shapes(Schema):
    """Shape of the particles of a frame (ISO 9276-6); null where no particle is large enough to carry it."""

    aspect_ratio: Spread | None = None
    circularity_iso: Spread | None = None
    solidity: Spread | None = None


class UncertainFraction(Schema):
    """Uncertain over all particles not cut by the edge, unweighted.

    The bounds are each one-sided at 95 % (Wilson for one frame). With no particles they are [0, 1].
    """

    value: float | None
    n: int = Field(ge=0)
    lower_95: float = Field(ge=0, le=1)
    upper_95: float = Field(ge=0, le=1)
    method: Literal["wilson", "frame_bootstrap"] = "wilson"


class Specks(Schema):
    """What stands out of the ground like particles and is too small to be outlined as one."""

    count: int = Field(ge=0)
    area_fraction: float = Field(ge=0, le=1, description="of the ground between the particles")
    ecd_px: float = Field(ge=0, description="median equivalent circular diameter; 0 without any")


class ModelReference(Schema):
    """Names the weights behind a number."""

    name: str
    version: str
    sha256: Sha256 = Field(description="of the weight file")


class Decision(Schema):
    """What follows from a frame: nothing, a rescan (an act), or advice to a person."""

    kind: Literal["none", "rescan", "advised"] = "none"
    reasons: tuple[RescanReason, ...] = ()
    detail: str = Field(default="", description="the numbers behind it, for a person")
    act_id: UUID | None = None


class FrameMorphology(Schema):
    """The summary of one analysed frame."""

    frame_id: UUID
    analysis_id: UUID
    sample_id: SampleId
    instrument_id: SourceId
    acquired_at: UtcTime
    analysed_at: UtcTime
    acquisition: Acquisition
    regime: Regime
    model: ModelReference
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0, description="rows analysed, data bar removed")
    databar_rows: int = Field(ge=0)
    particle_count: int = Field(ge=0, description="all, those cut by the edge too")
    certain_count: int = Field(ge=0)
    uncertain_count: int = Field(ge=0)
    cut_by_edge_count: int = Field(ge=0)
    area_coverage: float = Field(ge=0, le=1)
    uncertain_fraction: UncertainFraction
    sizes: Sizes
    shapes: Shapes
    focus: float | None = Field(default=None, description="see labsem.morphology.quality.focus_measure")
    signal_to_noise: float | None = None
    saturated_fraction: float = Field(ge=0, le=1)
    charging: float | None = Field(default=None, ge=0, description="see labsem.morphology.quality.charging")
    largest_cut_px: float | None = Field(
        default=None,
        ge=0,
        description="equivalent circular diameter of what is seen of the largest particle that the edge cuts",
    )
    specks: Specks | None = None
    detection_floor_px: float | None = None
    detection_floor_um: float | None = None
    scale_relative_uncertainty: float | None = Field(default=None, ge=0)
    flags: tuple[Flag, ...] = ()
    decision: Decision = Decision()
    act_id: UUID | None = None
    index: int | None = None
    labels: tuple[Label, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict, description="seconds by stage")

    @property
    def d50_number_all_um(self) -> float | None:
        """Median equivalent circular diameter by number over all particles, um."""
        return self.sizes.number.all.d50_um


class SampleState(StrEnum):
    """``settled``: no frame waits, no act is open, and no more is expected."""

    COLLECTING = "collecting"
    SETTLED = "settled"


class FieldBlock(Schema):
    """Statistics over a sample's current frames of one field width."""

    hfw_um: float | None = Field(description="null: frames without a scale, sizes in pixels")
    frames: int = Field(ge=1)
    particle_count: int = Field(ge=0)
    sizes: Sizes
    shapes: Shapes
    uncertain_fraction: UncertainFraction
    area_coverage: float = Field(ge=0, le=1)
    detection_floor_um: float | None = None
    scale_relative_uncertainty: float | None = Field(default=None, ge=0)
    flags: tuple[Flag, ...] = ()


class SampleMorphology(Schema):
    """The summary of a sample; a reader ignores one with a lower ``sample_revision`` than it has."""

    sample_id: SampleId
    sample_name: str | None = None
    sample_revision: int = Field(ge=1)
    state: SampleState
    frames_pending: int = Field(ge=0)
    acts_open: int = Field(ge=0)
    frames: int = Field(ge=0, description="current frames, superseded ones left out")
    blocks: tuple[FieldBlock, ...] = ()
    labels: tuple[Label, ...] = ()
    flags: tuple[Flag, ...] = ()
