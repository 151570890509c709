"""Whether an acquisition has reached its aim; judged after each of its frames."""

from __future__ import annotations

import structlog
from sqlalchemy.orm import Session

from labsem.morphology.looks import is_look, known_within
from labsem.store import acquisitions
from schemas.acts import Act
from schemas.morphology import FieldBlock, SampleMorphology
from schemas.plans import Plan
from schemas.settings import Settings
from services.daemon.summaries import SAME_FIELD

log = structlog.get_logger(__name__)


def after_frame(session: Session, act: Act, sample: SampleMorphology, settings: Settings) -> None:
    """End a running acquisition whose aim is reached; give one that goes on its time anew."""
    limits = settings.rescans
    found = acquisitions.plan_of(session, act.act_id)
    if found is not None and found[0].plan is not None:
        why = reached(found[0].plan, found[1], sample)
        if why:
            ended = acquisitions.end_early(
                session, act.act_id, why, analysis_within_s=limits.analysis_within_s
            )
            if ended is not None:
                log.info("acquisition_reached_its_aim", act_id=str(act.act_id), why=why)
    acquisitions.prolong(
        session,
        act.instrument_id,
        running_for_s=limits.running_for_s,
        analysis_within_s=limits.analysis_within_s,
    )


def reached(plan: Plan, analysed: int, sample: SampleMorphology) -> str:
    """Why a plan has reached its aim, in words; empty where it has not.

    Parameters
    ----------
    analysed
        Frames of the plan that are analysed.
    sample
        The sample's summary with the last of them.
    """
    if plan.until_particles is not None:
        particles = sum(block.particle_count for block in sample.blocks)
        if particles >= plan.until_particles:
            return f"{particles} particles after {analysed} frames, {plan.until_particles} were wanted"
    if plan.until_d50_within is not None and is_look(analysed):
        within = _d50_within(plan, sample.blocks)
        if within is not None and within <= plan.until_d50_within:
            return f"D50 known within {within:.1%} after {analysed} frames, {plan.until_d50_within:.1%} was wanted"
    return ""


def _d50_within(plan: Plan, blocks: tuple[FieldBlock, ...]) -> float | None:
    """Larger relative distance of the 97.5 % interval's ends from D50, of the plan's first field width."""
    for block in blocks:
        if block.hfw_um is None or abs(block.hfw_um / plan.hfw_um[0] - 1) > SAME_FIELD:
            continue
        found = block.sizes.number.all
        if found.d50_um is not None and found.d50_interval_97_5_um is not None:
            return known_within(found.d50_um, found.d50_interval_97_5_um)
    return None
