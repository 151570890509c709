"""What a gateway acquires by itself, one frame after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from drivers.stub import BUMP_MM, StubHolder
from drivers.targets import Target
from schemas.acts import Act
from schemas.plans import Plan

DEMO_HFW_UM: Final = 250.0


@dataclass(frozen=True)
class PlannedFrame:
    """One frame of a sample, at a place of the stage; of an acquisition with its act and its index there."""

    sample_id: str
    x_mm: float
    y_mm: float
    hfw_um: float
    dwell_time_ns: float | None = 400.0
    frame_averages: int | None = 4
    autofocus: bool = False
    labels: tuple[str, ...] = ()
    detector: str | None = None
    act_id: UUID | None = None
    index: int | None = None

    def target(self, working_distance_mm: float | None) -> Target:
        """What the microscope is to do; focused at ``working_distance_mm`` unless it focuses by itself."""
        return Target(
            x_mm=self.x_mm,
            y_mm=self.y_mm,
            hfw_um=self.hfw_um,
            detector=self.detector,
            dwell_time_ns=self.dwell_time_ns,
            frame_averages=self.frame_averages,
            working_distance_mm=None if self.autofocus else working_distance_mm,
            autofocus=self.autofocus,
        )


@dataclass(frozen=True)
class AcquisitionPlan:
    """Frames in order, with a pause between them.

    A frame that does not focus by itself is taken at the working distance that the last one of the plan found.
    """

    frames: tuple[PlannedFrame, ...]
    interval_s: float = 0.0


def frames_of(act: Act, plan: Plan, answered: Collection[int]) -> tuple[PlannedFrame, ...]:
    """Frames of an acquisition that are still to be taken: those after the last one that was.

    ``plan`` is the act's own with its places on the stage.
    """
    begin = max(answered, default=-1) + 1
    frames = []
    for index in range(begin, plan.frames):
        place, hfw_um, focus = plan.frame(index)
        frames.append(
            PlannedFrame(
                sample_id=act.sample_id,
                x_mm=place.x_mm,
                y_mm=place.y_mm,
                hfw_um=hfw_um,
                dwell_time_ns=plan.dwell_time_ns,
                frame_averages=plan.frame_averages,
                autofocus=focus,
                labels=act.labels,
                detector=plan.detector,
                act_id=act.act_id,
                index=index,
            )
        )
    return tuple(frames)


def demo_plan(frames: int, seed: int, samples: Sequence[str] = ("demo-1", "demo-2")) -> AcquisitionPlan:
    """Frames of the virtual microscope's stubs, shared evenly between the samples.

    As an unattended series is often taken: focus once on each stub, then step on without focusing. Of each
    four places one lies where the tape has come loose (out of focus), and one is scanned in a hurry.

    Parameters
    ----------
    seed, samples
        Those of the virtual microscope.

    Raises
    ------
    ValueError
        Where ``frames`` is under 1.
    """
    if frames < 1:
        raise ValueError(f"frames: {frames}; give at least 1")
    holder = StubHolder(seed, tuple(samples))
    planned: list[PlannedFrame] = []
    for number, sample in enumerate(samples):
        count = frames // len(samples) + (number < frames % len(samples))
        x_mm, y_mm = holder.centre_mm(sample)
        flat, raised = _places(holder, x_mm, y_mm, raised=False), _places(holder, x_mm, y_mm, raised=True)
        for index in range(count):
            hurried = index % 4 == 2
            x_mm, y_mm = next(raised if index % 4 == 1 else flat)
            planned.append(
                PlannedFrame(
                    sample_id=sample,
                    x_mm=round(x_mm, 4),
                    y_mm=round(y_mm, 4),
                    hfw_um=DEMO_HFW_UM,
                    dwell_time_ns=50.0 if hurried else 400.0,
                    frame_averages=1 if hurried else 4,
                    autofocus=index == 0,
                )
            )
    return AcquisitionPlan(tuple(planned))


def _places(holder: StubHolder, x_mm: float, y_mm: float, *, raised: bool) -> Iterator[tuple[float, float]]:
    """Centres of the patches of tape that are raised or not, from the stub's centre outwards, again and again."""
    steps = range(-5, 6)
    patches = sorted(((i, j) for i in steps for j in steps), key=lambda p: (p[0] ** 2 + p[1] ** 2, p))
    shift_mm = 0.0
    while True:
        for i, j in patches:
            place = (x_mm + (i + 0.5) * BUMP_MM + shift_mm, y_mm + (j + 0.5) * BUMP_MM)
            if (holder.raised_um(*place) > 0) == raised:
                yield place
        shift_mm += 0.26 * (1 if shift_mm <= 0 else -2)
