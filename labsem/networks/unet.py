"""The U-Net that the paper compares with: a cell and a neighbour distance map, to be parted by a watershed.

Ronneberger et al. (2015) the U-Net; Scherr et al., PLOS ONE 15, e0243219 (2020), the two maps and their smooth L1
losses; Rettenberger et al. (2024) the ResNet-50 encoder and 38.5 M parameters. They do not print the decoder. Assumed
here, because it gives that number: one decoder for both maps, of 256, 128, 64, 32 and 16 channels, each stage a
transposed 2x2 convolution that halves its input's channels and, beside the encoder's features, two 3x3 convolutions
with batch norm.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional

from labsem.networks.distance_maps import distance_maps
from labsem.networks.imagenet import PIXEL_MEAN, PIXEL_STD, WEIGHT_FILES
from labsem.networks.manifest import Objectness
from labsem.networks.trainable import TrainableNetwork


class UNetArchitecture(BaseModel):
    """What is needed to build a U-Net that its weights fit; part of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unet"] = "unet"
    backbone: Literal["resnet50", "tf_efficientnet_lite2"] = "resnet50"
    decoder_channels: tuple[int, int, int, int, int] = Field(
        default=(256, 128, 64, 32, 16), description="from stride 16 to 1"
    )


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class DecoderStage(nn.Module):
    """Twice the resolution: transposed convolution, the encoder's features beside it, two convolutions."""

    def __init__(self, inputs: int, skipped: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.convolutions = convolutions(inputs // 2 + skipped, outputs)

    def forward(self, below: Tensor, beside: Tensor | None) -> Tensor:
        """(N, inputs, H, W) and (N, skipped, 2 H, 2 W) to (N, outputs, 2 H, 2 W)."""
        up = self.up(below)
        merged: Tensor = self.convolutions(up if beside is None else torch.cat([up, beside], dim=1))
        return merged


class UNet(TrainableNetwork):
    """Encoder and decoder on grey frames; ``forward`` gives the two maps."""

    loss_names: ClassVar[tuple[str, ...]] = ("loss_cell", "loss_neighbour")
    objectness: ClassVar[Objectness] = "highest cell distance"

    def __init__(self, architecture: UNetArchitecture) -> None:
        super().__init__()
        self.architecture: UNetArchitecture = architecture
        encoder = timm.create_model(
            architecture.backbone,
            features_only=True,
            in_chans=1,
            out_indices=(0, 1, 2, 3, 4),
            pretrained=False,
        )
        channels: list[int] = encoder.feature_info.channels()  # type: ignore[union-attr, operator]
        # As in the Mask R-CNN on the same encoder; one without ImageNet's statistics has to learn them.
        if architecture.backbone in WEIGHT_FILES:
            encoder = freeze_batch_norm_2d(encoder)  # type: ignore[no-untyped-call]
        self.backbone: nn.Module = encoder
        skipped = [*reversed(channels[:-1]), 0]
        widths = [channels[-1], *architecture.decoder_channels]
        self.decoder = nn.ModuleList(
            DecoderStage(inputs, beside, outputs)
            for (inputs, outputs), beside in zip(pairwise(widths), skipped, strict=True)
        )
        self.maps = nn.Conv2d(widths[-1], 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Cell and neighbour distance maps (N, 2, H, W) of grey values (N, 1, H, W) in [0, 1], multiples of 32."""
        features: list[Tensor | None] = [*self.backbone((images - PIXEL_MEAN) / PIXEL_STD)]
        merged = features.pop()
        for stage, beside in zip(self.decoder, [*reversed(features), None], strict=True):
            merged = stage(merged, beside)
        maps: Tensor = self.maps(merged)
        return maps

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Smooth L1 of both maps; of the targets only ``label_image`` counts."""
        wanted = torch.stack(
            [torch.from_numpy(distance_maps(target["label_image"].cpu().numpy())) for target in targets]
        ).to(images.device)
        found = self(images).float()
        return {
            "loss_cell": functional.smooth_l1_loss(found[:, 0], wanted[:, 0]),
            "loss_neighbour": functional.smooth_l1_loss(found[:, 1], wanted[:, 1]),
        }
