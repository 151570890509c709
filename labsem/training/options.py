"""What a training is given; kept with its checkpoint and in the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from labsem.networks.architecture import Architecture
from labsem.networks.losses import UncertaintyHead
from labsem.networks.registry import AnyArchitecture, recipe
from schemas.morphology import Regime

CROP_PX = 448


class Augmentation(BaseModel):
    """Share of crops that are changed so; contrast, brightness, blur, noise and turning are always varied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mosaic: float = Field(default=0.15, ge=0, le=1, description="put together from four smaller crops")
    aimed: float = Field(
        default=0.5, ge=0, le=1, description="at a scale chosen by the size of the image's particles"
    )
    copy_paste: float = Field(default=0.15, ge=0, le=1, description="particles of another image laid on it")
    charging: float = Field(default=0.1, ge=0, le=1, description="streaks and drift along the scan lines")
    line_jitter: float = Field(default=0.1, ge=0, le=1, description="scan lines moved by under a pixel or so")


class TrainingOptions(BaseModel):
    """What a training is given; kept with its checkpoint and in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: tuple[Path, ...] = Field(min_length=1)
    output: Path
    regime: Regime = Regime.JOINT
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(
        default=None, ge=0, description="instead of minutes; 0: only calibrate start_from anew"
    )
    simulated: int = Field(default=0, ge=0, description="frames of the simulator to add")
    simulated_seed: int = 0
    data_weights: dict[str, float] = Field(
        default_factory=dict, description="by name of a data set: how much more often its images are drawn"
    )
    leave_out_judged: bool = Field(
        default=False, description="leave out real images whose certainty was judged, for cross-validation"
    )
    start_from: Path | None = Field(default=None, description="weights to fine-tune; none: ImageNet")
    imagenet: bool = True
    resume: bool = False
    seed: int = 0
    architecture: AnyArchitecture = Architecture()
    uncertainty: UncertaintyHead = UncertaintyHead()
    augmentation: Augmentation = Augmentation()
    batch: int | None = Field(
        default=None, ge=1, description="crops in a step; none: the architecture's recipe"
    )
    crop_px: int = Field(default=CROP_PX, ge=64, multiple_of=64)
    learning_rate: float | None = Field(default=None, gt=0)
    backbone_learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    schedule: Literal["cosine", "plateau"] = "cosine"
    warm_up_steps: int = Field(default=100, ge=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validate_every: int = Field(
        default=500, ge=0, description="steps between looks at validation images; 0: never"
    )
    validation_images: int = Field(default=16, ge=1, description="how many are looked at each time")
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many looks without a better one, and keep the best"
    )
    search_head: bool = Field(
        default=False, description="search k, xi, sigma and w on box features of judged validation images"
    )
    threshold_trials: int = Field(default=120, ge=1, description="of the search of each regime's thresholds")
    checkpoint_every_s: float = Field(default=120, gt=0)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        bins = getattr(self.architecture, "confidence_bins", None)
        if bins is not None and bins != self.uncertainty.bins:
            raise ValueError(
                f"the architecture has {bins} confidence bins, the uncertainty head {self.uncertainty.bins}; "
                "give both the same"
            )
        if self.validate_every == 0 and (self.patience is not None or self.schedule == "plateau"):
            raise ValueError(
                "early stopping and the plateau schedule need looks at validation images; set validate_every"
            )
        if self.steps == 0 and self.start_from is None and not self.resume:
            raise ValueError(
                "0 steps leave a network as it is and only calibrate it anew; give the weights as start_from"
            )
        if any(weight <= 0 for weight in self.data_weights.values()):
            raise ValueError("weights of data sets must be over 0; leave a folder out instead")
        return self

    @property
    def crops(self) -> int:
        """Crops in a step."""
        return self.batch if self.batch is not None else recipe(self.architecture).batch
