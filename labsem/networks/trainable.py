"""What every network of the registry has: losses to train it by, and an architecture that its weights fit."""

from __future__ import annotations

import abc
from typing import ClassVar

from pydantic import BaseModel
from torch import Tensor, nn

from labsem.networks.manifest import Objectness


class TrainableNetwork(nn.Module, abc.ABC):
    """A network that learns from grey crops and their label images.

    Attributes
    ----------
    architecture
        What is needed to build it again; part of the manifest.
    backbone
        The encoder, whose parameters learn at a rate of their own.
    loss_names
        Keys of :meth:`losses`.
    objectness
        What its particles are ranked by; the manifest says it.
    """

    loss_names: ClassVar[tuple[str, ...]]
    objectness: ClassVar[Objectness]
    architecture: BaseModel
    backbone: nn.Module

    @abc.abstractmethod
    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Losses of a batch, to be summed.

        Parameters
        ----------
        images
            (N, 1, H, W) grey values in [0, 1], H and W multiples of 32.
        targets
            For each image ``boxes`` (M, 4) x0 y0 x1 y1 in pixels, ``ids`` (M,) their values in ``label_image``
            (H, W) and ``certainty`` (M,): 1 certain, 0 uncertain, -1 not judged.
        """


class DetectionNetwork(TrainableNetwork):
    """A Mask R-CNN: one that detects particles one by one.

    Attributes
    ----------
    takes_evidence
        Whether a head on :mod:`labsem.networks.evidence` may take the place of its own uncertainty head.
    """

    takes_evidence: ClassVar[bool] = True

    @abc.abstractmethod
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
        """Detections of one image (1, 1, H, W), best first.

        Parameters
        ----------
        refinements
            How often the boxes that were found are looked at again.
        box_margin
            By what share of its sides a box grows before its mask is drawn.
        mirror
            Whether the mirrored image is looked at too, and what is said of each box in both is averaged.

        Returns
        -------
        dict
            ``boxes`` (M, 4) x0 y0 x1 y1 px; ``scores`` (M,) objectness; ``confidence_logits`` (M, k); ``masks``
            (M, S, S) mask probabilities; and ``certain`` (M,) where the network has a rule of its own for that.
        """

    @abc.abstractmethod
    def glance(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps (N, C, h, w) of stages and (N,) the highest objectness, as log odds, of (N, 1, H, W)."""

    @abc.abstractmethod
    def at_boxes(self, images: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """``scores`` (M,), ``confidence_logits`` (M, k), ``masks`` (M, S, S) of one image at boxes (M, 4), px."""
