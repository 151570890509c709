"""Combination on atoms is the combination of pixels; the search finds what is better and always the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.evaluation.aji import aji_sums
from labsem.evaluation.overlap import find_overlaps
from labsem.networks.detector import Detections
from labsem.networks.manifest import Calibration, Input, Platt, Thresholds
from labsem.networks.segmenter import to_segmentation
from labsem.training.atoms import SIGMAS, score_frame
from labsem.training.calibrate import UNCALIBRATED, fit_confidence, fit_platt
from labsem.training.sampling import TrainingImage
from labsem.training.thresholds import SPACE, score, score_overlaps, search_thresholds, segment

SIDE = 72
PLAIN = Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing")


def _scene(seed: int, count: int) -> tuple[TrainingImage, Detections]:
    """Bright labelled discs, and detections of them, of the ground and of pairs, with soft masks that overlap."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    boxes = []
    for label in range(1, count + 1):
        cy, cx, radius = rng.uniform(8, SIDE - 8), rng.uniform(8, SIDE - 8), rng.uniform(4, 12)
        if label % 3:
            labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
        for _ in range(2):
            dy, dx, reach = rng.normal(0, 2), rng.normal(0, 2), radius * rng.uniform(0.8, 1.3)
            boxes.append((cx + dx - reach, cy + dy - reach, cx + dx + reach, cy + dy + reach))
    corners = np.array(boxes).reshape(-1, 4).clip(0, SIDE)
    v = np.linspace(-1, 1, 28)
    disc = 1 / (1 + np.exp(6 * (np.hypot(v[:, None], v[None, :]) - 0.9)))
    masks = np.clip(disc + rng.normal(0, 0.05, (len(corners), 28, 28)), 0, 1)
    objectness = np.sort(rng.uniform(0.2, 1, len(corners)))[::-1].copy()
    grey = (0.3 + 0.5 * (labels > 0) + rng.normal(0, 0.05, labels.shape)).clip(0, 1).astype(np.float32)
    detections = Detections(
        grey=grey,
        boxes=corners,
        masks=torch.from_numpy(masks).float(),
        objectness=objectness,
        expected_confidence=rng.uniform(0.05, 0.95, len(corners)),
        mask_certainty=rng.uniform(0.2, 1, len(corners)),
    )
    return TrainingImage(f"scene{seed}", (grey * 255).astype(np.uint8), labels, frozenset({1, 2})), detections


def _calibration(thresholds: Thresholds) -> Calibration:
    return Calibration(
        thresholds=thresholds,
        confidence=PLAIN,
        mask_quality=Platt(slopes=(1.0, 1.0), offset=0.0, fitted_on="nothing"),
        input=Input(long_side_max_px=128, long_side_min_px=64),
    )


@st.composite
def _thresholds(draw) -> Thresholds:
    given_by_name = {}
    for name, (low, high, step) in SPACE.items():
        given_by_name[name] = round(low + step * draw(st.integers(0, round((high - low) / step))), 4)
    if draw(st.booleans()):
        given_by_name["contrast"] = -1.0
    return Thresholds(**given_by_name)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 12), _thresholds())
def test_atoms_give_the_segmentation_of_inference(seed: int, count: int, thresholds: Thresholds) -> None:
    image, detections = _scene(seed, count)
    segmentation = to_segmentation(detections, _calibration(thresholds))
    kept = segment(score_frame(image, detections, [thresholds.sigma]), thresholds, PLAIN, exact=True)
    assert detections.objectness[kept.index].tolist() == segmentation.objectness.tolist()
    wanted = find_overlaps(image.labels, segmentation.label_image)
    for name in vars(wanted):
        assert np.array_equal(getattr(wanted, name), getattr(kept.overlaps, name)), name


