"""What a regime has beside the weights (input size, thresholds, calibrations), found on validation parts.

No test part is read here. Each image is detected once for each size at which the network may see it, whatever the
regimes that it validates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from labsem.evaluation.bootstrap import mean_interval
from labsem.evaluation.detection import detection_floor_px, match
from labsem.networks.detector import Detector
from labsem.networks.manifest import Calibration, Input, Platt, Thresholds
from labsem.networks.scaling import scale_factor
from labsem.networks.segmenter import logit
from labsem.training.atoms import Kept, ScoredFrame, score_frame
from labsem.training.sampling import TrainingImage
from labsem.training.thresholds import TRIALS, Score, score, score_overlaps, search_thresholds, segment
from schemas.morphology import Regime

SCORE_MIN = 0.2
NMS_IOU = 0.6
INPUTS = (
    Input(long_side_max_px=1920, long_side_min_px=512, typical_side_px=56, typical_quantile=0.25),
    Input(long_side_max_px=1920, long_side_min_px=512, typical_side_px=64),
    Input(long_side_max_px=1920, long_side_min_px=512),
)
"""Sizes at which frames may be brought before the network: in two looks, or in one."""

UNCALIBRATED = Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing")
JUDGED_MIN = 30
"""Particles of each class that a calibration of certainty needs."""

Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""


@dataclass(frozen=True)
class Calibrated:
    """A regime's calibration, and what it was found on.

    Attributes
    ----------
    frames
        Its validation images.
    kept
        What inference keeps of their detections.
    score
        What that reaches.
    """

    calibration: Calibration
    frames: list[ScoredFrame]
    kept: list[Kept]
    score: Score


def calibrate_frames(
    frames: Sequence[ScoredFrame],
    scale: Input,
    *,
    real: Sequence[ScoredFrame],
    trials: int = TRIALS,
) -> Calibration:
    """Find thresholds and calibrations on images that were looked at already.

    Parameters
    ----------
    frames
        Their detections, at one size.
    scale
        That size.
    real
        Real images of all regimes, for the calibration of ``confidence`` where too few of ``frames`` were judged.
    trials
        Of the search for thresholds.

    Raises
    ------
    ValueError
        Where there is no image.
    """
    if not frames:
        raise ValueError("no image to find thresholds on")
    found = _calibrate_regime({scale: list(frames)}, {scale: list(real)}, trials, lambda *_: None)
    return found.calibration


def calibrate_regimes(
    detector: Detector,
    validation: Mapping[Regime, Sequence[TrainingImage]],
    inputs: Sequence[Input] = INPUTS,
    *,
    judged_elsewhere: Sequence[TrainingImage] = (),
    trials: int = TRIALS,
    progress: Progress | None = None,
) -> dict[Regime, Calibrated]:
    """Find input size, thresholds and calibrations of each regime on its validation images.

    Parameters
    ----------
    validation
        Images by regime.
    judged_elsewhere
        Judged images of regimes that are not to be calibrated: ``confidence`` is calibrated on them too where a
        regime has too few of its own.

    Raises
    ------
    ValueError
        Where a regime has no image.
    """
    empty = [regime.value for regime, images in validation.items() if not images]
    if empty:
        raise ValueError(
            f"no validation image is left for the regime {', '.join(empty)}; add labelled images of its magnification"
        )
    # By identity: images of two data sets may have the same name.
    everything = {id(image): image for images in (*validation.values(), judged_elsewhere) for image in images}
    detected = _detect_all(detector, everything, inputs, progress)
    found: dict[Regime, Calibrated] = {}
    for regime, images in validation.items():

        def tell(done: int, total: int, regime: Regime = regime) -> None:
            if progress is not None:
                progress(done / total, f"thresholds of {regime.value}, trial {done} of {total}")

        by_input = {scale: [detected[scale][id(image)] for image in images] for scale in inputs}
        real = {
            scale: [frame for frame in frames.values() if not frame.image.simulated]
            for scale, frames in detected.items()
        }
        found[regime] = _calibrate_regime(by_input, real, trials, tell)
    return found


def _detect_all(
    detector: Detector,
    images: Mapping[int, TrainingImage],
    inputs: Sequence[Input],
    progress: Progress | None,
) -> dict[Input, dict[int, ScoredFrame]]:
    detected: dict[Input, dict[int, ScoredFrame]] = {scale: {} for scale in inputs}
    for done, image in enumerate(images.values()):
        if progress is not None:
            progress(done / len(images), f"detections on validation images, {done} of {len(images)}")
        seen: dict[tuple[object, ...], ScoredFrame] = {}
        for scale in inputs:
            view = _view(image, scale)
            if view not in seen:
                detections = detector.detect(image.grey, scale, score_min=SCORE_MIN, nms_iou=NMS_IOU)
                seen[view] = score_frame(image, detections)
            detected[scale][id(image)] = seen[view]
    return detected


def _view(image: TrainingImage, scale: Input) -> tuple[object, ...]:
    """How the network sees an image: inputs that agree in it give the same detections."""
    rest = scale.model_dump(exclude={"long_side_max_px", "long_side_min_px"})
    height, width = image.grey.shape
    return scale_factor(height, width, scale), *rest.values()


def _calibrate_regime(
    by_input: Mapping[Input, list[ScoredFrame]],
    real: Mapping[Input, list[ScoredFrame]],
    trials: int,
    tell: Callable[[int, int], None],
) -> Calibrated:
    first = Thresholds(nms=NMS_IOU, contrast=0.02)
    candidates: list[tuple[float, Calibration]] = []
    for scale, frames in by_input.items():
        calibration = Calibration(
            thresholds=first,
            confidence=UNCALIBRATED,
            mask_quality=Platt(slopes=(1.0, 1.0), offset=0.0, fitted_on="nothing"),
            input=scale,
        )
        confidence = fit_confidence(frames, real[scale], calibration)
        calibration = calibration.model_copy(update={"confidence": confidence})
        candidates.append((score(frames, first, calibration.confidence).value, calibration))
    calibration = max(candidates, key=lambda pair: pair[0])[1]
    frames = by_input[calibration.input]
    thresholds, _ = search_thresholds(frames, calibration, trials=trials, progress=tell)
    calibration = calibration.model_copy(update={"thresholds": thresholds})
    confidence = fit_confidence(frames, real[calibration.input], calibration)
    calibration = calibration.model_copy(update={"confidence": confidence})
    kept = _keep(frames, calibration)
    return Calibrated(
        calibration.model_copy(
            update={
                "mask_quality": fit_mask_quality(frames, kept),
                "detection_floor_px": measure_floor(kept),
            }
        ),
        frames,
        kept,
        score_overlaps([each.overlaps for each in kept]),
    )


def _keep(frames: Sequence[ScoredFrame], calibration: Calibration) -> list[Kept]:
    return [segment(frame, calibration.thresholds, calibration.confidence, exact=True) for frame in frames]


def few_judged(images: Sequence[TrainingImage]) -> bool:
    """Whether the real ones among the images have too few judged particles of either kind to learn certainty from."""
    judged = [image for image in images if image.uncertain is not None and not image.simulated]
    uncertain = sum(len(image.uncertain or ()) for image in judged)
    particles = sum(len(np.unique(image.labels[image.labels > 0])) for image in judged)
    return min(uncertain, particles - uncertain) < JUDGED_MIN


def fit_confidence(
    frames: Sequence[ScoredFrame], real: Sequence[ScoredFrame], calibration: Calibration
) -> Platt:
    """Platt's calibration of the expected bin centre on matched particles of judged images.

    An expert's word counts before a simulator's rule: it is fitted on real images of the regime or, where too few of
    these were judged, on those of all regimes, and on simulated ones only where there are too few of them too.

    Parameters
    ----------
    frames
        Validation images of the regime.
    real
        Real validation images of all regimes.
    calibration
        Whose thresholds decide what is kept.
    """
    own = [frame for frame in frames if not frame.image.simulated]
    for what, some in (("real images", own), ("real images of all regimes", real), ("images", frames)):
        expected, certain = judged_matches(some, _keep(some, calibration))
        if min(certain.sum(), (~certain).sum()) >= JUDGED_MIN:
            return fit_platt(
                logit(expected)[:, None],
                certain,
                f"{len(certain)} matched particles of judged validation {what}",
            )
    return UNCALIBRATED


def judged_matches(
    frames: Sequence[ScoredFrame], kept: Sequence[Kept]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Expected bin centre, and whether the label is certain, of matched particles of judged images (N,)."""
    expected: list[NDArray[np.float64]] = [np.zeros(0)]
    certain: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    for frame, each in zip(frames, kept, strict=True):
        if frame.image.uncertain is None:
            continue
        found = match(each.overlaps)
        detection = each.index[each.overlaps.predicted_ids[found.predicted_index] - 1]
        labels = each.overlaps.truth_ids[found.truth_index]
        expected.append(frame.detections.expected_confidence[detection])
        certain.append(~np.isin(labels, list(frame.image.uncertain)))
    return np.concatenate(expected), np.concatenate(certain)


