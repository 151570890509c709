"""Evaluate a segmenter on labelled images: :func:`evaluate`, :func:`evaluate_regimes`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from labsem.evaluation.measure import ImageResult, Segments, measure_image
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.summary import summarize
from labsem.frames import FrameError, read_frame
from labsem.regimes import DISPLAY_WIDTH_M, MAGNIFICATION_SPLIT, route
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


def evaluate(
    images: Sequence[LabelledImage],
    segmenter: Segments,
    regime: Regime | None = None,
    part: str | None = None,
    *,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Segment labelled images and measure the result.

    Parameters
    ----------
    images
        From :func:`labsem.training.datasets.read_dataset`.
    segmenter
        Called with the pixels of each image and its regime.
    regime
        One regime for all; None routes each image by its magnification, images without a scale to ``joint``.
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
    chosen, split = _choose(images, part)
    results = []
    for done, image in enumerate(chosen, 1):
        its_regime = regime or route_image(image, display_width_m, magnification_split)
        results.append(_segment_and_measure(image, segmenter, its_regime))
        if progress is not None:
            progress(done, len(chosen))
    return summarize(results, regime.value if regime else AUTO, part, split)


def evaluate_regimes(
    images: Sequence[LabelledImage],
    segmenter: Segments,
    part: str | None = None,
    *,
    display_width_m: float = DISPLAY_WIDTH_M,
    magnification_split: float = MAGNIFICATION_SPLIT,
    progress: Progress | None = None,
) -> dict[str, EvaluationReport]:
    """Evaluate all images as ``low``, ``high``, ``joint`` and ``auto`` (routed); each is segmented three times.

    Parameters and errors are those of :func:`evaluate`.
    """
    chosen, split = _choose(images, part)
    results: dict[str, list[ImageResult]] = {
        name: [] for name in (*(regime.value for regime in Regime), AUTO)
    }
    for done, image in enumerate(chosen, 1):
        routed = route_image(image, display_width_m, magnification_split)
        for regime in Regime:
            result = _segment_and_measure(image, segmenter, regime)
            results[regime.value].append(result)
            if regime is routed:
                results[AUTO].append(result)
        if progress is not None:
            progress(done, len(chosen))
    return {name: summarize(of_regime, name, part, split) for name, of_regime in results.items()}


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


def _header(image: LabelledImage) -> Acquisition:
    if image.image_path.suffix.lower() not in _TIFF_SUFFIXES:
        return Acquisition()
    try:
        return read_frame(image.image_path).metadata.acquisition
    except FrameError as error:
        log.warning("header_not_read", image=image.id, error=str(error))
        return Acquisition()


def _choose(images: Sequence[LabelledImage], part: str | None) -> tuple[list[LabelledImage], str | None]:
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


def _segment_and_measure(image: LabelledImage, segmenter: Segments, regime: Regime) -> ImageResult:
    pixels = image.pixels()
    started = time.perf_counter()
    segmentation = segmenter(pixels, regime)
    seconds = time.perf_counter() - started
    return measure_image(image, segmentation, regime, seconds, image.extra.get(GROUP_COLUMN) or None)
