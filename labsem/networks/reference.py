"""The paper's network as a reference: torchvision's ResNet-50 FPN Mask R-CNN without class layer.

Rettenberger et al., npj Comput. Mater. 10, 124 (2024): particles are ranked by the RPN's objectness, there is one kind
of foreground, and an uncertainty head of one fully connected layer reads the box features; 44.0 M parameters in all,
6,150 of them in that head. It has no ImageNet start here and trains from random weights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import boxes as box_ops

from labsem.networks.manifest import Objectness
from labsem.networks.roi_heads import BOX_BINS, ParticleRoIHeads
from labsem.networks.trainable import DetectionNetwork

FPN_CHANNELS = 256
BOX_FEATURES = 1024
ROIS_FOR_IMAGE = 512
POSITIVE_SHARE = 0.25
PROPOSALS = 1000
LEVELS = ["0", "1", "2", "3"]
"""Maps of the pyramid that regions are pooled from."""
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""torchvision's, for the three equal channels of a grey frame."""


class ReferenceArchitecture(BaseModel):
    """What is needed to build the reference; part of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["maskrcnn"] = "maskrcnn"
    backbone: Literal["resnet50"] = "resnet50"
    confidence_bins: int = Field(default=6, ge=2, description="k of the uncertainty head")
    certainty_rule: Literal["likeliest bin", "calibrated"] = Field(
        default="likeliest bin",
        description="the paper's: certain where the likeliest bin, counted from 0, is k/2 or above",
    )


class FloatRPNHead(RPNHead):  # type: ignore[misc]
    """torchvision's head, whose boxes are decoded in float32 also under bfloat16: that holds 8 bits of a coordinate."""

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness (N, A, H, W) and box deltas (N, 4 A, H, W) of each level."""
        logits, deltas = super().forward(levels)
        return [each.float() for each in logits], [each.float() for each in deltas]


class ScoredProposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's RPN, which also returns the sigmoid objectness of each proposal."""

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As torchvision's; the scores are kept in ``scores``."""
        boxes, self.scores = super().filter_proposals(
            proposals, objectness, image_shapes, num_anchors_per_level
        )
        return boxes, self.scores


class ReferencePredictor(nn.Module):
    """Box deltas without classes, and the paper's uncertainty head."""

    def __init__(self, features: int, bins: int) -> None:
        super().__init__()
        self.bbox_pred = nn.Linear(features, 4)
        self.confidence = nn.Linear(features, bins)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(M, 4) box deltas and (M, k) confidence logits."""
        return self.bbox_pred(features), self.confidence(features)


class ReferenceRoIHeads(ParticleRoIHeads):
    """Box, uncertainty and mask heads without a class: a detection keeps the objectness of its proposal."""

    def pool(
        self,
        pyramid: OrderedDict[str, Tensor],
        boxes: list[Tensor],
        image_sizes: list[tuple[int, int]],
        bins: int,
    ) -> Tensor:
        """As the heads that ship pool, by torchvision's own kernel, as the paper's network does."""
        pooled: Tensor = MultiScaleRoIAlign(LEVELS, bins, 2)(pyramid, boxes, image_sizes)
        return pooled

    def losses(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Box, mask and confidence losses of sampled proposals."""
        sampling = [{"boxes": t["boxes"], "labels": torch.ones_like(t["ids"])} for t in targets]
        proposals, matched, labels, deltas = self.select_training_samples(proposals, sampling)
        positive = [label > 0 for label in labels]
        kept = torch.cat(positive)
        features = self.box_head(self.pool(pyramid, proposals, image_sizes, BOX_BINS))
        box_deltas, confidence_logits = self.box_predictor(features)
        # As torchvision's fastrcnn_loss: summed over positives, divided by all that were sampled.
        loss_box = functional.smooth_l1_loss(
            box_deltas[kept].float(), torch.cat(deltas)[kept], beta=1 / 9, reduction="sum"
        ) / max(len(kept), 1)
        certainty = torch.cat(
            [t["certainty"][index[keep]] for t, index, keep in zip(targets, matched, positive, strict=True)]
        )
        return {
            "loss_box": loss_box,
            "loss_mask": self._mask_loss(pyramid, proposals, image_sizes, targets, matched, positive),
            "loss_confidence": self._confidence_loss(confidence_logits[kept], certainty),
        }

    def detect_scored(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: Tensor,
        scores: Tensor,
        image_size: tuple[int, int],
        *,
        score_min: float,
        nms_iou: float,
        detections_max: int,
    ) -> dict[str, Tensor]:
        """Detections of one image from proposals (P, 4) and their objectness (P,), best first."""
        kept = scores > score_min
        proposals, scores = proposals[kept], scores[kept]
        deltas, confidence = self.box_predictor(
            self.box_head(self.pool(pyramid, [proposals], [image_size], BOX_BINS))
        )
        boxes = self.box_coder.decode(deltas.float(), [proposals]).reshape(-1, 4)
        boxes = box_ops.clip_boxes_to_image(boxes, image_size)
        large = box_ops.remove_small_boxes(boxes, 1.0)
        best = large[box_ops.nms(boxes[large], scores[large], nms_iou)[:detections_max]]
        boxes = boxes[best]
        return {
            "boxes": boxes,
            "scores": scores[best],
            "confidence_logits": confidence[best],
            "masks": self.draw(pyramid, boxes, image_size),
        }


