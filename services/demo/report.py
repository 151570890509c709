"""What a demonstration did, and what is known of it while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from schemas.acts import Act, ActChanged
from schemas.base import Schema
from schemas.morphology import FrameMorphology, SampleMorphology


class DemoFrame(Schema):
    """One frame, as the database has it at the end."""

    frame_id: UUID
    sample_id: str
    regime: str
    particle_count: int
    uncertain_fraction: float | None
    d50_number_all_um: float | None
    decision: str
    seconds: dict[str, float]


class DemoRescan(Schema):
    """One rescan with its outcome."""

    act_id: UUID
    reasons: tuple[str, ...]
    state: str
    uncertain_fraction_before: float | None
    uncertain_fraction_after: float | None


class DemoReport(Schema):
    """What the demonstration did."""

    frames_analysed: int
    frames_lost: int
    frames: tuple[DemoFrame, ...]
    rescans: tuple[DemoRescan, ...]
    data_dir: str


@dataclass
class DemoState:
    """What a view shows while the loop runs."""

    planned: int
    stage: str = "starting"
    folder: Path | None = None
    frames: list[FrameMorphology] = field(default_factory=list)
    rescans: dict[UUID, ActChanged] = field(default_factory=dict)
    samples: dict[str, SampleMorphology] = field(default_factory=dict)

    def take(self, message: Schema) -> None:
        """Note what the planner was told."""
        if isinstance(message, FrameMorphology):
            self.frames.append(message)
        elif isinstance(message, ActChanged):
            self.rescans[message.act_id] = message
        elif isinstance(message, SampleMorphology):
            self.samples[message.sample_id] = message


def build_report(
    analysed: Iterable[FrameMorphology], acts: Iterable[Act], lost: int, data_dir: Path
) -> DemoReport:
    """The report from the database's own records, in order of acquisition."""
    frames = sorted(analysed, key=lambda frame: frame.acquired_at)
    return DemoReport(
        frames_analysed=len(frames),
        frames_lost=lost,
        frames=tuple(
            DemoFrame(
                frame_id=frame.frame_id,
                sample_id=frame.sample_id,
                regime=frame.regime.value,
                particle_count=frame.particle_count,
                uncertain_fraction=frame.uncertain_fraction.value,
                d50_number_all_um=frame.d50_number_all_um,
                decision=frame.decision.kind,
                seconds=frame.seconds,
            )
            for frame in frames
        ),
        rescans=tuple(
            DemoRescan(
                act_id=act.act_id,
                reasons=tuple(reason.value for reason in act.reasons),
                state=act.state.value,
                uncertain_fraction_before=act.outcome.uncertain_fraction_before if act.outcome else None,
                uncertain_fraction_after=act.outcome.uncertain_fraction_after if act.outcome else None,
            )
            for act in sorted(acts, key=lambda act: act.created_at)
        ),
        data_dir=str(data_dir),
    )
