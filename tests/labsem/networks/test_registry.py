from __future__ import annotations

import pytest
import torch

from labsem.networks.architecture import Architecture
from labsem.networks.manifest import WeightsError
from labsem.networks.registry import (
    ARCHITECTURES,
    build_network,
    count_parameters,
    load_imagenet,
    make_optimizer,
    named_architecture,
    read_architecture,
    recipe,
)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("lite0", 6.1), ("lite2", 7.5), ("reference", 44.0), ("unet", 38.5), ("unet-lite2", 6.5)],
)
def test_sizes_of_the_networks(name: str, millions: float) -> None:
    assert round(count_parameters(name) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_read_back_from_a_manifest(name: str) -> None:
    architecture = named_architecture(name)
    assert read_architecture(architecture.model_dump(mode="json")) == architecture


def test_a_manifest_without_a_kind_is_of_the_network_that_ships() -> None:
    old = Architecture(channels=64).model_dump(mode="json", exclude={"kind"})
    assert read_architecture(old) == Architecture(channels=64)


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(WeightsError, match="architecture"):
        read_architecture({"kind": "transformer"})
    with pytest.raises(ValueError, match="lite0, lite2, reference, unet, unet-lite2"):
        build_network("lite9")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_optimiser_holds_each_parameter_once_at_its_recipes_rate(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name)
    usual = recipe(network.architecture)
    optimizer = make_optimizer(network)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [
        usual.backbone_learning_rate,
        usual.learning_rate,
    ]
    own = make_optimizer(network, learning_rate=1e-5, backbone_learning_rate=1e-6, weight_decay=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in own.param_groups] == [(1e-6, 0.5), (1e-5, 0.5)]


def test_the_papers_two_are_optimised_as_in_the_paper() -> None:
    mask_rcnn, unet = recipe(named_architecture("reference")), recipe(named_architecture("unet"))
    assert (mask_rcnn.optimizer, mask_rcnn.learning_rate, mask_rcnn.batch) == ("adamw", 1e-4, 1)
    assert (unet.optimizer, unet.learning_rate) == ("adam", 5e-3)


def test_rivals_on_one_encoder_start_from_the_same_imagenet_weights_and_are_optimised_alike() -> None:
    ours, unet = build_network("lite2"), build_network("unet-lite2")
    assert load_imagenet(ours)
    assert load_imagenet(unet)
    shared = ours.backbone.state_dict()
    others = unet.backbone.state_dict()
    assert shared.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in shared.items())
    assert shared["conv_stem.weight"].shape[1] == 1, "a grey stem"
    assert recipe(ours.architecture) == recipe(unet.architecture)


def test_resnets_have_no_imagenet_start() -> None:
    with torch.device("meta"):
        assert not load_imagenet(build_network("unet"))
        assert not load_imagenet(build_network("reference"))
