"""The holder: which sample lies where under the microscope."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from schemas.base import SampleId, Schema
from schemas.plans import Place


class Slot(Schema):
    """One stub of the holder, and the sample on it."""

    slot: str = Field(min_length=1, max_length=32, description="as it is marked on the holder")
    sample_id: SampleId
    sample_name: str | None = Field(default=None, max_length=200)
    x_mm: float = Field(allow_inf_nan=False, description="of its centre, on the stage")
    y_mm: float = Field(allow_inf_nan=False)
    radius_mm: float = Field(gt=0, le=200)

    def holds(self, place: Place) -> bool:
        """Whether a place of the stage lies on it."""
        return math.hypot(place.x_mm - self.x_mm, place.y_mm - self.y_mm) <= self.radius_mm


class Holder(Schema):
    """The samples under one microscope; empty where nobody told."""

    slots: tuple[Slot, ...] = Field(default=(), max_length=256)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [slot.slot for slot in self.slots]
        if len(set(names)) != len(names):
            raise ValueError("each slot comes once")
        for number, one in enumerate(self.slots):
            for other in self.slots[:number]:
                apart_mm = math.hypot(one.x_mm - other.x_mm, one.y_mm - other.y_mm)
                if one.sample_id != other.sample_id and apart_mm < one.radius_mm + other.radius_mm:
                    raise ValueError(f"slots {other.slot} and {one.slot} overlap; correct centre or radius")
        return self

    def at(self, place: Place) -> Slot | None:
        """The slot on which a place of the stage lies."""
        return next((slot for slot in self.slots if slot.holds(place)), None)

    def of(self, sample_id: str) -> tuple[Slot, ...]:
        """The slots of a sample."""
        return tuple(slot for slot in self.slots if slot.sample_id == sample_id)
