"""Learning rates: warm-up, then cosine decay or a step down wherever validation no longer gains; early stopping."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, Self

FLOOR = 0.01
"""Cosine decay ends at this share of the rate."""

STEP_DOWN = 0.3
STEP_DOWN_AFTER = 2
"""On a plateau the rate is multiplied by ``STEP_DOWN`` after so many looks without a better one."""


@dataclass
class Watch:
    """What the looks at validation images have shown so far.

    Attributes
    ----------
    best, best_step
        Best score and its step.
    waiting
        Looks since the best one.
    scale
        What a plateau schedule has multiplied the rate with.
    since_step_down
        Looks without a better one since the rate last fell.
    """

    best: float = -math.inf
    best_step: int = 0
    waiting: int = 0
    scale: float = 1.0
    since_step_down: int = 0

    def look(self, step: int, score: float) -> bool:
        """Take note of a score, and say whether it is the best so far."""
        if score > self.best:
            self.best, self.best_step, self.waiting, self.since_step_down = score, step, 0, 0
            return True
        self.waiting += 1
        self.since_step_down += 1
        if self.since_step_down >= STEP_DOWN_AFTER:
            self.scale *= STEP_DOWN
            self.since_step_down = 0
        return False

    def state(self) -> dict[str, float | int]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, state: dict[str, float | int]) -> Self:
        """From a checkpoint."""
        return cls(**state)  # type: ignore[arg-type]


def rate_factor(
    schedule: Literal["cosine", "plateau"], *, step: int, fraction: float, warm_up_steps: int, watch: Watch
) -> float:
    """What the learning rates are multiplied with at a step, of a training that is done to ``fraction``."""
    warm_up = min(1.0, (step + 1) / max(warm_up_steps, 1))
    if schedule == "plateau":
        return warm_up * watch.scale
    return warm_up * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * fraction)))