class ReferenceNetwork(DetectionNetwork):
    """The paper's Mask R-CNN on grey frames."""

    loss_names: ClassVar[tuple[str, ...]] = (
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_box",
        "loss_mask",
        "loss_confidence",
    )
    objectness: ClassVar[Objectness] = "rpn"
    takes_evidence: ClassVar[bool] = False

    def __init__(self, architecture: ReferenceArchitecture) -> None:
        super().__init__()
        self.architecture: ReferenceArchitecture = architecture
        # Without ImageNet's statistics batch norm has to learn its own.
        self.backbone: nn.Module = resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
        self.rpn = ScoredProposals(
            anchors,
            FloatRPNHead(FPN_CHANNELS, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2 * PROPOSALS, "testing": PROPOSALS},
            post_nms_top_n={"training": 2 * PROPOSALS, "testing": PROPOSALS},
            nms_thresh=0.7,
        )
        self.roi_heads = ReferenceRoIHeads(
            box_head=TwoMLPHead(FPN_CHANNELS * BOX_BINS**2, BOX_FEATURES),
            box_predictor=ReferencePredictor(BOX_FEATURES, architecture.confidence_bins),
            mask_head=nn.Sequential(
                MaskRCNNHeads(FPN_CHANNELS, (FPN_CHANNELS,) * 4, 1),
                MaskRCNNPredictor(FPN_CHANNELS, FPN_CHANNELS, 1),
                nn.Flatten(1, 2),
            ),
        )
        self.roi_heads.fg_bg_sampler = BalancedPositiveNegativeSampler(ROIS_FOR_IMAGE, POSITIVE_SHARE)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).reshape(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """P2 … P6 of (N, 1, H, W) grey values in [0, 1]."""
        coloured = (images.expand(-1, 3, -1, -1) - self.get_buffer("mean")) / self.get_buffer("std")
        pyramid: OrderedDict[str, Tensor] = self.backbone(coloured)
        return pyramid

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """RPN, box, mask and confidence losses; there is no class."""
        pyramid = self.features(images)
        image_list = ImageList(images, [(images.shape[-2], images.shape[-1])] * images.shape[0])
        proposals, rpn_losses = self.rpn(image_list, pyramid, targets)
        return {**rpn_losses, **self.roi_heads.losses(pyramid, proposals, image_list.image_sizes, targets)}

    def detect(
        self,
        images: Tensor,
        *,
        score_min: float,
        nms_iou: float,
        detections_max: int,
        refinements: int = 0,
        box_margin: float = 0.0,
        mirror: bool = False,
    ) -> dict[str, Tensor]:
        """Detections of one image, best first; ``scores`` are the RPN's objectness.

        Raises
        ------
        ValueError
            Where a refinement, a margin or the mirrored image is asked for, which the paper's network has not.
        """
        if refinements or box_margin or mirror:
            raise ValueError("the reference network has no refinements, box_margin or mirror; leave them out")
        size = (images.shape[-2], images.shape[-1])
        pyramid, proposals, scores = self._propose(images)
        detections = self.roi_heads.detect_scored(
            pyramid,
            proposals,
            scores,
            size,
            score_min=score_min,
            nms_iou=nms_iou,
            detections_max=detections_max,
        )
        if self.architecture.certainty_rule == "likeliest bin":
            detections["certain"] = is_likeliest_bin_certain(detections["confidence_logits"])
        return detections

    def glance(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps of the pyramid, and (N,) the highest objectness of any anchor, as log odds."""
        pyramid = list(self.features(images).values())
        objectness, _ = self.rpn.head(pyramid)
        return pyramid, torch.cat([level.flatten(1) for level in objectness], dim=1).amax(dim=1)

    def at_boxes(self, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``scores`` (M,), ``confidence_logits`` (M, k), ``masks`` (M, 28, 28) of one image at boxes (M, 4), px.

        A given box has the objectness of the proposal that overlaps it most.
        """
        pyramid, proposals, scores = self._propose(images)
        size = (images.shape[-2], images.shape[-1])
        _, confidence = self.roi_heads.box_predictor(
            self.roi_heads.box_head(self.roi_heads.pool(pyramid, [boxes], [size], BOX_BINS))
        )
        overlap = box_ops.box_iou(boxes, proposals)
        best = scores[overlap.argmax(dim=1)] if len(proposals) else scores.new_zeros(len(boxes))
        return {
            "scores": best,
            "confidence_logits": confidence,
            "masks": self.roi_heads.draw(pyramid, boxes, size),
        }

    def _propose(self, images: Tensor) -> tuple[OrderedDict[str, Tensor], Tensor, Tensor]:
        """Pyramid, proposals (P, 4) and their objectness (P,) of one image."""
        pyramid = self.features(images)
        proposals, _ = self.rpn(ImageList(images, [(images.shape[-2], images.shape[-1])]), pyramid)
        return pyramid, proposals[0], self.rpn.scores[0]


def is_likeliest_bin_certain(logits: Tensor) -> Tensor:
    """The paper's rule on (N, k) confidence logits: whether the likeliest bin, from 0, is k/2 or above."""
    return logits.argmax(dim=1) >= logits.shape[1] / 2
