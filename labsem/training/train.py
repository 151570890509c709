"""Training of a network: ``labsem train``.

Images come from folders in the labelled layout; where a folder's ids are those of a split file, only its train part
is learned from. Warm-up and a schedule, gradient clipping, mixed precision where it is faster, an exponential moving
average of the weights, and checkpoints from which a training goes on bit for bit: crops depend on the step alone, the
rest of the state is stored. (With ``minutes`` the cosine schedule follows the clock, so only the crops are the same.)
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch

from labsem.networks.detector import bfloat16_is_faster
from labsem.networks.registry import build_network, load_imagenet, make_optimizer
from labsem.networks.trainable import TrainableNetwork
from labsem.training.history import LossLog, ValidationLog
from labsem.training.options import TrainingOptions
from labsem.training.sampling import Crop, CropSampler, TrainingImage
from labsem.training.schedule import Watch, rate_factor
from labsem.training.start import load_start
from labsem.training.targets import crop_target
from labsem.training.validation import choose_images, validate

__all__ = [
    "BEST",
    "CHECKPOINT",
    "Progress",
    "Training",
    "TrainingInterruptedError",
    "TrainingOptions",
    "train",
]

log = structlog.get_logger(__name__)

Progress = Callable[[float, dict[str, float], float], None]
"""Called after each step with the fraction done, the running losses by name, and the seconds left."""

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
_SMOOTHING = 0.95


class TrainingInterruptedError(RuntimeError):
    """A training that was stopped; the message says from where and how it goes on."""


class Training:
    """One training: network, optimiser, average and their checkpoint.

    Parameters
    ----------
    options
        What it is given.
    network
        To train instead of a new one of the options' architecture.
    """

    def __init__(self, options: TrainingOptions, network: TrainableNetwork | None = None) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = build_network(options.architecture) if network is None else network
        self.start = _start(self.network, options) if network is None else "the given network"
        heads = getattr(self.network, "roi_heads", None)
        if heads is not None:
            heads.uncertainty = options.uncertainty
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(
            self.network,
            learning_rate=options.learning_rate,
            backbone_learning_rate=options.backbone_learning_rate,
            weight_decay=options.weight_decay,
        )
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.watch = Watch()
        self.step = 0
        self.seconds = 0.0
        self.half = _half_precision(options, self.device)
        self.between_steps = True
        if options.resume:
            self.load()

    @property
    def checkpoint(self) -> Path:
        """File from which the training goes on."""
        return self.options.output / CHECKPOINT

    @property
    def best(self) -> Path:
        """Averaged weights that did best on validation images, kept where a patience is given."""
        return self.options.output / BEST

    def fraction(self) -> float:
        """Share of the training that is done."""
        if self.options.steps is not None:
            return min(1.0, self.step / self.options.steps) if self.options.steps else 1.0
        minutes = self.options.minutes or 60.0
        return min(1.0, self.seconds / (60 * minutes))

    @property
    def exhausted(self) -> bool:
        """Whether validation has not gained for as long as the patience lasts."""
        return self.options.patience is not None and self.watch.waiting >= self.options.patience

    def run_step(self, crops: list[Crop]) -> dict[str, float]:
        """One optimiser step; returns its losses.

        Raises
        ------
        FloatingPointError
            Where the loss is no longer finite.
        """
        self.between_steps = False
        images = torch.from_numpy(np.stack([crop.grey for crop in crops]))[:, None].to(self.device)
        targets = [crop_target(crop, self.device) for crop in crops]
        factor = rate_factor(
            self.options.schedule,
            step=self.step,
            fraction=self.fraction(),
            warm_up_steps=self.options.warm_up_steps,
            watch=self.watch,
        )
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            losses = self.network.losses(images.contiguous(memory_format=torch.channels_last), targets)
        total = torch.stack([value.float() for value in losses.values()]).sum()
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
                else:
                    self.average[name].copy_(tensor)
        self.step += 1
        self.between_steps = True
        return {name: float(value.detach()) for name, value in losses.items()}

    def averaged_network(self) -> TrainableNetwork:
        """A copy of the network with the averaged weights, on the CPU."""
        network = copy.deepcopy(self.network).cpu()
        network.load_state_dict({name: tensor.cpu() for name, tensor in self.average.items()})
        return network.eval()

    def save(self) -> None:
        """Write the checkpoint beside its place and move it there."""
        _write(
            self.checkpoint,
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "torch_rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
                "watch": self.watch.state(),
                "half": self.half,
                "start": self.start,
                "options": self.options.model_dump_json(),
            },
        )

    def save_best(self) -> None:
        """Write the averaged weights as the best so far."""
        _write(self.best, {"step": self.step, "seconds": self.seconds, "average": self.average})

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises
        ------
        FileNotFoundError
            Where there is none in the output folder.
        ValueError
            Where it is of another architecture.
        """
        if not self.checkpoint.is_file():
            raise FileNotFoundError(
                f"{self.checkpoint} does not exist: nothing to resume; start without --resume"
            )
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(
                f"{self.checkpoint} is of another architecture than the one asked for; resume with the --architecture "
                f"that it was started with"
            ) from error
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if self.device.type == "cuda" and state.get("cuda_rng"):
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_rng"]])
        self.watch = Watch.restored(state.get("watch", {}))
        self.half = state.get("half", self.half)
        self.start = state.get("start", self.start)
        self.step, self.seconds = state["step"], state["seconds"]


