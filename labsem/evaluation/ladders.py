"""Does confidence fall with sharpness, and does it know more than shape? Asked of simulated scenes.

On a ladder one scene is shown at rising blur, or rising noise: the same particles, the same masks, ever less to see. On
a pair of equal geometry the same masks are once certain and once, out of focus or without contrast, uncertain.
Confidence is always asked for at the true boxes, so that what is found plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import spearmanr

from labsem.evaluation.bootstrap import draw_images
from labsem.evaluation.certainty import auroc, resampled_auroc
from labsem.evaluation.judgement import RESAMPLES, resampled_interval
from labsem.evaluation.measure import TrustAt
from labsem.evaluation.report import Interval
from labsem.regimes import DISPLAY_WIDTH_M, MAGNIFICATION_SPLIT, route
from labsem.simulation import SIMULATOR_VERSION, SimulatedFrame
from labsem.simulation.ladders import LADDER_SEEDS, blur_ladder, equal_geometry_pairs, noise_ladder
from schemas.base import Schema
from schemas.image import Acquisition
from schemas.morphology import Regime

LEVELS: Final = 6
ALL_KINDS: Final = "all"

Floats = NDArray[np.float64]


class LadderFigures(Schema):
    """Mean confidence at the true boxes against the level, 0 the clearest; Spearman's rank correlation."""

    scenes: int
    levels: int
    confidence: tuple[float, ...] = Field(
        description="of each level, mean over scenes of the mean over particles"
    )
    spearman: float | None = Field(description="of these means")
    spearman_pooled: float | None = Field(
        description="of all scenes' levels, each scene's own mean taken off"
    )
    spearman_mean: float | None = Field(description="mean over scenes of each one's own")
    spearman_worst: float | None
    spearman_by_scene: tuple[float | None, ...] = Field(description="null where all levels are alike")


class PairFigures(Schema):
    """Confidence of the same masks when certain and when uncertain; geometry's AUROC is 0.5 on them."""

    scenes: int
    particles: int = Field(description="each stands on both sides")
    auroc: float | None
    auroc_interval_95: Interval | None = Field(description="of a bootstrap over scenes")
    lower_share: float | None = Field(
        description="share of particles whose confidence is lower when uncertain"
    )


class SimulatedCertainty(Schema):
    """Confidence of one model on simulated scenes."""

    simulator_version: str
    regime: str
    seeds: tuple[int, ...]
    blur: LadderFigures
    noise: LadderFigures
    pairs: dict[str, PairFigures] = Field(description="by kind, and all of them")


def evaluate_simulated_certainty(
    models: Mapping[str, TrustAt],
    seeds: Sequence[int] = LADDER_SEEDS,
    regime: Regime | None = None,
    *,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, SimulatedCertainty]:
    """Ask models for their confidence on ladders of blur and noise and on pairs of equal geometry.

    Parameters
    ----------
    models
        By name, each one's trust at given boxes.
    seeds
        Of the scenes: three sets of frames each.
    regime
        One for all scenes; None routes each by its magnification.
    progress
        Called with scenes done and in all.

    Raises
    ------
    ValueError
        Where a model judges no boxes.
    """
    blur: dict[str, list[Floats]] = {name: [] for name in models}
    noise: dict[str, list[Floats]] = {name: [] for name in models}
    pairs: dict[str, dict[str, list[tuple[Floats, Floats]]]] = {name: {} for name in models}

    def ask(name: str, frame: SimulatedFrame) -> Floats:
        routed = regime or route(
            Acquisition(hfw_um=frame.view.hfw_um), display_width_m=display_width_m, split=magnification_split
        )
        trust = models[name](frame.pixels, frame.boxes[:, [1, 0, 3, 2]].astype(np.int64), routed)
        if trust is None:
            raise ValueError(f"{name} has no confidence at given boxes; leave it out")
        return trust.confidence

    for done, seed in enumerate(seeds, 1):
        for ladder, into in ((blur_ladder, blur), (noise_ladder, noise)):
            frames = ladder(seed, LEVELS)
            for name in models:
                into[name].append(np.array([ask(name, frame).mean() for frame in frames]))
        for pair in equal_geometry_pairs(seed):
            chosen = np.array(pair.labels, np.int64) - 1
            for name in models:
                clear, unclear = (ask(name, frame)[chosen] for frame in (pair.clear, pair.unclear))
                pairs[name].setdefault(pair.kind, []).append((clear, unclear))
        if progress is not None:
            progress(done, len(seeds))
    return {
        name: SimulatedCertainty(
            simulator_version=SIMULATOR_VERSION,
            regime=regime.value if regime else "auto",
            seeds=tuple(seeds),
            blur=ladder_figures(np.stack(blur[name])),
            noise=ladder_figures(np.stack(noise[name])),
            pairs={kind: pair_figures(found) for kind, found in pairs[name].items()}
            | {
                ALL_KINDS: pair_figures([_joined(scene) for scene in zip(*pairs[name].values(), strict=True)])
            },
        )
        for name in models
    }


def ladder_figures(confidence: Floats) -> LadderFigures:
    """Figures of (S, L) mean confidences: scenes by levels, the clearest first."""
    scenes, levels = confidence.shape
    steps = np.arange(levels)
    by_scene = [_spearman(steps, row) for row in confidence]
    known = [value for value in by_scene if value is not None]
    own = confidence - confidence.mean(axis=1, keepdims=True)
    return LadderFigures(
        scenes=scenes,
        levels=levels,
        confidence=tuple(confidence.mean(axis=0).tolist()),
        spearman=_spearman(steps, confidence.mean(axis=0)),
        spearman_pooled=_spearman(np.tile(steps, scenes), own.ravel()),
        spearman_mean=float(np.mean(known)) if known else None,
        spearman_worst=max(known) if known else None,
        spearman_by_scene=tuple(by_scene),
    )


def pair_figures(scenes: Sequence[tuple[Floats, Floats]]) -> PairFigures:
    """Figures of scenes' confidences (N,) of the same masks when certain, and when uncertain."""
    counts = [len(clear) for clear, _ in scenes]
    clear, unclear = _joined(scenes)
    scores = np.concatenate([clear, unclear])
    certain = np.arange(len(scores)) < len(clear)
    groups = np.tile(np.repeat(np.arange(len(scenes)), counts), 2)
    resampled = resampled_auroc(scores, certain, groups, draw_images(len(scenes), RESAMPLES))
    return PairFigures(
        scenes=len(scenes),
        particles=len(clear),
        auroc=auroc(scores, certain),
        auroc_interval_95=resampled_interval(resampled, len(scenes)),
        lower_share=float((unclear < clear).mean()) if len(clear) else None,
    )


def _joined(parts: Iterable[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    both = list(parts)
    return (
        np.concatenate([np.zeros(0), *(clear for clear, _ in both)]),
        np.concatenate([np.zeros(0), *(unclear for _, unclear in both)]),
    )


def _spearman(levels: NDArray[np.int64], values: Floats) -> float | None:
    if np.ptp(values) < 1e-12:
        return None
    return float(spearmanr(levels, values).statistic)
