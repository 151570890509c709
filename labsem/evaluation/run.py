"""Evaluate segmenters on labelled images: :func:`evaluate` one, :func:`measure_images` several on the same pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from labsem.evaluation.measure import ImageResult, Segments, TrustAt, measure_image
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.summary import summarize
from labsem.frames import FrameError, read_frame
from labsem.regimes import DISPLAY_WIDTH_M, MAGNIFICATION_SPLIT, route
from labsem.segmentation import Segmentation
from labsem.training.datasets import LabelledImage
from labsem.training.splits import SplitError, split_of
from schemas.image import Acquisition
from schemas.morphology import Regime

AUTO = "auto"
GROUP_COLUMN = "powder"
_TIFF_SUFFIXES = (".tif", ".tiff")

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Called after each image with the number done and the number of all."""


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate, in one way of routing.

    Attributes
    ----------
    name
        Of the model and, where several regimes stand side by side, of the regime.
    segment
        Called with the pixels of each image and its regime.
    trust_at
        Its trust in given boxes, where it has one.
    regime
        One regime for all; None routes each image by its magnification, images without a scale to ``joint``.
    """

    name: str
    segment: Segments
    trust_at: TrustAt | None = None
    regime: Regime | None = None

    @property
    def regime_name(self) -> str:
        """``low``, ``high``, ``joint`` or ``auto``."""
        return self.regime.value if self.regime else AUTO


Observer = Callable[[LabelledImage, str, Segmentation, ImageResult], None]
"""Called with each image, the candidate's name, what it found, and the result: to draw it, or to keep it."""


def evaluate(
    images: Sequence[LabelledImage],
    segmenter: Segments,
    regime: Regime | None = None,
    part: str | None = None,
    *,
    trust_at: TrustAt | None = None,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Segment labelled images and measure the result.

    Parameters
    ----------
    images
        From :func:`labsem.training.datasets.read_dataset`.
    segmenter, regime, trust_at
        As in :class:`Candidate`.
    part
        ``train``, ``validation`` or ``test`` of the split that lists these images; None takes all of them.
    display_width_m, magnification_split
        Of the routing.
    progress
        Called after each image.

    Raises
    ------
    labsem.training.splits.SplitError
        Where a part is asked for and no split lists the images, or none is in that part.
    labsem.training.datasets.DatasetError
        Where an image or its labels cannot be used.
    """
    chosen, split = select_part(images, part)
    candidate = Candidate("", segmenter, trust_at, regime)
    results = measure_images(
        chosen,
        [candidate],
        display_width_m=display_width_m,
        magnification_split=magnification_split,
        progress=progress,
    )
    return summarize(results[""], candidate.regime_name, part, split)


def evaluate_regimes(
    images: Sequence[LabelledImage],
    segmenter: Segments,
    part: str | None = None,
    *,
    trust_at: TrustAt | None = None,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Progress | None = None,
) -> dict[str, EvaluationReport]:
    """Evaluate all images as ``low``, ``high``, ``joint`` and ``auto`` (routed); each is segmented three times.

    Parameters and errors are those of :func:`evaluate`.
    """
    chosen, split = select_part(images, part)
    results = measure_images(
        chosen,
        candidates_by_regime("", segmenter, trust_at),
        display_width_m=display_width_m,
        magnification_split=magnification_split,
        progress=progress,
    )
    return {name: summarize(of_regime, name, part, split) for name, of_regime in results.items()}


def candidates_by_regime(name: str, segment: Segments, trust_at: TrustAt | None = None) -> list[Candidate]:
    """One model as ``low``, ``high``, ``joint`` and ``auto``; a name stands before the regime's."""
    return [
        Candidate(f"{name} {regime.value if regime else AUTO}".strip(), segment, trust_at, regime)
        for regime in (*Regime, None)
    ]


def measure_images(
    images: Sequence[LabelledImage],
    candidates: Sequence[Candidate],
    *,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Progress | None = None,
    observe: Observer | None = None,
) -> dict[str, list[ImageResult]]:
    """Measure several candidates on the same images, in the order of the images.

    A model that stands among the candidates twice segments an image once for each regime.

    Returns
    -------
    By the candidates' names. Results of several runs are pooled by joining their lists before
    :func:`labsem.evaluation.summarize`.
    """
    results: dict[str, list[ImageResult]] = {candidate.name: [] for candidate in candidates}
    for done, image in enumerate(images, 1):
        pixels = image.pixels()
        routed = route_image(image, display_width_m, magnification_split)
        known: dict[tuple[object, Regime], tuple[Segmentation, ImageResult]] = {}
        for candidate in candidates:
            regime = candidate.regime or routed
            if (candidate.segment, regime) not in known:
                started = time.perf_counter()
                segmentation = candidate.segment(pixels, regime)
                seconds = time.perf_counter() - started
                group = image.extra.get(GROUP_COLUMN) or image.regime
                result = measure_image(image, segmentation, regime, seconds, group, candidate.trust_at)
                known[candidate.segment, regime] = segmentation, result
            segmentation, result = known[candidate.segment, regime]
            results[candidate.name].append(result)
            if observe is not None:
                observe(image, candidate.name, segmentation, result)
        if progress is not None:
            progress(done, len(images))
    return results


def route_image(
    image: LabelledImage,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
) -> Regime:
    """Regime of a labelled image: its layout's or metadata's word, else its magnification, else its file's header."""
    if image.regime is not None:
        return Regime(image.regime)
    hfw_um = image.hfw_um
    if hfw_um is None and image.pixel_size_nm is not None:
        hfw_um = image.pixel_size_nm * image.pixels().shape[1] / 1000
    if hfw_um is not None or image.nominal_magnification is not None:
        acquisition = Acquisition(hfw_um=hfw_um, magnification=image.nominal_magnification)
    else:
        acquisition = _header(image)
    return route(acquisition, display_width_m=display_width_m, split=magnification_split)


def select_part(images: Sequence[LabelledImage], part: str | None) -> tuple[list[LabelledImage], str | None]:
    """The images of a part, and the name of the split that lists them; all, and None, where no part is asked for.

    Raises
    ------
    labsem.training.splits.SplitError
        Where no split lists the images, or none is in that part.
    """
    if part is None:
        return list(images), None
    name, split = split_of(image.id for image in images)
    wanted = frozenset(split.part(part))
    chosen = [image for image in images if image.id in wanted]
    if not chosen:
        raise SplitError(
            f"none of these {len(images)} images is in the part {part} of {name}; choose another part"
        )
    return chosen, name


def _header(image: LabelledImage) -> Acquisition:
    if image.image_path.suffix.lower() not in _TIFF_SUFFIXES:
        return Acquisition()
    try:
        return read_frame(image.image_path).metadata.acquisition
    except FrameError as error:
        log.warning("header_not_read", image=image.id, error=str(error))
        return Acquisition()
