"""A network's convolutions as they run fastest on a CPU: each with its activation, without copies for padding.

An activation of its own reads and writes every map once more; oneDNN computes it while a convolution writes its result.
Where this build of torch has no oneDNN, a convolution and its activation run one after the other.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

from labsem.networks.folding import fold_batch_norms


class FusedConv(nn.Module):
    """A convolution and the ReLU or ReLU6 after it, if any."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach(), requires_grad=False)
        self.bias = (
            None if convolution.bias is None else nn.Parameter(convolution.bias.detach(), requires_grad=False)
        )
        self.stride, self.padding = convolution.stride, convolution.padding
        self.dilation, self.groups = convolution.dilation, convolution.groups
        self.activation = activation or nn.Identity()
        self._name, self._limits = _attribute(activation)

    def forward(self, features: Tensor) -> Tensor:
        """As the two one after the other."""
        if features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") and _fuses():
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                features,
                self.weight,
                self.bias,
                self.padding,
                self.stride,
                self.dilation,
                self.groups,
                self._name,
                self._limits,
                "",
            )
            return fused
        plain = functional.conv2d(
            features, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        activated: Tensor = self.activation(plain)
        return activated


def _fuses() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def prepare_for_inference(network: nn.Module) -> None:
    """Rewrite a network's convolutions, in place; its sides must be even at every stride, as a padded frame's are."""
    fold_batch_norms(network)
    pad_evenly(network)
    fuse_convolutions(network)


def pad_evenly(module: nn.Module) -> None:
    """Give TensorFlow's one-sided padding to the kernels, in place: for maps whose sides are even.

    At a stride of 2 it pads one side more. A kernel of k is then one of k + 1, zero in its first row and column, with
    even padding; the copy of the map with another border is saved.
    """
    for name, child in module.named_children():
        if isinstance(child, Conv2dSame) and child.stride == (2, 2) and child.kernel_size[0] % 2 == 1:
            setattr(module, name, _evenly_padded(child))
        else:
            pad_evenly(child)


def _evenly_padded(convolution: Conv2dSame) -> nn.Conv2d:
    side = convolution.kernel_size[0]
    padded = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        side + 1,
        stride=2,
        padding=(side - 1) // 2,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    with torch.no_grad():
        padded.weight.copy_(functional.pad(convolution.weight, (1, 0, 1, 0)))
        if convolution.bias is not None and padded.bias is not None:
            padded.bias.copy_(convolution.bias)
    return padded.requires_grad_(False)


def fuse_convolutions(module: nn.Module) -> None:
    """Make each convolution one with an activation that directly follows it among a block's children, in place."""
    children = list(module.named_children())
    for (name, child), (following, after) in pairwise([*children, ("", nn.Identity())]):
        if type(child) is not nn.Conv2d:
            fuse_convolutions(child)
            continue
        activation = _activation(after)
        setattr(module, name, FusedConv(child, activation))
        if activation is not None:
            setattr(module, following, nn.Identity())


def _attribute(activation: nn.Module | None) -> tuple[str, list[float]]:
    """What oneDNN calls it, and its limits."""
    if activation is None:
        return "none", []
    return ("hardtanh", [0.0, 6.0]) if isinstance(activation, nn.ReLU6) else ("relu", [])


def _activation(module: nn.Module) -> nn.Module | None:
    """The ReLU or ReLU6 that a module is, alone or beside nothing else."""
    if isinstance(module, nn.ReLU | nn.ReLU6):
        return module
    inner = [child for child in module.children() if not isinstance(child, nn.Identity)]
    if isinstance(module, nn.Sequential) and len(inner) == 1:
        return _activation(inner[0])
    return None
