"""Thresholds of the combination of masks, searched on validation images with a tree-structured Parzen estimator.

Bergstra et al. (2011), by Optuna with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from labsem.evaluation.aji import aji_sums
from labsem.evaluation.detection import equivalent_diameter_px, match
from labsem.evaluation.overlap import Overlaps
from labsem.networks.manifest import Calibration, Platt, Thresholds
from labsem.networks.segmenter import apply_platt, logit
from labsem.training.atoms import SIGMAS, Kept, ScoredFrame
from labsem.training.validation import F1_SHARE

D50_SHARE = 0.25
"""Weight of the mean error of log D50 against AJI+ in the score."""

SIZE_SHARE = 1.0
"""Weight of the mean bias of matched particles' log diameters: a per cent of bias counts as much as 0.01 AJI+."""

D50_PARTICLES_MIN = 50
"""Frames with at least so many labelled particles say something of D50."""

TRIALS = 120
EXACT_TRIALS = 6
"""The best trials are looked at again with shades measured as inference does."""

Progress = Callable[[int, int], None]
"""Called with trials done and all trials."""


@dataclass(frozen=True)
class Score:
    """What a combination under some thresholds reaches on validation images.

    Attributes
    ----------
    aji_plus, f1
        (N,) of each image.
    log_d50_ratio
        (M,) of the images with enough labelled particles: log of the D50 found over the D50 labelled.
    log_size_ratio
        (K,) of the images with a matched particle: median log of the diameter found over the diameter labelled.
    """

    aji_plus: NDArray[np.float64]
    f1: NDArray[np.float64]
    log_d50_ratio: NDArray[np.float64]
    log_size_ratio: NDArray[np.float64]

    @property
    def per_image(self) -> NDArray[np.float64]:
        """(N,) AJI+ and half the F1."""
        return self.aji_plus + F1_SHARE * self.f1

    @property
    def value(self) -> float:
        """Mean AJI+, plus half the mean F1, less a quarter of the mean error of log D50, less the bias of sizes.

        AJI+ alone is blind to outlines that are all a little too narrow, which every diameter then is.
        """
        error = float(np.abs(self.log_d50_ratio).mean()) if len(self.log_d50_ratio) else 0.0
        bias = float(abs(self.log_size_ratio.mean())) if len(self.log_size_ratio) else 0.0
        return float(self.per_image.mean()) - D50_SHARE * error - SIZE_SHARE * bias


def segment(frame: ScoredFrame, thresholds: Thresholds, confidence: Platt, *, exact: bool = False) -> Kept:
    """Combine a frame's detections; certain where the calibrated confidence is over one half.

    A network with a rule of its own (the paper's) says itself what is certain.
    """
    certain = frame.detections.certain
    if certain is None:
        certain = apply_platt(confidence, logit(frame.detections.expected_confidence)[:, None]) > 0.5
    return frame.combine(certain, thresholds, exact=exact)


def score(
    frames: Sequence[ScoredFrame], thresholds: Thresholds, confidence: Platt, *, exact: bool = False
) -> Score:
    """Score thresholds on validation images."""
    return score_overlaps([segment(frame, thresholds, confidence, exact=exact).overlaps for frame in frames])


def score_overlaps(overlaps: Sequence[Overlaps]) -> Score:
    """Score segmentations of validation images."""
    ratios = [_log_d50_ratio(each) for each in overlaps]
    matches = [match(each) for each in overlaps]
    return Score(
        aji_plus=np.array([aji_sums(each).value for each in overlaps]),
        f1=np.array([each.counts.f1 for each in matches]),
        log_d50_ratio=np.array([ratio for ratio in ratios if ratio is not None]),
        log_size_ratio=np.array(
            [np.median(each.log_size_ratio) for each in matches if len(each.truth_index)], np.float64
        ),
    )


def search_thresholds(
    frames: Sequence[ScoredFrame],
    calibration: Calibration,
    *,
    trials: int = TRIALS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Thresholds, Score]:
    """The best thresholds of a search that starts from the calibration's own, and their exact score."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    first = calibration.thresholds
    study.enqueue_trial({name: getattr(first, name) for name in SPACE})
    tried: dict[Thresholds, float] = {}
    for number in range(trials):
        trial = study.ask()
        given = {
            name: round(trial.suggest_float(name, low, high, step=step), 4)
            for name, (low, high, step) in SPACE.items()
        }
        thresholds = first.model_copy(update=given)
        if thresholds not in tried:
            tried[thresholds] = score(frames, thresholds, calibration.confidence).value
        study.tell(trial, tried[thresholds])
        if progress is not None:
            progress(number + 1, trials)
    best = sorted(tried, key=lambda each: -tried[each])[:EXACT_TRIALS]
    exact = [(each, score(frames, each, calibration.confidence, exact=True)) for each in best]
    return max(exact, key=lambda pair: pair[1].value)


SPACE: dict[str, tuple[float, float, float]] = {
    "omega": (0.5, 0.9, 0.05),
    "psi": (0.2, 0.9, 0.05),
    "overlap": (0.1, 0.6, 0.05),
    "containment": (0.3, 1.0, 0.05),
    "op": (0.1, 0.9, 0.1),
    "sigma": (SIGMAS[0], SIGMAS[-1], 0.05),
    "contrast": (-0.1, 0.1, 0.02),
    "ground_band": (0.2, 0.35, 0.05),
}
"""Lowest and highest value and step of each threshold.

Where validation images are too few to tell, they do not decide. What is called certain must be a particle rather
than none (``omega``): lower, an outline of half the ground is kept in frames that they do not show. And few of them
show bare tape, of whose holes and bubbles ``ground_band`` clears a frame.
"""


def _log_d50_ratio(overlaps: Overlaps) -> float | None:
    if len(overlaps.truth_ids) < D50_PARTICLES_MIN or not len(overlaps.predicted_ids):
        return None
    found = np.median(equivalent_diameter_px(overlaps.predicted_area_px))
    labelled = np.median(equivalent_diameter_px(overlaps.truth_area_px))
    return float(np.log(found / labelled))