def fit_mask_quality(frames: Sequence[ScoredFrame], kept: Sequence[Kept]) -> Platt:
    """Probability that a kept mask reaches IoU 0.5, from objectness and the mask's own probabilities.

    On real images where these give enough masks of both kinds: simulated ones are crowded, and would decide alone.
    """
    own = [place for place, frame in enumerate(frames) if not frame.image.simulated]
    inputs, right = quality_matches([frames[place] for place in own], [kept[place] for place in own])
    if min(right.sum(), (~right).sum()) >= JUDGED_MIN:
        return fit_platt(inputs, right, f"{len(right)} detections on real validation images")
    inputs, right = quality_matches(frames, kept)
    return fit_platt(inputs, right, f"{len(right)} detections on validation images")


def quality_matches(
    frames: Sequence[ScoredFrame], kept: Sequence[Kept]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Logits of objectness and mask certainty (N, 2), and whether the mask reaches IoU 0.5 (N,), of what is kept."""
    inputs: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    right: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    for frame, each in zip(frames, kept, strict=True):
        seen = each.index[each.overlaps.predicted_ids - 1]
        trust = (frame.detections.objectness[seen], frame.detections.mask_certainty[seen])
        inputs.append(np.stack([logit(one) for one in trust], axis=1))
        right.append(match(each.overlaps).predicted_right)
    return np.concatenate(inputs), np.concatenate(right)


def fit_platt(inputs: NDArray[np.float64], outcome: NDArray[np.bool_], fitted_on: str) -> Platt:
    """Logistic regression with positive slopes (Platt 1999, with his smoothed targets).

    Parameters
    ----------
    inputs
        (N, M).
    outcome
        (N,).
    """
    positive, negative = int(outcome.sum()), int((~outcome).sum())
    wanted = np.where(outcome, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        margin = inputs @ parameters[:-1] + parameters[-1]
        penalty = 1e-4 * np.sum(parameters[:-1] ** 2)
        return float(np.sum(np.logaddexp(0, margin) - wanted * margin) / max(len(wanted), 1) + penalty)

    count = inputs.shape[1]
    fit = minimize(
        loss,
        np.append(np.ones(count), 0.0),
        method="L-BFGS-B",
        bounds=[(1e-3, None)] * count + [(None, None)],
    )
    return Platt(slopes=tuple(float(v) for v in fit.x[:-1]), offset=float(fit.x[-1]), fitted_on=fitted_on)


def measure_floor(kept: Sequence[Kept]) -> float | None:
    """Diameter of 50 % recall on the validation images, px."""
    matches = [match(each.overlaps) for each in kept]
    return detection_floor_px(
        np.concatenate([each.truth_ecd_px for each in matches]),
        np.concatenate([each.truth_found for each in matches]),
    )


def figures(found: Calibrated) -> dict[str, object]:
    """AJI+ and F1 on the validation images that the calibration was found on (so a little too good)."""
    reached = found.score
    return {
        "images": len(found.frames),
        "particles": sum(len(frame.truth_ids) for frame in found.frames),
        "aji_plus": _rounded(float(reached.aji_plus.mean())),
        "aji_plus_interval_95": _interval(reached.aji_plus),
        "f1": _rounded(float(reached.f1.mean())),
        "f1_interval_95": _interval(reached.f1),
        "d50_images": len(reached.log_d50_ratio),
        "d50_ratio_median": _rounded(float(np.exp(np.median(reached.log_d50_ratio))))
        if len(reached.log_d50_ratio)
        else None,
    }


def _interval(values: NDArray[np.float64]) -> list[float] | None:
    interval = mean_interval(values)
    return None if interval is None else [_rounded(value) for value in interval]


def _rounded(value: float) -> float:
    return round(float(value), 4)
