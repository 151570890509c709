"""What the bench says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from labsem.morphology import wilson_bounds
from schemas.acts import RescanReason
from schemas.morphology import Regime
from services.rescan_bench.sites import Fault, Grade

NONE = "none"
JUDGED = (Grade.MEDIUM, Grade.STRONG)


class SiteResult(BaseModel):
    """One site.

    Attributes
    ----------
    reasons
        Those that the policy gave for the first frame, the one to mend first.
    right
        Whether the first of them names the planted fault.
    error, control_error, policy_error
        Of the first frame, of its repeat with unchanged parameters, and of the last frame that the policy asked for.
    improvement
        Relative fall of the error against the control; 0 where the policy left the site alone.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    regime: Regime
    fault: Fault
    grade: Grade | None
    reasons: tuple[RescanReason, ...]
    right: bool
    rescans: int
    error: float
    control_error: float | None
    policy_error: float | None
    improvement: float | None
    detail: str

    @property
    def improved(self) -> bool:
        """Whether the policy's last frame is better than the control's; not where it left the site alone."""
        return self.improvement is not None and self.improvement > 0


class Figures(BaseModel):
    """Of sites with faults."""

    model_config = ConfigDict(frozen=True)

    sites: int
    improved_fraction: float
    improved_fraction_bounds_95: tuple[float, float]
    median_improvement: float
    reason_accuracy: float
    mean_rescans_per_site: float
    median_error: float
    median_control_error: float
    median_policy_error: float | None


class RescanBench(BaseModel):
    """The bench's result.

    Attributes
    ----------
    improved_fraction, median_improvement, reason_accuracy, mean_rescans_per_site
        Over the medium and strong grades.
    reason_confusion
        Planted fault -> reason to be mended first -> sites, over all grades.
    false_rescan_rate
        Of the good sites.
    most_rescans
        At any one site.
    by_grade, by_fault
        The same figures; those of a fault over the medium and strong grades.
    """

    model_config = ConfigDict(frozen=True)

    sites: int
    good_sites: int
    seed: int
    improved_fraction: float
    improved_fraction_bounds_95: tuple[float, float]
    median_improvement: float
    reason_accuracy: float
    reason_confusion: dict[str, dict[str, int]]
    false_rescan_rate: float
    mean_rescans_per_site: float
    most_rescans: int
    attempts_per_site: int
    by_grade: dict[str, Figures]
    by_fault: dict[str, Figures]
    model: str
    simulator_version: str
    seconds: float
    rows: tuple[SiteResult, ...]


def figures(rows: Sequence[SiteResult]) -> Figures:
    """Sum up sites with faults.

    Raises
    ------
    ValueError
        Where there is none.
    """
    if not rows:
        raise ValueError("no site with a fault of this kind; take more sites")
    improved = sum(row.improved for row in rows)
    policy = [row.policy_error for row in rows if row.policy_error is not None]
    return Figures(
        sites=len(rows),
        improved_fraction=improved / len(rows),
        improved_fraction_bounds_95=wilson_bounds(improved, len(rows)),
        median_improvement=float(np.median([row.improvement or 0.0 for row in rows])),
        reason_accuracy=sum(row.right for row in rows) / len(rows),
        mean_rescans_per_site=float(np.mean([row.rescans for row in rows])),
        median_error=float(np.median([row.error for row in rows])),
        median_control_error=float(
            np.median([row.control_error for row in rows if row.control_error is not None])
        ),
        median_policy_error=float(np.median(policy)) if policy else None,
    )


def confusion(rows: Sequence[SiteResult]) -> dict[str, dict[str, int]]:
    """Planted fault -> first reason -> sites."""
    faults = dict.fromkeys(row.fault.value for row in rows)
    return {
        fault: dict(Counter(first_reason(row) for row in rows if row.fault.value == fault))
        for fault in faults
    }


def first_reason(row: SiteResult) -> str:
    """What the policy would mend first, or ``none``."""
    return row.reasons[0].value if row.reasons else NONE
