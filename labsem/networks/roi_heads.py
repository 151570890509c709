"""RoI heads: box, uncertainty and mask, on torchvision's sampling and box coding."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import boxes as box_ops

from labsem.networks.losses import UncertaintyHead, confidence_bin, label_uncertainty_loss, noisy_confidence
from labsem.networks.pooling import pool_regions

BOX_BINS = 7
MASK_BINS = 14
MASK_SIZE = 28
SUPERSAMPLING = 2
"""Mask targets are averaged over this many sample points a cell and axis."""

REFINED_FROM = 0.5
"""Share of the least score from which a box is looked at again: the second look may find it better."""


class ParticleRoIHeads(RoIHeads):  # type: ignore[misc]
    """Box, uncertainty and mask heads for the one class ``particle``."""

    uncertainty: UncertaintyHead = UncertaintyHead()

    def __init__(
        self,
        *,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module,
    ) -> None:
        super().__init__(
            nn.Identity(),
            box_head,
            box_predictor,
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=192,
            positive_fraction=0.33,
            bbox_reg_weights=None,
            score_thresh=0.0,
            nms_thresh=0.5,
            detections_per_img=1,
            mask_roi_pool=nn.Identity(),
            mask_head=mask_head,
            mask_predictor=nn.Identity(),
        )

    def check_targets(self, targets: list[dict[str, Tensor]] | None) -> None:
        """Targets hold a label image instead of torchvision's full-size masks."""
        if targets is None or any("boxes" not in target or "labels" not in target for target in targets):
            raise ValueError("every target needs boxes and labels")

    def pool(
        self,
        pyramid: OrderedDict[str, Tensor],
        boxes: list[Tensor],
        image_sizes: list[tuple[int, int]],  # noqa: ARG002, another kernel needs them
        bins: int,
    ) -> Tensor:
        """Features (M, C, bins, bins) of the boxes (M_i, 4) of each image of a batch, one after the other."""
        levels = list(pyramid.values())[:-1]
        of_images = [
            pool_regions([level[place : place + 1] for level in levels], each, bins)
            for place, each in enumerate(boxes)
        ]
        return torch.cat(of_images)

    def losses(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Class, box, mask and confidence losses of sampled proposals."""
        sampling = [{"boxes": t["boxes"], "labels": torch.ones_like(t["ids"])} for t in targets]
        proposals, matched, labels, deltas = self.select_training_samples(proposals, sampling)
        features = self.box_head(self.pool(pyramid, proposals, image_sizes, BOX_BINS))
        class_logits, box_deltas, confidence_logits = self.box_predictor(features)
        loss_class, loss_box = fastrcnn_loss(class_logits, box_deltas, labels, deltas)
        positive = [label > 0 for label in labels]
        certainty = torch.cat(
            [t["certainty"][index[keep]] for t, index, keep in zip(targets, matched, positive, strict=True)]
        )
        loss_confidence = self._confidence_loss(confidence_logits[torch.cat(positive)], certainty)
        return {
            "loss_class": loss_class,
            "loss_box": loss_box,
            "loss_mask": self._mask_loss(pyramid, proposals, image_sizes, targets, matched, positive),
            "loss_confidence": loss_confidence,
        }

    def _confidence_loss(self, logits: Tensor, certainty: Tensor) -> Tensor:
        """Label-uncertainty loss of (P, k) logits of positive proposals; those not judged (-1) give nothing."""
        judged = certainty >= 0
        head = self.uncertainty
        target_bins = confidence_bin(noisy_confidence(certainty[judged], head.sigma), logits.shape[1])
        weights = None if head.weights is None else logits.new_tensor(head.weights)
        return label_uncertainty_loss(logits[judged], target_bins, xi=head.xi, weights=weights)

    def _mask_loss(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
        matched: list[Tensor],
        positive: list[Tensor],
    ) -> Tensor:
        chosen = [boxes[keep] for boxes, keep in zip(proposals, positive, strict=True)]
        logits: Tensor = self.mask_head(self.pool(pyramid, chosen, image_sizes, MASK_BINS))
        wanted = torch.cat(
            [
                mask_targets(target["label_image"], boxes, target["ids"][index[keep]])
                for target, boxes, index, keep in zip(targets, chosen, matched, positive, strict=True)
            ]
        )
        if wanted.numel() == 0:
            return logits.sum() * 0
        return functional.binary_cross_entropy_with_logits(logits, wanted)

    def box_features(self, pyramid: OrderedDict[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits (M, 2), box deltas (M, 8) and confidence logits (M, k) at boxes (M, 4)."""
        features = self.box_head(pool_regions(list(pyramid.values())[:-1], boxes, BOX_BINS))
        class_logits, deltas, confidence = self.box_predictor(features)
        return class_logits, deltas, confidence

    def detect(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: Tensor,
        image_size: tuple[int, int],
        *,
        score_min: float,
        nms_iou: float,
        detections_max: int,
        refinements: int = 0,
        box_margin: float = 0.0,
    ) -> dict[str, Tensor]:
        """Detections of one image, best first.

        Parameters
        ----------
        refinements
            How often the box head looks again at the boxes that it made (as in Cascade R-CNN, Cai and Vasconcelos 2018,
            with one head for all passes).
        box_margin
            By what share of its sides a box grows before the mask head, which cannot draw past it.

        Returns
        -------
        dict
            ``boxes`` (M, 4) x0 y0 x1 y1 px, those of the masks; ``scores`` (M,) the box head's foreground probability;
            ``confidence_logits`` (M, k); ``masks`` (M, 28, 28) mask probabilities.
        """
        boxes = proposals
        for left in range(refinements, -1, -1):
            least = score_min * (REFINED_FROM if left else 1)
            boxes, scores, confidence = self._pass(pyramid, boxes, image_size, least, nms_iou)
        boxes, scores, confidence = (
            boxes[:detections_max],
            scores[:detections_max],
            confidence[:detections_max],
        )
        if box_margin:
            by = (boxes[:, 2:] - boxes[:, :2]) * (box_margin / 2)
            boxes = box_ops.clip_boxes_to_image(boxes + torch.cat([-by, by], dim=1), image_size)
        masks = self.draw(pyramid, boxes, image_size)
        return {"boxes": boxes, "scores": scores, "confidence_logits": confidence, "masks": masks}

    def draw(self, pyramid: OrderedDict[str, Tensor], boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Mask probabilities (M, 28, 28) of one image (H, W) at boxes (M, 4)."""
        if not len(boxes):
            return boxes.new_zeros((0, MASK_SIZE, MASK_SIZE))
        logits: Tensor = self.mask_head(self.pool(pyramid, [boxes], [image_size], MASK_BINS))
        return logits.sigmoid()

    def _pass(
        self,
        pyramid: OrderedDict[str, Tensor],
        proposals: Tensor,
        image_size: tuple[int, int],
        score_min: float,
        nms_iou: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and confidence logits that the box head makes of proposals, best first, none twice."""
        class_logits, deltas, confidence = self.box_features(pyramid, proposals)
        scores = class_logits.softmax(dim=1)[:, 1]
        keep = scores > score_min
        scores, confidence = scores[keep], confidence[keep]
        boxes = self.box_coder.decode(deltas[keep].float(), [proposals[keep]]).reshape(-1, 2, 4)[:, 1]
        boxes = box_ops.clip_boxes_to_image(boxes, image_size)
        large = box_ops.remove_small_boxes(boxes, 1.0)
        boxes, scores, confidence = boxes[large], scores[large], confidence[large]
        best = box_ops.nms(boxes, scores, nms_iou)
        return boxes[best], scores[best], confidence[best]


def mask_targets(label_image: Tensor, boxes: Tensor, ids: Tensor) -> Tensor:
    """Share of each of 28x28 cells of a box that its particle covers.

    Samples the label image where the cells lie instead of cutting one full-size mask for each particle.

    Parameters
    ----------
    label_image
        (H, W) integer labels.
    boxes
        (M, 4) x0 y0 x1 y1, px.
    ids
        (M,) label of the particle that each box is to outline.

    Returns
    -------
    Tensor
        (M, 28, 28) in [0, 1].
    """
    count = MASK_SIZE * SUPERSAMPLING
    height, width = label_image.shape
    steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count
    x = boxes[:, 0, None] + (boxes[:, 2] - boxes[:, 0])[:, None] * steps
    y = boxes[:, 1, None] + (boxes[:, 3] - boxes[:, 1])[:, None] * steps
    columns = x.floor().long().clamp(0, width - 1)
    rows = y.floor().long().clamp(0, height - 1)
    inside = label_image[rows[:, :, None], columns[:, None, :]] == ids[:, None, None]
    cells = inside.reshape(-1, MASK_SIZE, SUPERSAMPLING, MASK_SIZE, SUPERSAMPLING)
    return cells.to(boxes.dtype).mean(dim=(2, 4))
