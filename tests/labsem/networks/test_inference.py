"""What makes inference quick gives the same numbers: fused convolutions, one-sided padding, pooling of regions."""

import pytest
import torch
from torch import nn
from torchvision.ops import MultiScaleRoIAlign

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.fused import FusedConv, prepare_for_inference
from labsem.networks.pooling import pool_regions


def test_a_prepared_network_finds_the_same() -> None:
    torch.manual_seed(0)
    network = ParticleNetwork(Architecture(channels=16, box_features=32)).eval()
    image = torch.rand(1, 1, 96, 128).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        before = network.features(image)
        regions = torch.rand(5, 16, 14, 14)
        masks = network.roi_heads.mask_head(regions)
    prepare_for_inference(network)
    network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        after = network.features(image)
        assert torch.allclose(network.roi_heads.mask_head(regions), masks, atol=1e-5)
    left = [module for module in network.modules() if type(module) is nn.Conv2d]
    assert not left and any(isinstance(module, FusedConv) for module in network.modules())
    for name, level in before.items():
        assert torch.allclose(level, after[name], atol=1e-4 * float(level.abs().max()))


def test_the_mirrored_image_is_averaged_in() -> None:
    torch.manual_seed(2)
    network = ParticleNetwork(Architecture(channels=16, box_features=32)).eval()
    half = torch.rand(1, 1, 64, 64)
    even = torch.cat([half, half.flip(-1)], dim=-1)
    limits = {"score_min": 0.0, "nms_iou": 0.5, "detections_max": 30}
    with torch.inference_mode():
        once = network.detect(even, **limits)
        both = network.detect(even, **limits, mirror=True)
        x0, y0, x1, y1 = once["boxes"].unbind(1)
        mirrored = torch.stack([128 - x1, y0, 128 - x0, y1], dim=1)
        there = network.at_boxes(even, mirrored)["scores"]
    assert len(both["scores"]) == len(once["scores"]) > 0
    assert torch.all(both["scores"].diff() <= 0)
    wanted = ((once["scores"] + there) / 2).sort(descending=True).values
    assert torch.allclose(both["scores"], wanted, atol=1e-5)


@pytest.mark.parametrize("bins", [7, 14])
def test_regions_are_pooled_as_by_torchvision(bins: int) -> None:
    torch.manual_seed(1)
    pyramid = {
        f"P{level}": torch.randn(1, 8, 256 >> level, 320 >> level, requires_grad=True)
        for level in range(2, 6)
    }
    corners = torch.rand(60, 2) * torch.tensor([320.0, 256.0]) - 8
    sides = torch.exp(torch.rand(60, 2) * 6)
    boxes = torch.cat([corners, corners + sides], dim=1)
    theirs = MultiScaleRoIAlign(list(pyramid), bins, 2)(pyramid, [boxes], [(256, 320)])
    ours = pool_regions(list(pyramid.values()), boxes, bins)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4)
    weights = torch.randn_like(theirs)
    slopes = [
        torch.autograd.grad((each * weights).sum(), list(pyramid.values()), materialize_grads=True)
        for each in (ours, theirs)
    ]
    assert all(torch.allclose(*pair, atol=1e-3) for pair in zip(*slopes, strict=True))
    assert pool_regions(list(pyramid.values()), boxes[:0], bins).shape == (0, 8, bins, bins)
