"""The head's search: the averaged loss is the drawn one's mean, and what is found is stored and usable."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation.certainty import auroc
from labsem.networks.losses import UncertaintyHead, confidence_bin, label_uncertainty_loss, noisy_confidence
from labsem.training.jobs import TrainingJob, _networks
from labsem.training.search import (
    JudgedFeatures,
    fit_head,
    out_of_fold,
    search_head,
    target_rows,
)


@settings(deadline=None, max_examples=10)
@given(
    st.integers(2, 8),
    st.floats(0.05, 1.0),
    st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    st.sampled_from([0, 1]),
    st.booleans(),
)
def test_the_averaged_loss_is_the_mean_of_the_drawn_one(
    bins: int, xi_of_bins: float, sigma: float, certain: int, weighted: bool
) -> None:
    weights = tuple(np.linspace(2, 0.5, bins).tolist()) if weighted else None
    settings_ = UncertaintyHead(bins=bins, xi=xi_of_bins * bins, sigma=sigma, weights=weights)
    generator = torch.Generator().manual_seed(bins)
    logits = torch.randn(1, bins, generator=generator, dtype=torch.float64)
    drawn = confidence_bin(noisy_confidence(torch.full((20_000,), certain), sigma, generator), bins)
    mean = label_uncertainty_loss(
        logits.expand(len(drawn), -1),
        drawn,
        xi=settings_.xi,
        weights=None if weights is None else torch.tensor(weights, dtype=torch.float64),
    )
    exact = -(target_rows(settings_)[certain] * torch.log_softmax(logits, 1)[0].numpy()).sum()
    assert exact == pytest.approx(float(mean), rel=0.03)


def _judged(seed: int = 0, count: int = 240, size: int = 6) -> JudgedFeatures:
    rng = np.random.default_rng(seed)
    certain = rng.random(count) < 0.7
    features = rng.normal(0, 1, (count, size))
    features[:, 0] += 1.5 * certain
    return JudgedFeatures(features, certain, np.repeat(np.arange(12), count // 12))


def test_a_fitted_head_tells_certain_from_uncertain() -> None:
    data = _judged()
    head = fit_head(data, UncertaintyHead())
    expected = head.expected(data.features)
    assert ((expected > 0) & (expected < 1)).all()
    assert expected[data.certain].mean() > expected[~data.certain].mean() + 0.1
    held_out = auroc(out_of_fold(data, UncertaintyHead()), data.certain)
    assert held_out is not None and held_out > 0.75


def test_what_is_out_of_fold_never_saw_its_image() -> None:
    data = _judged()
    turned = JudgedFeatures(
        data.features, np.where(data.groups == 3, ~data.certain, data.certain), data.groups
    )
    same = data.groups == 3
    first = out_of_fold(data, UncertaintyHead(), folds=12)[same]
    assert first == pytest.approx(out_of_fold(turned, UncertaintyHead(), folds=12)[same])


def test_a_search_is_no_worse_than_the_usual_settings_and_can_be_trained_with(tmp_path) -> None:
    found = search_head(_judged(), trials=6, folds=3)
    assert found.log_loss <= found.usual_log_loss
    assert (found.particles, found.images, found.trials) == (240, 12, 6)
    assert search_head(_judged(), trials=6, folds=3) == found
    manifest = tmp_path / "joint.json"
    manifest.write_text(json.dumps({"training": {"uncertainty_search": found.model_dump(mode="json")}}))
    networks = _networks(TrainingJob(options={}, uncertainty=manifest))
    assert networks["uncertainty"] == found.settings
    assert networks["architecture"].confidence_bins == found.settings.bins
    manifest.write_text(json.dumps({"training": {}}))
    with pytest.raises(ValueError, match="no outcome of a search"):
        _networks(TrainingJob(options={}, uncertainty=manifest))
    with pytest.raises(ValueError, match="one class"):
        search_head(JudgedFeatures(np.zeros((4, 2)), np.ones(4, bool), np.arange(4)))