def train(
    options: TrainingOptions,
    datasets: Sequence[Sequence[TrainingImage]],
    progress: Progress | None = None,
    *,
    validation: Sequence[TrainingImage] = (),
    weights: Sequence[float] | None = None,
    network: TrainableNetwork | None = None,
) -> Path:
    """Train on data sets in memory and return the file whose averaged weights can be published.

    Parameters
    ----------
    options
        What it is given.
    datasets
        Images to learn from, by data set.
    progress
        Called after each step; may raise KeyboardInterrupt to stop.
    validation
        Images of which some are looked at now and then.
    weights
        By data set, by how much more often its images are drawn.
    network
        To train instead of a new one.

    Raises
    ------
    ValueError
        Where no image is left to train on, or a schedule or patience has no validation image.
    FileNotFoundError
        Where there is nothing to resume.
    FloatingPointError
        Where the loss is no longer finite.
    TrainingInterruptedError
        Where it was stopped (Ctrl-C); a checkpoint is left.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    if not validation and (options.patience is not None or options.schedule == "plateau"):
        raise ValueError(
            "early stopping and the plateau schedule need validation images, and none is left for this regime"
        )
    sampler = CropSampler(
        datasets, options.seed, options.crop_px, augmentation=options.augmentation, weights=weights
    )
    training = Training(options, network)
    looked_at = choose_images(validation, options.validation_images)
    log.info("training begins", step=training.step, device=str(training.device), regime=options.regime.value)
    names = training.network.loss_names
    running: dict[str, float] = {}
    try:
        with (
            LossLog(options.output, names, after_step=training.step) as losses_log,
            ValidationLog(options.output, after_step=training.step) as validation_log,
        ):
            for losses in _steps(training, sampler, looked_at, validation_log):
                rate = training.optimizer.param_groups[-1]["lr"]
                losses_log.write(training.step, training.seconds, rate, losses)
                for name, value in losses.items():
                    running[name] = _SMOOTHING * running.get(name, value) + (1 - _SMOOTHING) * value
                if progress is not None:
                    fraction = training.fraction()
                    left = training.seconds / fraction * (1 - fraction) if fraction > 0 else math.nan
                    progress(fraction, running, left)
    except KeyboardInterrupt:
        raise TrainingInterruptedError(_leave(training)) from None
    training.save()
    return training.best if options.patience is not None and training.best.is_file() else training.checkpoint


def _steps(
    training: Training, sampler: CropSampler, validation: Sequence[TrainingImage], looks: ValidationLog
) -> Iterator[dict[str, float]]:
    saved = time.monotonic()
    options = training.options
    while training.fraction() < 1 and not training.exhausted:
        begun = time.monotonic()
        losses = training.run_step(sampler.batch(training.step, options.crops))
        training.seconds += time.monotonic() - begun
        if validation and options.validate_every and training.step % options.validate_every == 0:
            result = validate(training.averaged_network(), validation)
            looks.write(training.step, training.seconds, result)
            log.info("validation", step=training.step, **result.figures())
            if training.watch.look(training.step, result.score) and options.patience is not None:
                training.save_best()
        yield losses
        if time.monotonic() - saved > options.checkpoint_every_s:
            training.save()
            saved = time.monotonic()


def _leave(training: Training) -> str:
    """Leave a checkpoint where the state is whole, and say how the training goes on."""
    if training.between_steps:
        training.save()
    if not training.checkpoint.is_file():
        return f"stopped in step {training.step}, before the first checkpoint; start again"
    return (
        f"stopped at step {training.step}; give the same command with --resume to go on from "
        f"{training.checkpoint}"
    )


def _start(network: TrainableNetwork, options: TrainingOptions) -> str:
    if options.resume:
        return "a checkpoint"
    if options.start_from is not None:
        load_start(network, options.start_from, options.regime)
        return options.start_from.name
    if options.imagenet and load_imagenet(network):
        return "ImageNet"
    return "random weights"


def _half_precision(options: TrainingOptions, device: torch.device) -> bool:
    if options.precision != "auto":
        return options.precision == "bfloat16"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else bfloat16_is_faster()


def _write(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
