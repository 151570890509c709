"""The network's parts: mask targets, folding, proposals, parameters."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.folding import fold_batch_norms
from labsem.networks.roi_heads import mask_targets


@pytest.fixture(scope="module")
def network() -> ParticleNetwork:
    torch.manual_seed(0)
    return ParticleNetwork(Architecture(channels=16, box_features=32)).eval()


def test_mask_targets_are_the_covered_share_of_each_cell() -> None:
    labels = torch.zeros(64, 64, dtype=torch.int32)
    labels[:, 16:32] = 7
    labels[:, 32:48] = 9
    boxes = torch.tensor([[16.0, 4.0, 32.0, 60.0], [0.0, 0.0, 64.0, 64.0], [30.0, 0.0, 34.0, 8.0]])
    masks = mask_targets(labels, boxes, torch.tensor([7, 7, 9]))
    assert float(masks[0].min()) == 1
    assert float(masks[1].mean()) == pytest.approx(16 / 64, abs=0.02)
    assert float(masks[2][:, 15:].min()) == 1
    assert float(masks[2][:, :13].max()) == 0


def test_folding_changes_nothing_but_the_batch_norms(network: ParticleNetwork) -> None:
    for module in network.backbone.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
            module.running_var.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
    image = torch.rand(1, 1, 96, 128, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        before = network.features(image)
        norms = sum(type(module).__name__ == "FrozenBatchNormAct2d" for module in network.backbone.modules())
        fold_batch_norms(network.backbone)
        after = network.features(image)
    assert norms > 20
    assert not any(type(module).__name__ == "FrozenBatchNormAct2d" for module in network.backbone.modules())
    for name, level in before.items():
        assert torch.allclose(level, after[name], atol=1e-4 * float(level.abs().max()))


def test_detection_is_sorted_inside_the_frame_and_bounded(network: ParticleNetwork) -> None:
    with torch.inference_mode():
        found = network.detect(torch.rand(1, 1, 128, 160), score_min=0.0, nms_iou=0.5, detections_max=20)
    assert 0 < len(found["boxes"]) <= 20
    assert np.all(np.diff(found["scores"].numpy()) <= 0)
    assert float(found["boxes"].min()) >= 0
    assert float(found["boxes"][:, 2].max()) <= 160
    assert float(found["boxes"][:, 3].max()) <= 128
    assert found["masks"].shape == (len(found["boxes"]), 28, 28)


def test_anchors_chosen_before_decoding_are_those_of_torchvision() -> None:
    """The quick path gives the proposals of torchvision's own filter, and more where all are likely particles."""
    torch.manual_seed(5)
    network = ParticleNetwork(Architecture(channels=16, box_features=32)).eval()
    torch.nn.init.constant_(network.rpn.head.cls_logits.bias, -1.0)
    image = torch.rand(1, 1, 192, 256)
    with torch.inference_mode():
        levels = {name: level for name, level in network.features(image).items() if name != "P2"}
        images = ImageList(image, [(192, 256)])
        ours, _ = network.rpn(images, levels)
        theirs, _ = RegionProposalNetwork.forward(network.rpn, images, levels)
    # Equal scores may come in another order.
    nearest = box_iou(ours[0], theirs[0]).max(dim=1).values
    assert len(ours[0]) == len(theirs[0])
    assert float((nearest > 0.99).float().mean()) > 0.99
    torch.nn.init.constant_(network.rpn.head.cls_logits.bias, 1.0)
    with torch.inference_mode():
        crowded, _ = network.rpn(images, levels)
    assert len(crowded[0]) > len(ours[0])


def test_losses_fall_on_one_image(network: ParticleNetwork) -> None:
    torch.manual_seed(1)
    fresh = ParticleNetwork(Architecture(channels=16, box_features=32)).train()
    labels = torch.zeros(128, 128, dtype=torch.int32)
    labels[20:60, 30:80] = 1
    labels[80:110, 10:50] = 2
    image = (labels > 0).float()[None, None] * 0.6 + 0.2
    target = {
        "boxes": torch.tensor([[30.0, 20, 80, 60], [10, 80, 50, 110]]),
        "ids": torch.tensor([1, 2]),
        "labels": torch.ones(2, dtype=torch.int64),
        "certainty": torch.tensor([1, 0]),
        "label_image": labels,
    }
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=1e-3)
    totals = []
    for _ in range(12):
        losses = fresh.losses(image, [target])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])
    assert set(losses) == {
        "loss_objectness", "loss_rpn_box_reg", "loss_class", "loss_box", "loss_mask", "loss_confidence",
    }  # fmt: skip
