"""Fits the uncertainty head that works on evidence: :func:`fit_evidence`.

It learns from judged images of the training, from the true boxes and from the detections that match a particle, and
never from more simulated frames than real ones where there are real ones: what an expert calls uncertain is the
expert's word, a simulator's rule only stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from labsem.networks.detector import Detector
from labsem.networks.evidence import EVIDENCE, EvidenceHead
from labsem.networks.losses import UncertaintyHead
from labsem.networks.manifest import Input
from labsem.training.calibrate import JUDGED_MIN, NMS_IOU, SCORE_MIN
from labsem.training.labels import true_boxes
from labsem.training.material import thin
from labsem.training.sampling import TrainingImage
from labsem.training.search import JudgedFeatures, fit_head

MATCHED_IOU: Final = 0.5
MOST_OF_AN_IMAGE: Final = 160
"""Rows that one image gives at most: a crowded frame is one judgement more than many."""

SIMULATED_ALONE_MAX: Final = 60
"""Simulated frames that are looked at where no real one was judged."""


def fit_evidence(data: JudgedFeatures, settings: UncertaintyHead) -> EvidenceHead | None:
    """The head of judged particles; None where there are too few of either kind to tell them apart."""
    if min(data.certain.sum(), (~data.certain).sum()) < JUDGED_MIN:
        return None
    return fit_head(data, settings)


def collect_evidence(
    detector: Detector,
    images: Sequence[TrainingImage],
    scale: Input,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> JudgedFeatures:
    """Evidence on the particles of judged images, as detected and at their true boxes.

    Parameters
    ----------
    detector
        Of the network whose head is to be fitted.
    images
        Those that were not judged are passed over.
    scale
        How frames are brought before the network.
    progress
        Called with images done and all images.
    """
    features: list[NDArray[np.float64]] = [np.zeros((0, len(EVIDENCE)))]
    certain: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    groups: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    rng = np.random.default_rng(seed)
    judged = [image for image in images if image.uncertain is not None and image.labels.any()]
    for group, image in enumerate(judged):
        if progress is not None:
            progress(group, len(judged))
        labels, boxes = true_boxes(image.labels)
        at_truth = detector.at_boxes(image.grey, boxes, scale)
        found = detector.detect(image.grey, scale, score_min=SCORE_MIN, nms_iou=NMS_IOU)
        overlap = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(boxes)).numpy()
        nearest = overlap.argmax(axis=1)
        matched = np.flatnonzero(overlap.max(axis=1) >= MATCHED_IOU)
        evidence = np.concatenate([found.evidence[matched], at_truth.evidence])
        of_labels = np.concatenate([labels[nearest[matched]], labels])
        kept = rng.permutation(len(of_labels))[:MOST_OF_AN_IMAGE]
        features.append(evidence[kept])
        certain.append(~np.isin(of_labels[kept], list(image.uncertain or ())))
        groups.append(np.full(len(kept), group))
    return JudgedFeatures(np.concatenate(features), np.concatenate(certain), np.concatenate(groups))


def choose_judged(images: Sequence[TrainingImage]) -> list[TrainingImage]:
    """All judged real images and, evenly spread, at most as many simulated ones."""
    judged = [image for image in images if image.uncertain is not None]
    real = [image for image in judged if not image.simulated]
    simulated = [image for image in judged if image.simulated]
    return real + thin(simulated, len(real) or SIMULATED_ALONE_MAX)
