"""Models side by side on the same images: :func:`compare`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from labsem.evaluation.bootstrap import draw_images, paired_bootstrap
from labsem.evaluation.certainty import auroc, resampled_auroc
from labsem.evaluation.judgement import RESAMPLES, image_of_each, resampled_interval
from labsem.evaluation.measure import CertaintyResult, ImageResult, LabelResult
from labsem.evaluation.report import Comparison, Difference, EvaluationReport, ModelDifference


def compare(
    reports: Mapping[str, EvaluationReport], results: Mapping[str, Sequence[ImageResult]]
) -> Comparison:
    """Reports of several models and the paired difference of every two of them.

    Parameters
    ----------
    reports
        By the models' names.
    results
        Of the same models, each of the same images in the same order.

    Raises
    ------
    ValueError
        Where two models were measured on other images.
    """
    return Comparison(
        models=dict(reports),
        differences=tuple(
            compare_two(first, results[first], second, results[second])
            for first, second in itertools.combinations(results, 2)
        ),
    )


def compare_two(
    first: str, first_results: Sequence[ImageResult], second: str, second_results: Sequence[ImageResult]
) -> ModelDifference:
    """The first model less the second: AJI+, F1 at IoU 0.5, AUROC of confidence.

    Raises
    ------
    ValueError
        Where the images are not the same.
    """
    if [result.id for result in first_results] != [result.id for result in second_results]:
        raise ValueError(
            f"{first} and {second} were measured on other images; measure both on the same, in one order"
        )
    pairs = list(zip(first_results, second_results, strict=True))
    labelled = [(a.labels, b.labels) for a, b in pairs if a.labels is not None and b.labels is not None]
    detections = [
        (a.certainty, b.certainty) for a, b in pairs if a.certainty is not None and b.certainty is not None
    ]
    boxes = [
        (a.true_boxes, b.true_boxes)
        for a, b in pairs
        if a.true_boxes is not None and b.true_boxes is not None
    ]
    return ModelDifference(
        first=first,
        second=second,
        aji_plus=_means(labelled, lambda labels: labels.aji.value),
        f1=_means(labelled, lambda labels: labels.matched.counts.f1),
        auroc=_aurocs(detections),
        auroc_true_boxes=_aurocs(boxes),
    )


def _means(
    labelled: Sequence[tuple[LabelResult, LabelResult]], figure: Callable[[LabelResult], float]
) -> Difference | None:
    if not labelled:
        return None
    first, second = (np.array([figure(pair[side]) for pair in labelled]) for side in (0, 1))
    if len(labelled) < 2:
        gain = float((first - second)[0])
        return Difference(difference=gain, interval_95=None, share_not_better=float(gain <= 0), images=1)
    paired = paired_bootstrap(first, second)
    return Difference(
        difference=paired.difference,
        interval_95=paired.interval_95,
        share_not_better=paired.share_not_better,
        images=len(labelled),
    )


def _aurocs(judged: Sequence[tuple[CertaintyResult, CertaintyResult]]) -> Difference | None:
    if not judged:
        return None
    draws = draw_images(len(judged), RESAMPLES)
    values, resampled = [], []
    for side in (0, 1):
        ours = [pair[side] for pair in judged]
        scores = np.concatenate([one.confidence for one in ours])
        certain = np.concatenate([one.certain for one in ours])
        value = auroc(scores, certain)
        if value is None:
            return None
        values.append(value)
        resampled.append(resampled_auroc(scores, certain, image_of_each(ours), draws))
    gains = resampled[0] - resampled[1]
    return Difference(
        difference=values[0] - values[1],
        interval_95=resampled_interval(gains, len(judged)),
        share_not_better=float((gains[~np.isnan(gains)] <= 0).mean()),
        images=len(judged),
    )
