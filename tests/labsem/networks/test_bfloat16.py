"""bfloat16 holds 8 bits of a coordinate: boxes are decoded in float32 whatever the network computes in."""

from __future__ import annotations

import torch

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.unet import UNet, UNetArchitecture


def test_boxes_keep_their_coordinates() -> None:
    torch.manual_seed(0)
    network = ParticleNetwork(Architecture(channels=16, box_features=32)).eval()
    # A plain frame: every place proposes the same, so that coordinates differ by the anchors' steps alone.
    image = torch.full((1, 1, 64, 1024), 0.5)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = network.detect(image, score_min=0.0, nms_iou=0.9, detections_max=500)
    far = found["boxes"][found["boxes"][:, 0] > 520]
    assert far.dtype == torch.float32
    assert len(far) > 0
    assert (far.bfloat16().float() != far).any()


def test_a_unet_learns_in_it() -> None:
    torch.manual_seed(0)
    network = UNet(
        UNetArchitecture(backbone="tf_efficientnet_lite2", decoder_channels=(8, 8, 8, 8, 8))
    ).train()
    labels = torch.zeros(32, 32, dtype=torch.int32)
    labels[8:20, 6:28] = 1
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.losses(torch.rand(1, 1, 32, 32), [{"label_image": labels}])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)