def test_the_search_is_no_worse_than_its_start_and_repeats_itself() -> None:
    frames = [score_frame(*_scene(seed, 8)) for seed in range(4)]
    first = Thresholds(omega=0.9, psi=0.9, contrast=0.02)
    told = []
    found, reached = search_thresholds(
        frames, _calibration(first), trials=12, progress=lambda *each: told.append(each)
    )
    assert told[-1] == (12, 12)
    assert found.sigma in SIGMAS
    assert reached.value >= score(frames, first, PLAIN, exact=True).value
    assert search_thresholds(frames, _calibration(first), trials=12)[0] == found
    assert reached.aji_plus.tolist() == pytest.approx(
        [
            aji_sums(
                find_overlaps(
                    frame.image.labels,
                    to_segmentation(frame.detections, _calibration(found)).label_image,
                )
            ).value
            for frame in frames
        ]
    )


def test_an_error_of_d50_costs_only_where_there_are_particles_enough() -> None:
    labels = np.zeros((60, 60), np.int32)
    for label in range(64):
        y, x = divmod(label, 8)
        labels[7 * y : 7 * y + 5, 7 * x : 7 * x + 5] = label + 1
    small = np.where(np.roll(labels, 2, 0) == labels, labels, 0)
    many = score_overlaps([find_overlaps(labels, small)])
    few = score_overlaps([find_overlaps(np.where(labels > 40, 0, labels), np.where(labels > 40, 0, small))])
    assert len(many.log_d50_ratio) == 1 and many.log_d50_ratio[0] < 0
    assert len(few.log_d50_ratio) == 0
    assert few.value == pytest.approx(float(few.per_image.mean()) - abs(few.log_size_ratio.mean()))
    assert many.value < float(many.per_image.mean()) - abs(many.log_size_ratio.mean())


def test_outlines_that_are_all_too_narrow_cost_more_than_ones_off_to_either_side() -> None:
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 32, x - 32)

    def disc(radius: float) -> np.ndarray:
        return (distance < radius).astype(np.int32)

    biased = score_overlaps([find_overlaps(disc(20), disc(19)) for _ in range(2)])
    either = score_overlaps([find_overlaps(disc(20), disc(radius)) for radius in (19, 21.05)])
    assert biased.per_image.mean() == pytest.approx(either.per_image.mean(), abs=0.01)
    assert biased.log_size_ratio == pytest.approx(np.log([0.95, 0.95]), abs=0.01)
    assert abs(either.log_size_ratio.mean()) < 0.005
    assert biased.value < either.value - 0.04


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_platt_is_monotone_and_follows_the_base_rate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, 400)
    outcome = rng.random(400) < 1 / (1 + np.exp(-(0.5 * margin - 0.3)))
    platt = fit_platt(margin[:, None], outcome, "generated")
    assert platt.slopes[0] > 0
    fitted = 1 / (1 + np.exp(-(margin * platt.slopes[0] + platt.offset)))
    assert fitted.mean() == pytest.approx(outcome.mean(), abs=0.02)


def test_platt_never_turns_an_input_around() -> None:
    margin = np.linspace(-2, 2, 200)
    platt = fit_platt(margin[:, None], margin < 0, "generated")
    assert platt.slopes[0] > 0


def test_an_experts_word_counts_before_a_simulators_rule() -> None:
    calibration = _calibration(Thresholds(omega=0.2, psi=0.2))

    def frames(seeds, *, simulated: bool):
        scored = []
        for seed in seeds:
            image, found = _scene(seed, 12)
            image = replace(image, simulated=simulated, uncertain=frozenset({1, 2, 4, 5}))
            scored.append(score_frame(image, found))
        return scored

    own, made = frames(range(24), simulated=False), frames(range(24, 48), simulated=True)
    few = own[:1]
    enough = fit_confidence(own + made, own, calibration)
    assert "judged validation real images" in enough.fitted_on
    assert enough == fit_confidence(own, own, calibration)
    assert fit_confidence(few + made, own, calibration).fitted_on.endswith("real images of all regimes")
    assert fit_confidence(few + made, few, calibration).fitted_on.endswith("judged validation images")
    assert fit_confidence(few, few, calibration) == UNCALIBRATED
