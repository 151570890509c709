"""The label-uncertainty loss (Rettenberger et al. 2024, equation 1) and its noisy targets."""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional


class UncertaintyHead(BaseModel):
    """What the label-uncertainty loss is given: the paper's k, xi, sigma and w."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bins: int = Field(default=6, ge=2, description="k")
    xi: float = Field(default=0.5, gt=0, description="width of the neighbourhood, in bins; at most k")
    sigma: float = Field(default=0.15, ge=0, description="standard deviation of the noise of the targets")
    weights: tuple[float, ...] | None = Field(
        default=None, description="w, one for each bin; ones where none"
    )

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.xi > self.bins:
            raise ValueError(f"xi = {self.xi} is over the number of bins, {self.bins}")
        if self.weights is not None and (len(self.weights) != self.bins or min(self.weights) < 0):
            raise ValueError(f"weights must be {self.bins} numbers of at least 0, one for each bin")
        return self


def noisy_confidence(certain: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """Targets y in [0, 1]: drawn from N(1, sigma) for certain (1) and N(0, sigma) for uncertain (0) labels, clipped.

    Parameters
    ----------
    certain
        (N,) ones and zeros.
    sigma
        Standard deviation, >= 0.
    """
    noise = torch.randn(certain.shape, generator=generator, device=certain.device)
    return (certain.to(noise.dtype) + sigma * noise).clamp(0, 1)


def confidence_bin(confidence: Tensor, bins: int) -> Tensor:
    """Bin min(floor(k y), k - 1) of confidences y in [0, 1]."""
    return (confidence * bins).floor().long().clamp(0, bins - 1)


def expected_confidence(logits: Tensor) -> Tensor:
    """Expected bin centre of (N, k) logits, in (0, 1)."""
    bins = logits.shape[1]
    centres = (torch.arange(bins, device=logits.device, dtype=logits.dtype) + 0.5) / bins
    return logits.softmax(dim=1) @ centres


def label_uncertainty_loss(
    logits: Tensor, target_bins: Tensor, *, xi: float, weights: Tensor | None = None
) -> Tensor:
    """``-1/N sum_n sum_c w_c log_softmax(x_n)_c exp(-|y_n - c| / xi)`` (the paper's equation 1).

    Parameters
    ----------
    logits
        (N, k) confidence logits of the positive, judged proposals; with N = 0 the loss is 0.
    target_bins
        (N,) bins y_n, 0 to k - 1.
    xi
        Width of the neighbourhood in bins, 0 < xi <= k. As it falls the loss becomes weighted cross-entropy summed
        over N; as it grows every target's minimum becomes p proportional to w. It also scales the loss.
    weights
        (k,) weights w_c >= 0; ones where not given.

    Raises
    ------
    ValueError
        Where xi or a weight is out of range.
    """
    bins = logits.shape[1]
    if not (math.isfinite(xi) and 0 < xi <= bins):
        raise ValueError(f"xi must lie in (0, {bins}], not {xi}")
    if weights is None:
        weights = logits.new_ones(bins)
    elif weights.shape != (bins,) or bool((weights < 0).any()):
        raise ValueError(f"weights must be {bins} numbers of at least 0")
    if logits.shape[0] == 0:
        return logits.sum() * 0
    classes = torch.arange(bins, device=logits.device)
    nearness = torch.exp(-(target_bins[:, None] - classes[None, :]).abs().to(logits.dtype) / xi)
    return -(weights * functional.log_softmax(logits, dim=1) * nearness).sum() / logits.shape[0]
