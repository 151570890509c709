"""What a run of ``labsem analyze`` is given, kept with each of its results."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.morphology import Regime
from schemas.settings import ModelSettings, ReadSettings


class AnalyzeError(ValueError):
    """A run that cannot begin; the message says why and what to do."""


class AnalyzeOptions(BaseModel):
    """How frames are read, segmented and counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixel_size_nm: float | None = Field(default=None, gt=0, description="overrides what the files say")
    hfw_um: float | None = Field(default=None, gt=0, description="overrides what the files say")
    regime: Regime | None = Field(default=None, description="none: by each frame's magnification")
    min_ecd_um: float | None = Field(default=None, gt=0, description="smaller particles are left out")
    max_ecd_um: float | None = Field(default=None, gt=0, description="larger particles are left out")
    segmenter: str = "network"
    models: ModelSettings = ModelSettings()
    reading: ReadSettings = ReadSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pixel_size_nm is not None and self.hfw_um is not None:
            raise ValueError(
                "give pixel_size_nm or hfw_um, not both: one follows from the other and the width"
            )
        if self.min_ecd_um is not None and self.max_ecd_um is not None and self.min_ecd_um >= self.max_ecd_um:
            raise ValueError(f"min_ecd_um {self.min_ecd_um:g} is not under max_ecd_um {self.max_ecd_um:g}")
        return self

    def identity(self) -> dict[str, Any]:
        """What a result depends on: all but the number of threads."""
        return self.model_dump(mode="json", exclude={"models": {"threads"}})
