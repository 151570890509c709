"""Folding frozen batch norms into the convolutions before them, for inference."""

from __future__ import annotations

from itertools import pairwise

import torch
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import nn


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each frozen batch norm that directly follows a convolution among a block's children, in place.

    ``y = gamma (conv(x) - mean) / sqrt(var + eps) + beta`` becomes one convolution with a bias; the activation of
    timm's ``FrozenBatchNormAct2d`` stays.
    """
    children = list(module.named_children())
    for (_, before), (name, after) in pairwise(children):
        if isinstance(before, nn.Conv2d) and isinstance(after, FrozenBatchNormAct2d):
            _fold(before, after)
            setattr(module, name, nn.Sequential(after.drop, after.act))
    for _, child in children:
        fold_batch_norms(child)


def _fold(convolution: nn.Conv2d, norm: FrozenBatchNormAct2d) -> None:
    gamma, beta = norm.get_buffer("weight"), norm.get_buffer("bias")
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = gamma * torch.rsqrt(variance + float(norm.eps))
    with torch.no_grad():
        convolution.weight.mul_(scale[:, None, None, None])
        shift = beta - mean * scale
        if convolution.bias is not None:
            shift = shift + convolution.bias * scale
    convolution.bias = nn.Parameter(shift.detach().clone(), requires_grad=False)
