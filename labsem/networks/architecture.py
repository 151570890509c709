"""The network that ships: a grey EfficientNet-lite0, a light FPN, and torchvision's Mask R-CNN around them.

Rettenberger et al., npj Comput. Mater. 10, 124 (2024), describe the uncertainty head; He et al. (2017) Mask R-CNN;
Lin et al. (2017) the FPN. What differs from the paper: the backbone, depthwise-separable FPN and RPN, the RPN from
P3 on, and ``objectness`` from the box head.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from labsem.networks.heads import BoxHead, BoxPredictor, MaskHead, RPNHead
from labsem.networks.imagenet import PIXEL_MEAN, PIXEL_STD
from labsem.networks.manifest import Objectness
from labsem.networks.proposals import ProposalNetwork
from labsem.networks.roi_heads import BOX_BINS, ParticleRoIHeads
from labsem.networks.trainable import DetectionNetwork


class Architecture(BaseModel):
    """What is needed to build a network that its weights fit; part of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["maskrcnn"] = "maskrcnn"
    backbone: str = "tf_efficientnet_lite0"
    channels: int = Field(default=96, ge=8)
    box_features: int = Field(default=512, ge=8)
    anchor_sizes_px: tuple[tuple[float, ...], ...] = ((12, 20), (32, 50), (80, 128), (190, 288))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    confidence_bins: int = Field(default=6, ge=2, description="k of the uncertainty head")


def separable(channels: int) -> nn.Sequential:
    """Depthwise 3x3, then pointwise: an eighth of the operations of a dense 3x3 at 96 channels."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1),
    )


class LightFPN(nn.Module):
    """Feature pyramid P2 to P5 with separable output convolutions, and P6 by subsampling P5 (Lin et al. 2017)."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.output = nn.ModuleList(separable(channels) for _ in in_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of strides 4, 8, 16, 32 to P2 … P6, each (N, channels, H / stride, W / stride)."""
        merged = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            merged[level] = merged[level] + functional.interpolate(
                merged[level + 1], size=merged[level].shape[-2:], mode="nearest"
            )
        pyramid = [output(feature) for output, feature in zip(self.output, merged, strict=True)]
        pyramid.append(functional.max_pool2d(pyramid[-1], 1, 2))
        return pyramid


class ParticleNetwork(DetectionNetwork):
    """Mask R-CNN with an uncertainty head on grey frames.

    ``forward`` takes (N, 1, H, W) grey values in [0, 1] with H and W multiples of 32. In training it also
    takes targets and returns losses; otherwise it returns detections (see :class:`ParticleRoIHeads`).
    """

    loss_names: ClassVar[tuple[str, ...]] = (
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_class",
        "loss_box",
        "loss_mask",
        "loss_confidence",
    )
    objectness: ClassVar[Objectness] = "box head foreground probability"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture: Architecture = architecture
        backbone = timm.create_model(
            architecture.backbone, features_only=True, in_chans=1, out_indices=(1, 2, 3, 4), pretrained=False
        )
        channels: list[int] = backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        self.backbone: nn.Module = freeze_batch_norm_2d(backbone)  # type: ignore[no-untyped-call]
        self.fpn = LightFPN(channels, architecture.channels)
        anchors = AnchorGenerator(
            architecture.anchor_sizes_px, (architecture.aspect_ratios,) * len(architecture.anchor_sizes_px)
        )
        self.rpn = ProposalNetwork(
            anchors,
            RPNHead(architecture.channels, anchors.num_anchors_per_location()[0]),
            fg_iou=0.6,
            bg_iou=0.3,
        )
        self.roi_heads = ParticleRoIHeads(
            box_head=BoxHead(architecture.channels * BOX_BINS**2, architecture.box_features),
            box_predictor=BoxPredictor(architecture.box_features, architecture.confidence_bins),
            mask_head=MaskHead(architecture.channels),
        )

    def features(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """P2 … P6 of (N, 1, H, W) grey values in [0, 1]."""
        maps = self.backbone((images - PIXEL_MEAN) / PIXEL_STD)
        return OrderedDict(zip(("P2", "P3", "P4", "P5", "P6"), self.fpn(maps), strict=True))

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Losses of a batch.

        Parameters
        ----------
        images
            (N, 1, H, W) grey values in [0, 1].
        targets
            For each image ``boxes`` (M, 4) x0 y0 x1 y1 in pixels, ``ids`` (M,) their values in ``label_image`` (H, W)
            and ``certainty`` (M,): 1 certain, 0 uncertain, -1 not judged.
        """
        pyramid = self.features(images)
        image_list = ImageList(images, [(images.shape[-2], images.shape[-1])] * images.shape[0])
        proposals, rpn_losses = self.rpn(image_list, _rpn_levels(pyramid), targets)
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
        """Detections of one image, best first (see :meth:`ParticleRoIHeads.detect`)."""
        pyramid = self.features(images)
        image_list = ImageList(images, [(images.shape[-2], images.shape[-1])])
        proposals, _ = self.rpn(image_list, _rpn_levels(pyramid))
        found: dict[str, Tensor] = self.roi_heads.detect(
            pyramid,
            proposals[0],
            image_list.image_sizes[0],
            score_min=score_min,
            nms_iou=nms_iou,
            detections_max=detections_max,
            refinements=refinements,
            box_margin=box_margin,
        )
        return self._averaged(images, found, score_min) if mirror else found

    def _averaged(self, images: Tensor, found: dict[str, Tensor], score_min: float) -> dict[str, Tensor]:
        """Detections whose scores, confidence and masks are means over their boxes here and in the mirrored image."""
        pyramid = self.features(images.flip(-1).contiguous(memory_format=torch.channels_last))
        x0, y0, x1, y1 = found["boxes"].unbind(dim=1)
        boxes = torch.stack([images.shape[-1] - x1, y0, images.shape[-1] - x0, y1], dim=1)
        class_logits, _, confidence = self.roi_heads.box_features(pyramid, boxes)
        mirrored = {
            "boxes": found["boxes"],
            "scores": class_logits.softmax(dim=1)[:, 1],
            "confidence_logits": confidence,
            "masks": self.roi_heads.draw(pyramid, boxes, (images.shape[-2], images.shape[-1])).flip(-1),
        }
        averaged = {name: (value + mirrored[name]) / 2 for name, value in found.items()}
        order = averaged["scores"].argsort(descending=True, stable=True)
        order = order[averaged["scores"][order] > score_min]
        return {name: value[order] for name, value in averaged.items()}

    def glance(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps of the backbone's stages, and (N,) the highest objectness of any anchor, as log odds."""
        maps: list[Tensor] = self.backbone((images - PIXEL_MEAN) / PIXEL_STD)
        objectness, _ = self.rpn.head(self.fpn(maps)[1:])
        return maps, torch.cat([level.flatten(1) for level in objectness], dim=1).amax(dim=1)

    def at_boxes(self, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``scores`` (M,), ``confidence_logits`` (M, k), ``masks`` (M, 28, 28) of one image at boxes (M, 4), px."""
        pyramid = self.features(images)
        class_logits, _, confidence = self.roi_heads.box_features(pyramid, boxes)
        return {
            "scores": class_logits.softmax(dim=1)[:, 1],
            "confidence_logits": confidence,
            "masks": self.roi_heads.draw(pyramid, boxes, (images.shape[-2], images.shape[-1])),
        }


def _rpn_levels(pyramid: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, level) for name, level in pyramid.items() if name != "P2")
