"""Crops as the networks take them."""

from __future__ import annotations

import torch
from torch import Tensor

from labsem.training.sampling import Crop


def crop_target(crop: Crop, device: torch.device) -> dict[str, Tensor]:
    """Boxes, ids, certainty and label image of a crop (see ``TrainableNetwork.losses``)."""
    return {
        "boxes": torch.from_numpy(crop.boxes).to(device),
        "ids": torch.from_numpy(crop.ids).to(device),
        "labels": torch.ones(len(crop.ids), dtype=torch.int64, device=device),
        "certainty": torch.from_numpy(crop.certainty).to(device),
        "label_image": torch.from_numpy(crop.labels).to(device),
    }
