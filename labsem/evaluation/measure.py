"""What is measured on one image; :mod:`labsem.evaluation.summary` puts images together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from labsem.evaluation.aji import AjiSums, aji_plus, aji_sums
from labsem.evaluation.boundary import BoundaryError, boundary_error
from labsem.evaluation.detection import Match, match
from labsem.evaluation.geometry import geometry_features
from labsem.evaluation.landmarks import clear_found, holes_taken
from labsem.evaluation.overlap import Overlaps, find_overlaps, select
from labsem.evaluation.sizes import FrameSizes
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage
from schemas.morphology import Regime

SIMULATOR_COLUMN = "simulator_version"


class Segments(Protocol):
    """Whatever segments a frame: the networks, the floor, or a lab's own."""

    def __call__(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], regime: Regime, /) -> Segmentation:
        """Segment one frame (H, W) as a frame of that regime; it is of the same size."""
        ...


class BoxTrust(Protocol):
    """Numbers of trust (N,) at boxes that were given."""

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Calibrated probability that an expert would call the particle certain."""
        ...

    @property
    def objectness(self) -> NDArray[np.float64]:
        """How sure it is of a particle at all."""
        ...


TrustAt = Callable[[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.int64], Regime], BoxTrust | None]
"""Trust in particles of a frame (H, W) at boxes (N, 4), y0 x0 y1 x1; None of a model that judges no boxes."""


@dataclass(frozen=True)
class LabelResult:
    """One image against its mask; (M,) are its pairs matched at IoU 0.5, in the order of ``matched``."""

    overlaps: Overlaps
    aji: AjiSums
    matched: Match
    objectness: NDArray[np.float64]
    mask_quality: NDArray[np.float64]
    boundary: BoundaryError
    found_sizes: FrameSizes
    labelled_sizes: FrameSizes
    frame_px: int
    second_aji_plus: float | None
    annotators_aji_plus: float | None


@dataclass(frozen=True)
class CertaintyResult:
    """Particles of one judged image: (M,) numbers of trust, (M, 4) geometry, (M,) the expert's word."""

    confidence: NDArray[np.float64]
    objectness: NDArray[np.float64]
    geometry: NDArray[np.float64]
    certain: NDArray[np.bool_]

    @property
    def log_area(self) -> NDArray[np.float64]:
        """(M,) logarithm of the area: the first of the geometry."""
        column: NDArray[np.float64] = self.geometry[:, 0]
        return column


@dataclass(frozen=True)
class LabelClassResult:
    """The labels of one word (certain, or uncertain) of one judged image, and the detections of the same word."""

    particles: int
    detections: int
    found: int
    iou_sum: float
    aji: AjiSums


@dataclass(frozen=True)
class LandmarkResult:
    """Clear particles found and missed, and holes taken, by label, with the number of holes."""

    found: tuple[int, ...]
    missed: tuple[int, ...]
    taken: tuple[int, ...]
    holes: int


@dataclass(frozen=True)
class ImageResult:
    """All that was measured on one image, as far as its labels allow.

    ``certainty`` is of the particles matched at IoU 0.5, ``true_boxes`` of all labels, where the model judges boxes.
    """

    id: str
    group: str | None
    regime: Regime
    detections: int
    out_of_distribution: bool
    seconds: float
    labels: LabelResult | None
    certainty: CertaintyResult | None
    landmarks: LandmarkResult | None
    true_boxes: CertaintyResult | None = None
    certain_labels: LabelClassResult | None = None
    uncertain_labels: LabelClassResult | None = None
    simulator_version: str | None = None


def measure_image(
    image: LabelledImage,
    segmentation: Segmentation,
    regime: Regime,
    seconds: float,
    group: str | None = None,
    trust_at: TrustAt | None = None,
) -> ImageResult:
    """Compare one segmentation with what is labelled.

    Parameters
    ----------
    seconds
        That the segmentation took.
    group
        Images of a group are also summed up on their own.
    trust_at
        Of the model, for trust in the boxes of the labels.

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where a label image does not fit.
    ValueError
        Where the segmentation has another size than the image.
    """
    labels = certainty = true_boxes = sure = unsure = None
    if image.mask_path is not None:
        truth = image.labels()
        labels = _against_labels(image, truth, segmentation)
        uncertain = image.uncertain_ids()
        if uncertain is not None:
            certain = ~np.isin(labels.overlaps.truth_ids, list(uncertain))
            certainty = _certainty(segmentation, labels, certain)
            sure, unsure = (_label_class(segmentation, labels, certain, word) for word in (True, False))
            if trust_at is not None:
                true_boxes = _true_boxes(trust_at, image, truth, regime, certain)
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
        true_boxes=true_boxes,
        certain_labels=sure,
        uncertain_labels=unsure,
        simulator_version=image.extra.get(SIMULATOR_COLUMN) or None,
    )


def _against_labels(
    image: LabelledImage, truth: NDArray[np.int32], segmentation: Segmentation
) -> LabelResult:
    predicted = segmentation.label_image
    overlaps = find_overlaps(truth, predicted)
    matched = match(overlaps)
    seen = overlaps.predicted_ids - 1
    second = image.second_labels() if image.second_path is not None else None
    pairs = np.stack(
        [overlaps.truth_ids[matched.truth_index], overlaps.predicted_ids[matched.predicted_index]], axis=1
    )
    return LabelResult(
        overlaps=overlaps,
        aji=aji_sums(overlaps),
        matched=matched,
        objectness=segmentation.objectness[seen],
        mask_quality=segmentation.mask_quality[seen],
        boundary=boundary_error(truth, predicted, pairs),
        found_sizes=FrameSizes.of(segmentation),
        labelled_sizes=FrameSizes.of(Segmentation.from_labels(truth)),
        frame_px=truth.size,
        second_aji_plus=None if second is None else aji_plus(second, predicted),
        annotators_aji_plus=None if second is None else aji_plus(truth, second),
    )


def _certainty(
    segmentation: Segmentation, labels: LabelResult, certain: NDArray[np.bool_]
) -> CertaintyResult:
    predicted_ids = labels.overlaps.predicted_ids[labels.matched.predicted_index]
    ids, features = geometry_features(segmentation.label_image)
    return CertaintyResult(
        confidence=segmentation.confidence[predicted_ids - 1],
        objectness=segmentation.objectness[predicted_ids - 1],
        geometry=features[np.searchsorted(ids, predicted_ids)],
        certain=certain[labels.matched.truth_index],
    )


def _label_class(
    segmentation: Segmentation, labels: LabelResult, certain: NDArray[np.bool_], word: bool
) -> LabelClassResult:
    overlaps, matched = labels.overlaps, labels.matched
    chosen = certain == word
    same = segmentation.certain[overlaps.predicted_ids - 1] == word
    found = matched.iou[chosen[matched.truth_index]]
    return LabelClassResult(
        particles=int(chosen.sum()),
        detections=int(same.sum()),
        found=len(found),
        iou_sum=float(found.sum()),
        aji=aji_sums(select(overlaps, chosen, same)),
    )


def _true_boxes(
    trust_at: TrustAt,
    image: LabelledImage,
    truth: NDArray[np.int32],
    regime: Regime,
    certain: NDArray[np.bool_],
) -> CertaintyResult | None:
    boxes = np.array(
        [(y.start, x.start, y.stop, x.stop) for y, x in filter(None, find_objects(truth))], np.int64
    ).reshape(-1, 4)
    trust = trust_at(image.pixels(), boxes, regime)
    if trust is None:
        return None
    return CertaintyResult(trust.confidence, trust.objectness, geometry_features(truth)[1], certain)


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
