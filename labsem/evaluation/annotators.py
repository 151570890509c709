"""How well two annotators agree on the same images: the ceiling of any model's AJI+."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.measure import measure_image
from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.run import GROUP_COLUMN, route_image
from labsem.evaluation.summary import summarize
from labsem.segmentation import Segmentation
from labsem.training.datasets import IMAGE_SUFFIXES, LabelledImage, read_dataset
from labsem.training.labels import DatasetError, read_labels

ANNOTATOR = "annotator"


def evaluate_annotators(images: Sequence[LabelledImage], against: Path) -> EvaluationReport:
    """Measure the labels of another set as if they were a model's, on the images that both hold.

    ``aji_plus`` is then the mean agreement, ``aji_plus_sd`` its spread; it is the same from either side. Where both
    sets judge certainty, ``certain_labels`` and ``uncertain_labels`` say how far the words agree.

    Parameters
    ----------
    images
        The labels that count as true.
    against
        A data set of the same ids, or a folder of label images ``ID.png`` (such as a data set's ``second/``).

    Raises
    ------
    labsem.training.datasets.DatasetError
        Where the two share no image, or a label image does not fit.
    """
    by_id = {image.id: image for image in images}
    results = [
        measure_image(
            by_id[image_id],
            segmentation,
            route_image(by_id[image_id]),
            0.0,
            by_id[image_id].extra.get(GROUP_COLUMN) or None,
        )
        for image_id, segmentation in _label_sets(by_id.keys(), against)
    ]
    if not results:
        raise DatasetError(
            against,
            "holds no labels of these images",
            "give a data set of the same ids, or a folder of label images ID.png",
        )
    return summarize(results, ANNOTATOR)


def _label_sets(ids: Collection[str], folder: Path) -> Iterator[tuple[str, Segmentation]]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    label_images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    for path in label_images:
        if path.stem in ids:
            yield path.stem, Segmentation.from_labels(read_labels(path))
    if not label_images:
        for image in read_dataset(folder):
            if image.id in ids:
                yield image.id, Segmentation.from_labels(image.labels(), _words(image))


def _words(image: LabelledImage) -> NDArray[np.float64] | None:
    """Confidence 1 or 0, as the annotator judged; None where nobody did."""
    uncertain = image.uncertain_ids()
    if uncertain is None:
        return None
    values = np.unique(image.labels())
    words: NDArray[np.float64] = (~np.isin(values[values > 0], list(uncertain))).astype(float)
    return words
