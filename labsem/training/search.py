"""The uncertainty head on evidence: its fit, and the search of k, xi, sigma and w.

The head is one fully connected layer, so each candidate is refitted on stored evidence, out of fold by image. The
noise of the targets is averaged exactly instead of drawn: the expected loss of a certain and of an uncertain label is
a fixed row of weights on the log probabilities of the bins, and the fit is convex.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import log_softmax, ndtr

from labsem.evaluation.certainty import auroc
from labsem.networks.evidence import EvidenceHead
from labsem.networks.losses import UncertaintyHead
from labsem.networks.segmenter import logit
from labsem.training.calibrate import fit_platt

FOLDS = 5
TRIALS = 40
RIDGE = 1e-2
"""Penalty on squared weights of standardised features, against the mean loss."""

Progress = Callable[[int, int], None]
"""Called with trials done and all trials."""


@dataclass(frozen=True)
class JudgedFeatures:
    """What is known of judged particles.

    Attributes
    ----------
    features
        (N, F).
    certain
        (N,).
    groups
        (N,) which image each is from.
    """

    features: NDArray[np.float64]
    certain: NDArray[np.bool_]
    groups: NDArray[np.int64]


class HeadSearch(BaseModel):
    """Outcome of a search; part of the manifest.

    Attributes
    ----------
    settings
        The best candidate.
    auroc, log_loss
        Out of fold: of the expected bin centre, and of its calibration fitted on the other folds.
    usual_auroc, usual_log_loss
        The same of the settings that were not searched.
    trials, particles, images
        How many candidates were tried, on how much.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: UncertaintyHead
    auroc: float
    log_loss: float
    usual: UncertaintyHead
    usual_auroc: float
    usual_log_loss: float
    trials: int
    particles: int
    images: int


def target_rows(settings: UncertaintyHead) -> NDArray[np.float64]:
    """Weights (2, k) of the bins' log probabilities in the expected loss of an uncertain and of a certain label.

    ``w_c E[exp(-|y - c| / xi)]`` over bins y of the clipped noisy target (Rettenberger et al. 2024, equation 1).
    """
    bins = settings.bins
    edges = np.arange(1, bins) / bins
    places = np.arange(bins)
    nearness = np.exp(-np.abs(places[:, None] - places[None, :]) / settings.xi)
    rows = []
    for mean in (0.0, 1.0):
        under = ndtr((edges - mean) / settings.sigma) if settings.sigma > 0 else (edges > mean).astype(float)
        share = np.diff(np.concatenate([[0.0], under, [1.0]]))
        rows.append(share @ nearness)
    weights = np.ones(bins) if settings.weights is None else np.array(settings.weights)
    found: NDArray[np.float64] = np.array(rows) * weights
    return found


def fit_head(data: JudgedFeatures, settings: UncertaintyHead, ridge: float = RIDGE) -> EvidenceHead:
    """The head that minimises the expected loss, with a penalty on the weights of standardised features."""
    mean, scale = data.features.mean(axis=0), data.features.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    features = (data.features - mean) / scale
    rows = target_rows(settings)[data.certain.astype(int)]
    rows = rows / rows.sum(axis=1).mean()
    total = rows.sum(axis=1, keepdims=True)
    count, size, bins = len(features), features.shape[1], settings.bins

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = flat[: bins * size].reshape(bins, size), flat[bins * size :]
        logs = log_softmax(features @ weight.T + bias, axis=1)
        off = (np.exp(logs) * total - rows) / count
        value = -(rows * logs).sum() / count + 0.5 * ridge * (weight**2).sum()
        return float(value), np.concatenate([(off.T @ features + ridge * weight).ravel(), off.sum(axis=0)])

    fit = minimize(loss, np.zeros(bins * (size + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weight = fit.x[: bins * size].reshape(bins, size) / scale
    return EvidenceHead(weight, fit.x[bins * size :] - weight @ mean)


def out_of_fold(
    data: JudgedFeatures, settings: UncertaintyHead, folds: int = FOLDS, seed: int = 0
) -> NDArray[np.float64]:
    """Expected bin centre (N,) of each particle by a head that never saw its image.

    Raises
    ------
    ValueError
        Where there are fewer than two images.
    """
    images = np.unique(data.groups)
    if len(images) < 2:
        raise ValueError("two judged images are needed at least, so that one can be held out")
    expected = np.zeros(len(data.certain))
    for held_out in np.array_split(np.random.default_rng(seed).permutation(images), min(folds, len(images))):
        test = np.isin(data.groups, held_out)
        rest = JudgedFeatures(data.features[~test], data.certain[~test], data.groups[~test])
        expected[test] = fit_head(rest, settings).expected(data.features[test])
    return expected


def search_head(
    data: JudgedFeatures,
    *,
    usual: UncertaintyHead | None = None,
    trials: int = TRIALS,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> HeadSearch:
    """Search k, xi, sigma and w; the best is the one of least log loss out of fold.

    Raises
    ------
    ValueError
        Where there are fewer than two images or one class only.
    """
    if data.certain.all() or not data.certain.any():
        raise ValueError("the judged particles are all of one class; there is nothing to tell apart")
    usual = usual or UncertaintyHead()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    best, best_scores = usual, _scores(data, usual, folds, seed)
    usual_scores = best_scores
    for number in range(trials):
        trial = study.ask()
        bins = trial.suggest_int("bins", 2, 10)
        lean = trial.suggest_float("lean", -1.0, 1.0)
        settings = UncertaintyHead(
            bins=bins,
            xi=round(bins * trial.suggest_float("xi_of_bins", 0.02, 1.0, log=True), 4),
            sigma=round(trial.suggest_float("sigma", 0.02, 0.5, log=True), 4),
            # One number for w: bins of low confidence against those of high.
            weights=tuple(round(float(w), 4) for w in np.exp(lean * np.linspace(1, -1, bins))),
        )
        scores = _scores(data, settings, folds, seed)
        study.tell(trial, scores[1])
        if scores[1] < best_scores[1]:
            best, best_scores = settings, scores
        if progress is not None:
            progress(number + 1, trials)
    return HeadSearch(
        settings=best,
        auroc=best_scores[0],
        log_loss=best_scores[1],
        usual=usual,
        usual_auroc=usual_scores[0],
        usual_log_loss=usual_scores[1],
        trials=trials,
        particles=len(data.certain),
        images=len(np.unique(data.groups)),
    )


def _scores(data: JudgedFeatures, settings: UncertaintyHead, folds: int, seed: int) -> tuple[float, float]:
    """AUROC and calibrated log loss, out of fold."""
    margin = logit(out_of_fold(data, settings, folds, seed))
    platt = fit_platt(margin[:, None], data.certain, "out of fold")
    calibrated = margin * platt.slopes[0] + platt.offset
    loss = float(np.mean(np.logaddexp(0, calibrated) - data.certain * calibrated))
    return auroc(margin, data.certain) or 0.5, loss
