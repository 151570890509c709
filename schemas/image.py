"""What the instrument's side says of a frame."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from schemas.base import Label, SampleId, Schema, SourceId, UtcTime

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _inside_root(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or ":" in value or _CONTROL.search(value):
        raise ValueError(
            "path must be relative to its image root, with forward slashes and without '..', a drive "
            "or control characters"
        )
    return value


RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_inside_root)]
"""A path under an image root, POSIX style."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Acquisition(Schema):
    """How a frame was taken, as far as it is known; what the instrument reports, not what was asked of it."""

    hfw_um: float | None = Field(default=None, gt=0, description="horizontal field width")
    pixel_size_nm: float | None = Field(default=None, gt=0)
    magnification: float | None = Field(default=None, gt=0)
    working_distance_mm: float | None = Field(default=None, gt=0)
    accelerating_voltage_kv: float | None = Field(default=None, gt=0)
    detector: str | None = None
    dwell_time_ns: float | None = Field(default=None, gt=0)
    frame_averages: int | None = Field(default=None, ge=1)


class ImageAcquired(Schema):
    """A frame lies complete under an image root."""

    frame_id: UUID
    sample_id: SampleId
    sample_name: str | None = Field(default=None, max_length=200, description="free display name")
    instrument_id: SourceId
    image_root: SourceId
    path: RelativePath
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    acquired_at: UtcTime
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    scan_rotation_deg: float | None = None
    acquisition: Acquisition = Acquisition()
    act_id: UUID | None = Field(default=None, description="the act that this frame answers")
    index: int | None = Field(default=None, ge=0, description="its place in the act's plan")
    labels: tuple[Label, ...] = Field(default=(), max_length=16)


class PlainImage(Schema):
    """What a lab's own publisher must say at least; everything else is read from the file.

    It is the payload of :class:`ImageAcquired` with all but three fields optional, and can never answer an act.
    """

    sample_id: SampleId
    sample_name: str | None = Field(default=None, max_length=200)
    image_root: SourceId
    path: RelativePath
    instrument_id: SourceId | None = None
    size_bytes: int | None = Field(default=None, ge=0)
    sha256: Sha256 | None = None
    acquired_at: UtcTime | None = None
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    scan_rotation_deg: float | None = None
    acquisition: Acquisition = Acquisition()
    labels: tuple[Label, ...] = Field(default=(), max_length=16)
