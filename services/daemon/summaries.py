"""A sample's summary: computed under its lock, kept as its latest, and sent."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from labsem.morphology import FrameParticles, VarianceHistory, history_variance, summarize_sample
from labsem.store import instruments, journal, queries, samples
from schemas.morphology import FieldBlock, SampleMorphology

HISTORY_SAMPLES = 5
"""Earlier samples of the instrument whose variance between frames stands in for a sample of few frames."""

ENOUGH_FRAMES = 5
"""From so many frames on a sample has a variance of its own."""

SAME_FIELD = 0.01
"""Field widths that differ by less, relatively, are one."""


def send(session: Session, stream: str, sample_id: str) -> SampleMorphology:
    """Summarize a sample as it stands in this writing transaction, keep it, and journal it under the next revision."""
    revision = samples.bump_revision(session, sample_id)
    now = samples.condition(session, sample_id)
    frames = queries.current_frames(session, sample_id)
    blocks = _blocks(session, sample_id, frames)
    summary = SampleMorphology(
        sample_id=sample_id,
        sample_name=now.sample_name,
        sample_revision=revision,
        state=now.state,
        frames_pending=now.frames_pending,
        acts_open=now.acts_open,
        frames=len(frames),
        blocks=blocks,
        labels=now.labels,
        flags=tuple(dict.fromkeys(flag for block in blocks for flag in block.flags)),
    )
    samples.record_summary(session, summary)
    journal.append(session, stream, summary)
    return summary


def d50_interval_ratios(
    session: Session, sample_id: str, new: queries.FrameParticles
) -> tuple[float | None, float | None]:
    """Width of the 95 % interval of D50 over D50 at a new frame's field width, without that frame and with it."""
    frames = queries.current_frames(session, sample_id)
    hfw_um = _particles(new).hfw_um
    before = _interval_ratio(_blocks(session, sample_id, frames), hfw_um) if frames else None
    return before, _interval_ratio(_blocks(session, sample_id, [*frames, new]), hfw_um)


def _blocks(
    session: Session, sample_id: str, frames: Sequence[queries.FrameParticles]
) -> tuple[FieldBlock, ...]:
    instrument_id = frames[-1].morphology.instrument_id if frames else None
    instrument = None if instrument_id is None else instruments.get(session, instrument_id)
    return summarize_sample(
        [_particles(frame) for frame in frames],
        history=_history(session, sample_id, instrument_id, len(frames)),
        scale_relative_uncertainty=instrument.scale_relative_uncertainty if instrument else None,
        scale_verified=instrument.scale_verified if instrument else False,
    )


def _interval_ratio(blocks: tuple[FieldBlock, ...], hfw_um: float | None) -> float | None:
    for block in blocks:
        if hfw_um is None or block.hfw_um is None or abs(block.hfw_um / hfw_um - 1) > SAME_FIELD:
            continue
        found = block.sizes.number.all
        if found.d50_um is not None and found.d50_interval_95_um is not None:
            low_um, high_um = found.d50_interval_95_um
            return (high_um - low_um) / found.d50_um
    return None


def _history(
    session: Session, sample_id: str, instrument_id: str | None, frames: int
) -> VarianceHistory | None:
    if instrument_id is None or frames >= ENOUGH_FRAMES:
        return None
    earlier = queries.earlier_samples(session, instrument_id, before_sample=sample_id, limit=HISTORY_SAMPLES)
    if not earlier:
        return None
    return history_variance(
        [[_particles(frame) for frame in queries.current_frames(session, each)] for each in earlier]
    )


def _particles(frame: queries.FrameParticles) -> FrameParticles:
    morphology, columns = frame.morphology, frame.particles
    pixel_size_nm = morphology.acquisition.pixel_size_nm
    um_per_px = None if pixel_size_nm is None else pixel_size_nm / 1e3
    return FrameParticles(
        frame_id=frame.frame_id,
        hfw_um=None if um_per_px is None else um_per_px * morphology.width_px,
        um_per_px=um_per_px,
        width_px=morphology.width_px,
        ecd_px=columns["ecd_px"],
        edge_weight=columns["edge_weight"],
        certain=columns["certain"],
        cut_by_edge=columns["cut_by_edge"],
        aspect_ratio=columns["aspect_ratio"],
        circularity_iso=columns["circularity_iso"],
        solidity=columns["solidity"],
        area_coverage=morphology.area_coverage,
        detection_floor_px=morphology.detection_floor_px,
        flags=morphology.flags,
    )
