"""Training of the shipped network: ``labsem train``.

Images come from folders in the labelled layout; where a folder's ids are those of a split file, only its train part
is learned from. AdamW with warm-up and cosine decay, gradient clipping, an exponential moving average of the
weights, and checkpoints from which a training goes on with the same crops.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import structlog
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from labsem.networks.architecture import Architecture, ParticleNetwork, load_imagenet
from labsem.training.sampling import CROP_PX, Crop, CropSampler, TrainingImage
from schemas.morphology import Regime

log = structlog.get_logger(__name__)

Progress = Callable[[float, dict[str, float], float], None]
"""Called with the fraction done, the running losses, and the seconds left."""

CHECKPOINT = "checkpoint.pt"
HISTORY = "losses.csv"
LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_class", "loss_box", "loss_mask", "loss_confidence")


class TrainingOptions(BaseModel):
    """What a training is given; kept with its checkpoint and in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: tuple[Path, ...] = Field(min_length=1)
    output: Path
    regime: Regime = Regime.JOINT
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    simulated: int = Field(default=0, ge=0, description="frames of the simulator to add")
    leave_out_judged: bool = Field(
        default=False, description="leave out real images whose certainty was judged, for cross-validation"
    )
    start_from: Path | None = Field(default=None, description="weights to fine-tune; none: ImageNet")
    imagenet: bool = True
    resume: bool = False
    seed: int = 0
    batch: int = Field(default=2, ge=1)
    crop_px: int = Field(default=CROP_PX, ge=64, multiple_of=64)
    learning_rate: float = Field(default=4e-4, gt=0)
    backbone_learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, gt=0)
    checkpoint_every_s: float = Field(default=120, gt=0)
    architecture: Architecture = Architecture()


class Training:
    """One training: network, optimiser, average and their checkpoint."""

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = ParticleNetwork(options.architecture).to(self.device)
        if options.start_from is not None:
            from labsem.networks.manifest import load_weights

            self.network.load_state_dict(load_weights(options.start_from))
        elif options.imagenet:
            load_imagenet(self.network)
        self.network.to(memory_format=torch.channels_last)
        backbone = list(self.network.backbone.parameters())
        names = {id(parameter) for parameter in backbone}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in names]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": backbone, "lr": options.backbone_learning_rate},
                {"params": rest, "lr": options.learning_rate},
            ],
            weight_decay=options.weight_decay,
        )
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        if options.resume:
            self.load()

    @property
    def checkpoint(self) -> Path:
        """File from which the training goes on."""
        return self.options.output / CHECKPOINT

    def fraction(self) -> float:
        """Share of the training that is done."""
        if self.options.steps is not None:
            return min(1.0, self.step / self.options.steps)
        minutes = self.options.minutes or 60.0
        return min(1.0, self.seconds / (60 * minutes))

    def run_step(self, crops: list[Crop]) -> dict[str, float]:
        """One optimiser step; returns its losses."""
        images = torch.from_numpy(np.stack([crop.grey for crop in crops]))[:, None].to(self.device)
        targets = [_target(crop, self.device) for crop in crops]
        rate = _schedule(self.fraction(), self.step)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * rate
        self.network.train()
        losses = self.network.losses(images.contiguous(memory_format=torch.channels_last), targets)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise FloatingPointError(f"the loss is not finite at step {self.step}; lower --learning-rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
        self.optimizer.step()
        decay = min(self.options.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        """Write the checkpoint beside its place and move it there."""
        self.options.output.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(".tmp")
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "options": self.options.model_dump_json(),
        }
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        FileNotFoundError
            Where there is none in the output folder.
        """
        if not self.checkpoint.is_file():
            raise FileNotFoundError(
                f"{self.checkpoint} does not exist: nothing to resume; start without --resume"
            )
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]


def train(
    options: TrainingOptions, datasets: Sequence[Sequence[TrainingImage]], progress: Progress | None = None
) -> Path:
    """Train on data sets in memory and return the checkpoint, whose averaged weights can be published.

    Raises
    ------
    ValueError
        Where no image is left to train on.
    FileNotFoundError
        Where there is nothing to resume.
    FloatingPointError
        Where the loss is no longer finite.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    sampler = CropSampler(datasets, options.seed, options.crop_px)
    training = Training(options)
    log.info("training begins", step=training.step, device=str(training.device), regime=options.regime.value)
    with (options.output / HISTORY).open("a" if options.resume else "w", newline="") as file:
        writer = csv.writer(file)
        if not options.resume:
            writer.writerow(["step", "seconds", *LOSSES])
        for losses in _steps(training, sampler):
            writer.writerow(
                [training.step, f"{training.seconds:.1f}", *(f"{losses[name]:.5f}" for name in LOSSES)]
            )
            if progress is not None:
                fraction = training.fraction()
                left = training.seconds / fraction * (1 - fraction) if fraction > 0 else math.nan
                progress(fraction, losses, left)
            if training.step % 20 == 0:
                file.flush()
    training.save()
    return training.checkpoint


def _steps(training: Training, sampler: CropSampler) -> Iterator[dict[str, float]]:
    saved = time.monotonic()
    while training.fraction() < 1:
        begun = time.monotonic()
        losses = training.run_step(sampler.batch(training.step, training.options.batch))
        training.seconds += time.monotonic() - begun
        yield losses
        if time.monotonic() - saved > training.options.checkpoint_every_s:
            training.save()
            saved = time.monotonic()


def _schedule(fraction: float, step: int, warm_up: int = 100, floor: float = 0.01) -> float:
    return min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fraction)))


def _target(crop: Crop, device: torch.device) -> dict[str, Tensor]:
    return {
        "boxes": torch.from_numpy(crop.boxes).to(device),
        "ids": torch.from_numpy(crop.ids).to(device),
        "labels": torch.ones(len(crop.ids), dtype=torch.int64, device=device),
        "certainty": torch.from_numpy(crop.certainty).to(device),
        "label_image": torch.from_numpy(crop.labels).to(device),
    }
