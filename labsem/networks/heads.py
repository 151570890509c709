"""The small heads of the network: RPN, box, uncertainty and mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RPNHead(nn.Module):
    """A separable 3x3 and two pointwise predictors, shared by the pyramid's levels."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(inplace=True),
        )
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors * 4, 1)
        for module in (self.cls_logits, self.bbox_pred):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness (N, A, H, W) and box deltas (N, 4 A, H, W) of each level."""
        shared = [self.conv(level) for level in levels]
        return [self.cls_logits(level) for level in shared], [self.bbox_pred(level) for level in shared]


class BoxHead(nn.Module):
    """Two fully connected layers on 7x7 RoI features."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(inputs, features)
        self.fc7 = nn.Linear(features, features)

    def forward(self, pooled: Tensor) -> Tensor:
        """(M, C, 7, 7) to (M, features)."""
        hidden = torch.relu(self.fc6(pooled.flatten(1)))
        return torch.relu(self.fc7(hidden))


class BoxPredictor(nn.Module):
    """Class, box and confidence logits from box features; the last is the paper's uncertainty head."""

    def __init__(self, features: int, bins: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(features, 2)
        self.bbox_pred = nn.Linear(features, 8)
        self.confidence = nn.Linear(features, bins)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(M, 2) class logits, (M, 8) box deltas, (M, k) confidence logits."""
        return self.cls_score(features), self.bbox_pred(features), self.confidence(features)


class MaskHead(nn.Module):
    """Four 3x3 convolutions, a transposed one, and one mask logit: 14x14 to 28x28."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
        predictor = nn.Conv2d(channels, 1, 1)
        layers += [nn.ConvTranspose2d(channels, channels, 2, 2), nn.ReLU(inplace=True), predictor]
        self.layers = nn.Sequential(*layers)
        for module in self.layers:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(predictor.weight, std=0.01)

    def forward(self, pooled: Tensor) -> Tensor:
        """(M, C, 14, 14) to (M, 28, 28) logits."""
        logits: Tensor = self.layers(pooled)
        return logits[:, 0]
