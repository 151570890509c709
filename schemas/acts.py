"""Acts: what an instrument is asked to do, and the events that tell of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from schemas.base import Label, SampleId, Schema, SourceId, UtcTime
from schemas.plans import Plan


class ActKind(StrEnum):
    """A rescan is one frame of a place that was seen; an acquisition is a plan of places and field widths."""

    RESCAN = "rescan"
    ACQUISITION = "acquisition"


class ActState(StrEnum):
    """States of an act; see :data:`OPEN_STATES` for those that still expect something."""

    REQUESTED = "requested"
    APPROVED = "approved"
    RUNNING = "running"
    ACQUIRED = "acquired"
    RESOLVED = "resolved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


OPEN_STATES = (ActState.REQUESTED, ActState.APPROVED, ActState.RUNNING, ActState.ACQUIRED)


INTERRUPTED = "interrupted"
"""Begins the failure of an act whose gateway ended: no fault of the instrument."""


class RescanReason(StrEnum):
    """Why a frame is not enough; each has its own remedy."""

    CHARGED = "charged"
    BLURRED = "blurred"
    NOISY = "noisy"
    TOO_SMALL = "too_small"
    SIZE_NEAR_FIELD = "size_near_field"
    CROWDED = "crowded"
    AGGLOMERATED = "agglomerated"
    TOO_FEW = "too_few"
    UNCERTAIN = "uncertain"
    REQUESTED = "requested"


class RescanParameters(Schema):
    """What to do at the place of the frame before; null leaves a setting as that frame had it."""

    position_x_mm: float | None = None
    position_y_mm: float | None = None
    hfw_um: float | None = Field(default=None, gt=0)
    autofocus: bool = False
    dwell_time_ns: float | None = Field(default=None, gt=0)
    frame_averages: int | None = Field(default=None, ge=1, le=255)
    detector: str | None = None
    autostigmation: bool = False
    accelerating_voltage_kv: float | None = Field(default=None, gt=0)
    charge_reduction: str | None = Field(default=None, max_length=32)


class ActOutcome(Schema):
    """Before and after, compared; ``improved`` is null where they cannot be compared."""

    improved: bool | None
    uncertain_fraction_before: float | None = None
    uncertain_fraction_after: float | None = None
    focus_before: float | None = None
    focus_after: float | None = None
    shift_um: float | None = None
    overlap_fraction: float | None = Field(default=None, ge=0, le=1)
    d50_interval_ratio_before: float | None = Field(
        default=None,
        ge=0,
        description="where the frames show different places: width of the sample's 95 % interval of D50 by number over "
        "D50, at the new frame's field width and without it",
    )
    d50_interval_ratio_after: float | None = Field(default=None, ge=0, description="the same with it")
    detail: str = ""


class Act(Schema):
    """An act's row as the analysis side answers it."""

    act_id: UUID
    kind: ActKind
    sample_id: SampleId
    instrument_id: SourceId
    state: ActState
    revision: int = Field(ge=1)
    reasons: tuple[RescanReason, ...] = ()
    parameters: RescanParameters = RescanParameters()
    plan: Plan | None = Field(default=None, description="of an acquisition")
    requested_by: Literal["policy", "planner", "person"] = "policy"
    frame_before: UUID | None = None
    frame_after: UUID | None = None
    frames_planned: int = Field(default=1, ge=1)
    frames_done: int = Field(default=0, ge=0)
    created_at: UtcTime
    expires_at: UtcTime | None = None
    running_until: UtcTime | None = None
    ended_at: UtcTime | None = None
    outcome: ActOutcome | None = None
    failure: str | None = Field(default=None, description="why it was denied, cancelled or failed")
    late_frames: tuple[UUID, ...] = Field(default=(), description="frames that came after it had ended")
    labels: tuple[Label, ...] = ()


class ActChanged(Schema):
    """Tells that an act's row moved to a state; never causes one."""

    act_id: UUID
    kind: ActKind
    sample_id: SampleId
    instrument_id: SourceId
    state: ActState
    revision: int = Field(ge=1)
    reasons: tuple[RescanReason, ...] = ()
    frames_planned: int = Field(default=1, ge=1)
    frames_done: int = Field(default=0, ge=0)
    frame_before: UUID | None = None
    frame_after: UUID | None = None
    outcome: ActOutcome | None = None
    failure: str | None = None
    labels: tuple[Label, ...] = ()


class InstrumentState(StrEnum):
    """Whether claims are answered."""

    AVAILABLE = "available"
    HOLD_REQUESTED = "hold_requested"
    HELD = "held"
    FAULT = "fault"


class Capabilities(Schema):
    """What an instrument can do; a driver that cannot act declares ``can_act = False``."""

    can_act: bool
    hfw_min_um: float | None = Field(default=None, gt=0)
    hfw_max_um: float | None = Field(default=None, gt=0)
    stage_x_range_mm: tuple[float, float] | None = None
    stage_y_range_mm: tuple[float, float] | None = None
    detectors: tuple[str, ...] = ()
    dwell_times_ns: tuple[float, ...] = Field(default=(), description="empty: dwell time cannot be set")
    frame_averages_max: int = Field(default=1, ge=1)
    width_px: int | None = None
    height_px: int | None = None
    scan_sizes_px: tuple[tuple[int, int], ...] = Field(
        default=(), description="widths and heights to choose from; empty: the size cannot be set"
    )
    voltage_range_kv: tuple[float, float] | None = None
    working_distance_range_mm: tuple[float, float] | None = None
    spot_size_range: tuple[float, float] | None = Field(default=None, description="in its own units")
    stigmator_range: tuple[float, float] | None = Field(default=None, description="in its own units")
    autofocus: bool = True
    autostigmation: bool = False
    scan_rotation: bool = Field(default=False, description="whether the scan can be turned")
    contrast_brightness: bool = Field(default=False, description="whether the amplifier can be set")
    auto_contrast_brightness: bool = Field(default=False, description="whether it fits the amplifier itself")
    blanking: bool = Field(default=False, description="whether the beam can be blanked")
    navigation_camera: bool = Field(default=False, description="whether it can take a picture of the holder")
    charge_reductions: tuple[str, ...] = Field(
        default=(),
        description="levels of gas in the chamber, from none to most; empty: there is no such thing",
    )
    cannot: tuple[str, ...] = Field(default=(), description="in words, what it cannot do")


class InstrumentStatus(Schema):
    """Published by the gateway at start, on each change, and every minute."""

    instrument_id: SourceId
    state: InstrumentState
    driver: str
    capabilities: Capabilities
    held_by: str | None = None
    held_until: UtcTime | None = None
    detail: str = ""
