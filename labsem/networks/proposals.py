"""torchvision's region proposal network, with the best anchors chosen before they are decoded."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import boxes as box_ops

PRE_NMS = 1500
POST_NMS_TRAINING = 600
POST_NMS = 1000
"""Anchors decoded of each level, and proposals."""

PRE_NMS_CROWDED = 5000
POST_NMS_CROWDED = 3000
"""As many where they are all likelier particles than not: a crowded frame may hold 1,500, all of one level."""


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """Proposals of one objectness ranking over all levels.

    In training it behaves as torchvision's. Otherwise the best anchors of each level are found by their logits and only
    those are decoded, which gives the same proposals for a fraction of the work; in crowded frames there are more.
    """

    def __init__(self, anchors: AnchorGenerator, head: nn.Module, *, fg_iou: float, bg_iou: float) -> None:
        super().__init__(
            anchors,
            head,
            fg_iou_thresh=fg_iou,
            bg_iou_thresh=bg_iou,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": PRE_NMS, "testing": PRE_NMS},
            post_nms_top_n={"training": POST_NMS_TRAINING, "testing": POST_NMS},
            nms_thresh=0.7,
        )

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals (x0 y0 x1 y1, px) of each image, and in training the RPN's losses."""
        if self.training or targets is not None:
            proposals, losses = super().forward(images, features, targets)
            return proposals, losses
        return [self._detect(images, list(features.values()))], {}

    def _detect(self, images: ImageList, levels: list[Tensor]) -> Tensor:
        logits, deltas = self.head(levels)
        anchors = self.anchor_generator(images, levels)[0]
        counts = [level.shape[1] * level.shape[2] * level.shape[3] for level in logits]
        flat_logits, flat_deltas = concat_box_prediction_layers(logits, deltas)
        flat_logits = flat_logits.flatten()
        boxes: list[Tensor] = []
        scores: list[Tensor] = []
        groups: list[Tensor] = []
        start = 0
        for level, count in enumerate(counts):
            best, index = flat_logits[start : start + count].topk(min(PRE_NMS_CROWDED, count))
            best = best[: max(PRE_NMS, int((best > 0).sum()))]
            index = index[: len(best)] + start
            # In float32 whatever the network computes in: bfloat16 holds 8 bits of a coordinate.
            decoded = self.box_coder.decode(flat_deltas[index].float(), [anchors[index]])[:, 0]
            boxes.append(box_ops.clip_boxes_to_image(decoded, images.image_sizes[0]))
            scores.append(best)
            groups.append(best.new_full((len(best),), level))
            start += count
        box, score, group = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
        keep = box_ops.remove_small_boxes(box, self.min_size)
        box, score, group = box[keep], score[keep], group[keep]
        keep = box_ops.batched_nms(box, score, group, self.nms_thresh)[:POST_NMS_CROWDED]
        return box[keep[: max(POST_NMS, int((score[keep] > 0).sum()))]]
