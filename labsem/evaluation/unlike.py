"""How often ``out_of_distribution`` is raised: on foreign frames, on held-out images, on simulated frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labsem.evaluation.foreign import FOREIGN_FRAMES, foreign_frames
from labsem.morphology.intervals import wilson_bounds
from labsem.simulation import SIMULATOR_VERSION
from labsem.simulation.random_frames import random_frame
from labsem.training.datasets import LabelledImage
from schemas.base import Schema
from schemas.morphology import Regime

SIMULATED_SEED: Final = 900_000_000
"""From here on, seeds that no training draws frames from."""

IsUnlike = Callable[[NDArray[np.uint8] | NDArray[np.uint16], Regime], bool]
"""Whether a frame (H, W) of a regime is unlike the training."""

Progress = Callable[[int, int], None]
"""Called after each frame with the number done and the number of all."""


class Raised(Schema):
    """How many of some frames raised ``out_of_distribution``."""

    frames: int
    raised: int
    share: float
    share_interval_95: tuple[float, float] = Field(description="Wilson's")
    names: tuple[str, ...] = Field(description="of the frames that did; of foreign ones, those that did not")


class UnlikeReport(Schema):
    """Frames that should raise ``out_of_distribution``, and frames that should not."""

    foreign: Raised
    foreign_families: dict[str, Raised]
    in_domain: dict[str, Raised] = Field(description="by data set")
    simulated: Raised | None
    simulator_version: str


def measure_unlike(
    is_unlike: IsUnlike,
    in_domain: Mapping[str, Sequence[LabelledImage]],
    *,
    foreign: int = FOREIGN_FRAMES,
    simulated: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> UnlikeReport:
    """Ask of foreign, held-out and simulated frames whether they are unlike the training, all as of the joint regime.

    Parameters
    ----------
    is_unlike
        :meth:`labsem.networks.segmenter.Segmenter.is_unlike_training`.
    in_domain
        Held-out images by data set.
    foreign, simulated
        How many of each; simulated ones of both regimes in turn.
    seed
        Of the foreign frames.
    """
    total = foreign + simulated + sum(len(images) for images in in_domain.values())
    done = 0

    def ask(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
        nonlocal done
        answer = is_unlike(pixels, Regime.JOINT)
        done += 1
        if progress is not None:
            progress(done, total)
        return answer

    answers = [(frame.family, frame.name, ask(frame.pixels)) for frame in foreign_frames(foreign, seed)]
    families = sorted({family for family, _, _ in answers})
    rendered = [
        (f"simulated-{index}", ask(random_frame(SIMULATED_SEED + index, ("low", "high")[index % 2]).pixels))
        for index in range(simulated)
    ]
    return UnlikeReport(
        foreign=_raised([(name, answer) for _, name, answer in answers], wanted=True),
        foreign_families={
            family: _raised([(name, answer) for of, name, answer in answers if of == family], wanted=True)
            for family in families
        },
        in_domain={
            name: _raised([(image.id, ask(image.pixels())) for image in images], wanted=False)
            for name, images in in_domain.items()
        },
        simulated=_raised(rendered, wanted=False) if simulated else None,
        simulator_version=SIMULATOR_VERSION,
    )


def _raised(answers: Iterable[tuple[str, bool]], *, wanted: bool) -> Raised:
    known = list(answers)
    raised = sum(answer for _, answer in known)
    return Raised(
        frames=len(known),
        raised=raised,
        share=raised / len(known) if known else 0.0,
        share_interval_95=wilson_bounds(raised, len(known), level=0.975),
        names=tuple(name for name, answer in known if answer is not wanted),
    )
