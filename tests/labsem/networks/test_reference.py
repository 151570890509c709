from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from labsem.networks.manifest import Calibration, Input, Platt, Thresholds
from labsem.networks.reference import ReferenceArchitecture, ReferenceNetwork, is_likeliest_bin_certain
from labsem.networks.registry import make_optimizer
from labsem.networks.segmenter import Segmenter
from labsem.training.publish import write_model
from schemas.morphology import Regime

SIDE = 128


def target() -> tuple[Tensor, list[dict[str, Tensor]]]:
    """A grey image (1, 1, 128, 128) of two bright particles, one certain, one uncertain, and one not judged."""
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int32)
    boxes = torch.tensor([[10.0, 12, 60, 50], [30, 70, 100, 118], [90, 10, 120, 44]])
    for label, (x0, y0, x1, y1) in enumerate(boxes.int().tolist(), start=1):
        labels[y0:y1, x0:x1] = label
    image = 0.2 + 0.6 * (labels > 0).float()[None, None]
    return image, [
        {
            "boxes": boxes,
            "ids": torch.arange(1, 4),
            "labels": torch.ones(3, dtype=torch.int64),
            "certainty": torch.tensor([1, 0, -1]),
            "label_image": labels,
        }
    ]


@pytest.fixture(scope="module")
def network() -> ReferenceNetwork:
    torch.manual_seed(0)
    return ReferenceNetwork(ReferenceArchitecture())


def test_the_papers_numbers_of_parameters(network: ReferenceNetwork) -> None:
    total = sum(parameter.numel() for parameter in network.parameters())
    head = sum(parameter.numel() for parameter in network.roi_heads.box_predictor.confidence.parameters())
    assert round(total / 1e6, 1) == 44.0
    assert head == 6150


def test_there_is_no_class(network: ReferenceNetwork) -> None:
    assert not [name for name, _ in network.named_parameters() if "cls_score" in name]
    network.roi_heads.fg_bg_sampler.batch_size_per_image = 24
    image, targets = target()
    losses = network.train().losses(image, targets)
    assert set(losses) == set(network.loss_names)
    assert "loss_class" not in losses
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    network.zero_grad()
    assert without == []


def test_detections_are_ranked_by_the_rpns_objectness(network: ReferenceNetwork) -> None:
    image, _ = target()
    with torch.inference_mode():
        found = network.eval().detect(image, score_min=0.1, nms_iou=0.5, detections_max=20)
        proposed = network.rpn.scores[0]
    scores = found["scores"]
    assert 0 < len(scores) <= 20
    assert torch.isin(scores, proposed).all()
    assert (scores.diff() <= 0).all()
    assert scores.min() > 0.1
    assert found["masks"].shape == (len(scores), 28, 28)
    assert found["boxes"].min() >= 0
    assert found["boxes"].max() <= SIDE
    assert torch.equal(found["certain"], is_likeliest_bin_certain(found["confidence_logits"]))


def test_the_papers_rule_of_certainty() -> None:
    logits = torch.eye(6)
    assert is_likeliest_bin_certain(logits).tolist() == [False, False, False, True, True, True]
    assert is_likeliest_bin_certain(torch.eye(5)).tolist() == [False, False, False, True, True]


def test_it_is_loaded_and_says_what_it_ranks_and_decides_by(
    network: ReferenceNetwork, tmp_path: Path
) -> None:
    unfitted = Platt(slopes=(1.0,), offset=-100.0, fitted_on="nothing")
    calibration = Calibration(
        thresholds=Thresholds(omega=0.0, psi=0.0, overlap=1, containment=1, op=1, detections_max=5),
        confidence=unfitted,
        mask_quality=Platt(slopes=(1.0, 1.0), offset=0.0, fitted_on="nothing"),
        input=Input(long_side_max_px=1920, long_side_min_px=64),
    )
    manifest = write_model(
        tmp_path,
        name="reference",
        version="0",
        network=network,
        tensors={
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in network.state_dict().items()
        },
        regimes=dict.fromkeys(Regime, calibration),
        provenance={},
        metrics={},
        licence="none",
        limits=(),
    )
    assert manifest.objectness == "rpn"
    assert manifest.architecture == ReferenceArchitecture().model_dump(mode="json")
    image, _ = target()
    pixels = (image[0, 0] * 255).byte().numpy()
    found = Segmenter.load(tmp_path, precision="float32").segment(pixels, Regime.JOINT)
    assert found.certain_by_rule is not None
    assert found.certain_by_rule.shape == found.objectness.shape
    np.testing.assert_array_equal(found.certain, found.certain_by_rule)
    assert (found.confidence < 0.5).all(), "the calibrated confidence stays what it is"


@pytest.mark.slow
def test_its_loss_falls_on_a_few_images() -> None:
    torch.manual_seed(0)
    network = ReferenceNetwork(ReferenceArchitecture()).train()
    optimizer = make_optimizer(network)
    image, targets = target()
    history = []
    for step in range(40):
        turned = image.flip(-1) if step % 2 else image
        losses = network.losses(turned, [_flipped(targets[0])] if step % 2 else targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(float(total.detach()))
    assert np.mean(history[-10:]) < 0.5 * np.mean(history[:5])


def _flipped(one: dict[str, Tensor]) -> dict[str, Tensor]:
    x0, y0, x1, y1 = one["boxes"].unbind(1)
    boxes = torch.stack([SIDE - x1, y0, SIDE - x0, y1], dim=1)
    return {**one, "boxes": boxes, "label_image": one["label_image"].flip(-1)}
