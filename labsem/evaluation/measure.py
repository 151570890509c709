"""What is measured on one image; :mod:`labsem.evaluation.summary` puts images together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.aji import AjiSums, aji_plus, aji_sums
from labsem.evaluation.detection import Match, match
from labsem.evaluation.geometry import geometry_features
from labsem.evaluation.landmarks import clear_found, holes_taken
from labsem.evaluation.overlap import Overlaps, find_overlaps
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage
from schemas.morphology import Regime


class Segments(Protocol):
    """Whatever segments a frame: the networks, the floor, or a lab's own."""

    def __call__(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], regime: Regime, /) -> Segmentation:
        """Segment one frame (H, W) as a frame of that regime; it is of the same size."""
        ...


@dataclass(frozen=True)
class LabelResult:
    """One image against its mask."""

    overlaps: Overlaps
    aji: AjiSums
    matched: Match
    objectness: NDArray[np.float64]
    mask_quality: NDArray[np.float64]
    second_aji_plus: float | None
    annotators_aji_plus: float | None


@dataclass(frozen=True)
class CertaintyResult:
    """Matched particles of one judged image: (M,) numbers of trust, (M, 4) geometry, (M,) the expert's word."""

    confidence: NDArray[np.float64]
    objectness: NDArray[np.float64]
    geometry: NDArray[np.float64]
    certain: NDArray[np.bool_]


@dataclass(frozen=True)
class LandmarkResult:
    """Clear particles found and missed, and holes taken, by label, with the number of holes."""

    found: tuple[int, ...]
    missed: tuple[int, ...]
    taken: tuple[int, ...]
    holes: int


@dataclass(frozen=True)
class ImageResult:
    """All that was measured on one image, as far as its labels allow."""

    id: str
    group: str | None
    regime: Regime
    detections: int
    out_of_distribution: bool
    seconds: float
    labels: LabelResult | None
    certainty: CertaintyResult | None
    landmarks: LandmarkResult | None


def measure_image(
    image: LabelledImage, segmentation: Segmentation, regime: Regime, seconds: float, group: str | None = None
) -> ImageResult:
    """Compare one segmentation with what is labelled.

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where a label image does not fit.
    ValueError
        Where the segmentation has another size than the image.
    """
    labels = certainty = None
    if image.mask_path is not None:
        labels = _against_labels(image, segmentation)
        certainty = _certainty(image, segmentation, labels)
    return ImageResult(
        id=image.id,
        group=group,
        regime=regime,
        detections=len(segmentation),
        out_of_distribution=segmentation.out_of_distribution,
        seconds=seconds,
        labels=labels,
        certainty=certainty,
        landmarks=_against_landmarks(image, segmentation),
    )


def _against_labels(image: LabelledImage, segmentation: Segmentation) -> LabelResult:
    truth = image.labels()
    overlaps = find_overlaps(truth, segmentation.label_image)
    seen = overlaps.predicted_ids - 1
    second = image.second_labels() if image.second_path is not None else None
    return LabelResult(
        overlaps=overlaps,
        aji=aji_sums(overlaps),
        matched=match(overlaps),
        objectness=segmentation.objectness[seen],
        mask_quality=segmentation.mask_quality[seen],
        second_aji_plus=None if second is None else aji_plus(second, segmentation.label_image),
        annotators_aji_plus=None if second is None else aji_plus(truth, second),
    )


def _certainty(
    image: LabelledImage, segmentation: Segmentation, labels: LabelResult
) -> CertaintyResult | None:
    uncertain = image.uncertain_ids()
    if uncertain is None:
        return None
    truth_ids = labels.overlaps.truth_ids[labels.matched.truth_index]
    predicted_ids = labels.overlaps.predicted_ids[labels.matched.predicted_index]
    ids, features = geometry_features(segmentation.label_image)
    return CertaintyResult(
        confidence=segmentation.confidence[predicted_ids - 1],
        objectness=segmentation.objectness[predicted_ids - 1],
        geometry=features[np.searchsorted(ids, predicted_ids)],
        certain=~np.isin(truth_ids, list(uncertain)),
    )


def _against_landmarks(image: LabelledImage, segmentation: Segmentation) -> LandmarkResult | None:
    if image.clear_path is None and image.holes_path is None:
        return None
    found: tuple[int, ...] = ()
    missed: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    holes = 0
    if image.clear_path is not None:
        found, missed = clear_found(image.clear_labels(), segmentation)
    if image.holes_path is not None:
        hole_labels = image.hole_labels()
        holes = len(np.unique(hole_labels[hole_labels > 0]))
        taken = holes_taken(hole_labels, segmentation)
    return LandmarkResult(found, missed, taken, holes)
