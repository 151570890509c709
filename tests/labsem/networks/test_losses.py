"""The label-uncertainty loss and its limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from labsem.networks.losses import (
    confidence_bin,
    expected_confidence,
    label_uncertainty_loss,
    noisy_confidence,
)


def test_as_xi_falls_it_becomes_weighted_cross_entropy_over_n() -> None:
    logits = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    bins = torch.arange(40) % 6
    weights = torch.tensor([1.0, 2.0, 0.5, 0.0, 3.0, 1.0])
    wanted = functional.cross_entropy(logits, bins, weight=weights, reduction="sum") / 40
    assert label_uncertainty_loss(logits, bins, xi=1e-3, weights=weights) == pytest.approx(
        float(wanted), rel=1e-5
    )


def test_by_hand_with_two_bins() -> None:
    logits = torch.tensor([[0.0, 1.0]])
    log_p = torch.log_softmax(logits, 1)[0]
    wanted = -(1.5 * log_p[0] * torch.exp(torch.tensor(-1 / 0.7)) + 0.5 * log_p[1])
    given_loss = label_uncertainty_loss(logits, torch.tensor([1]), xi=0.7, weights=torch.tensor([1.5, 0.5]))
    assert float(given_loss) == pytest.approx(float(wanted), rel=1e-6)


def test_at_large_xi_the_minimum_leans_towards_the_weights_for_every_target() -> None:
    """With xi = k neighbours count nearly as much as the target, so two opposite targets have near minima."""
    minima = []
    for target in (0, 5):
        logits = torch.zeros(1, 6, requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=200)

        def closure(logits=logits, optimizer=optimizer, target=target):
            optimizer.zero_grad()
            loss = label_uncertainty_loss(logits, torch.tensor([target]), xi=6.0)
            loss.backward()
            return loss

        optimizer.step(closure)
        minima.append(logits.detach().softmax(1)[0])
    nearness = torch.exp(-torch.arange(6) / 6.0)
    assert torch.allclose(minima[0], nearness / nearness.sum(), atol=1e-3)
    assert torch.allclose(minima[1], minima[0].flip(0), atol=2e-3)


@given(
    st.integers(0, 5),
    st.floats(0.1, 6.0),
    st.lists(st.floats(0.1, 5.0), min_size=6, max_size=6),
)
def test_the_minimum_is_the_weights_times_the_nearness(target: int, xi: float, weights: list[float]) -> None:
    """So it tends to p proportional to w, whatever the target, as xi grows."""
    distance = (torch.arange(6, dtype=torch.float64) - target).abs()
    w = torch.tensor(weights, dtype=torch.float64)
    logits = (w.log() - distance / xi)[None].requires_grad_()
    label_uncertainty_loss(logits, torch.tensor([target]), xi=xi, weights=w).backward()
    assert float(logits.grad.abs().max()) < 1e-9
    apart = [
        float((torch.softmax(w.log() - distance / width, 0) - w / w.sum()).abs().sum())
        for width in (xi, 50 * xi)
    ]
    assert apart[1] < apart[0]


@pytest.mark.parametrize("xi", [0.0, -1.0, 6.5, float("nan")])
def test_xi_out_of_range_is_refused(xi: float) -> None:
    with pytest.raises(ValueError, match="xi must lie"):
        label_uncertainty_loss(torch.zeros(1, 6), torch.tensor([0]), xi=xi)


def test_negative_or_missing_weights_are_refused() -> None:
    for weights in (torch.tensor([1.0, -1, 1, 1, 1, 1]), torch.ones(5)):
        with pytest.raises(ValueError, match="weights must be"):
            label_uncertainty_loss(torch.zeros(1, 6), torch.tensor([0]), xi=1.0, weights=weights)


def test_no_judged_particle_gives_no_loss_but_a_gradient_path() -> None:
    logits = torch.zeros(0, 6, requires_grad=True)
    loss = label_uncertainty_loss(logits, torch.zeros(0, dtype=torch.long), xi=1.0)
    loss.backward()
    assert float(loss.detach()) == 0


@given(st.floats(0, 1), st.integers(2, 12))
def test_bins_stay_in_range_and_hold_their_confidence(value: float, bins: int) -> None:
    found = int(confidence_bin(torch.tensor([value], dtype=torch.float64), bins))
    assert 0 <= found < bins
    assert found / bins <= value + 1e-9
    assert value <= (found + 1) / bins + 1e-9


def test_noisy_targets_keep_to_their_side_and_are_clipped() -> None:
    certain = torch.tensor([0, 1]).repeat(2000)
    noisy = noisy_confidence(certain, 0.2, torch.Generator().manual_seed(0))
    assert float(noisy.min()) >= 0
    assert float(noisy.max()) <= 1
    assert float(noisy[certain == 1].mean()) > 0.85
    assert float(noisy[certain == 0].mean()) < 0.15
    assert torch.equal(noisy_confidence(certain, 0.0), certain.float())


def test_expected_confidence_is_a_bin_centre_where_one_bin_takes_all() -> None:
    logits = torch.full((1, 6), -50.0)
    logits[0, 4] = 50
    assert float(expected_confidence(logits)) == pytest.approx(4.5 / 6)
