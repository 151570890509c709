"""Sampling, resuming, calibrating and publishing, end to end on a few generated images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.networks.architecture import Architecture
from labsem.networks.manifest import Input, WeightsError, list_manifests, verify
from labsem.networks.scaling import scale_factor
from labsem.networks.segmenter import Segmenter
from labsem.training.calibrate import fit_platt
from labsem.training.publish import publish
from labsem.training.sampling import CropSampler, TrainingImage
from labsem.training.train import Training, TrainingOptions
from schemas.morphology import Regime

SMALL = Architecture(channels=16, box_features=32)


def _image(seed: int, side: int = 128) -> TrainingImage:
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    y, x = np.mgrid[:side, :side]
    for label in range(1, 13):
        cy, cx, radius = rng.integers(10, side - 10), rng.integers(10, side - 10), rng.integers(5, 16)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
    grey = np.where(labels > 0, 190, 60) + rng.normal(0, 6, labels.shape)
    return TrainingImage(f"image{seed}", grey.clip(0, 255).astype(np.uint8), labels, frozenset({1, 2, 3, 4}))


@pytest.fixture(scope="module")
def images() -> list[TrainingImage]:
    return [_image(seed) for seed in range(8)]


def test_a_step_draws_the_same_crops_whenever_it_is_asked(images) -> None:
    first, second = CropSampler([images], seed=3), CropSampler([images], seed=3)
    for one in range(3):
        first.batch(one, 2)
    for a, b in zip(first.batch(7, 2), second.batch(7, 2), strict=True):
        assert np.array_equal(a.grey, b.grey)
        assert np.array_equal(a.boxes, b.boxes)
    assert not np.array_equal(first.batch(8, 1)[0].grey, second.batch(7, 1)[0].grey)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_crops_hold_what_their_boxes_say(step: int) -> None:
    crop = CropSampler([[_image(1)]], seed=0, size_px=128).batch(step, 1)[0]
    assert crop.grey.shape == crop.labels.shape == (128, 128)
    assert crop.grey.dtype == np.float32
    assert 0 <= crop.grey.min() <= crop.grey.max() <= 1
    for label, (x0, y0, x1, y1), certainty in zip(
        crop.ids, crop.boxes.astype(int), crop.certainty, strict=True
    ):
        rows, columns = np.nonzero(crop.labels == label)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
        assert certainty == (0 if label in (1, 2, 3, 4) else 1)


def test_an_image_that_nobody_judged_teaches_no_certainty(images) -> None:
    unjudged = TrainingImage("x", images[0].grey, images[0].labels, None)
    assert set(CropSampler([[unjudged]], 0).batch(0, 1)[0].certainty.tolist()) == {-1}


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image is left"):
        CropSampler([[]], 0)


def _options(folder, **more) -> TrainingOptions:
    return TrainingOptions(
        data=(folder,), output=folder, steps=4, imagenet=False, crop_px=128, architecture=SMALL, **more
    )


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path, images) -> None:
    sampler = CropSampler([images], 0, 128)
    whole = Training(_options(tmp_path / "whole"))
    for _ in range(4):
        whole.run_step(sampler.batch(whole.step, 2))
    half = Training(_options(tmp_path / "half"))
    for _ in range(2):
        half.run_step(sampler.batch(half.step, 2))
    half.save()
    rest = Training(_options(tmp_path / "half", resume=True))
    assert rest.step == 2
    for _ in range(2):
        rest.run_step(sampler.batch(rest.step, 2))
    for name, tensor in whole.average.items():
        assert torch.equal(tensor, rest.average[name]), name


def test_resuming_nothing_is_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        Training(_options(tmp_path, resume=True))


@pytest.fixture(scope="module")
def published(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("model")
    training = Training(_options(folder / "run"))
    sampler = CropSampler([images], 0, 128)
    with torch.no_grad():
        training.network.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([2.0, 0.0]))
    training.run_step(sampler.batch(0, 2))
    training.save()
    publish(
        training.checkpoint,
        folder / "weights",
        name="joint",
        version="test",
        architecture=SMALL,
        training=images[:6],
        validation=dict.fromkeys(Regime, images[6:]),
        provenance={"steps": 1},
        inputs=[Input(long_side_max_px=128, long_side_min_px=64)],
    )
    return folder / "weights"


def test_a_published_model_loads_and_segments(published, images) -> None:
    segmenter = Segmenter.load(published, precision="float32")
    found = segmenter.segment(images[7].grey, Regime.LOW)
    assert (found.height_px, found.width_px) == images[7].grey.shape
    assert found.label_image.max() <= len(found)
    assert segmenter.model(Regime.HIGH) == list_manifests(published)[0].reference()
    wide = segmenter.segment(np.pad(images[7].grey.astype(np.uint16) * 200, ((0, 9), (0, 31))), Regime.JOINT)
    assert (wide.height_px, wide.width_px) == (137, 159)


def test_a_tampered_weight_file_is_refused_by_name_and_hash(published, tmp_path) -> None:
    manifest = list_manifests(published)[0]
    raw = bytearray((published / manifest.weights).read_bytes())
    raw[-1] ^= 1
    (tmp_path / manifest.weights).write_bytes(raw)
    with pytest.raises(WeightsError, match=manifest.sha256) as caught:
        verify(manifest, tmp_path)
    assert manifest.weights in str(caught.value)
    with pytest.raises(WeightsError, match="is missing"):
        verify(manifest, tmp_path / "nowhere")


def test_a_folder_without_models_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match="holds no model"):
        Segmenter.load(tmp_path)


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


@given(st.integers(8, 9000), st.integers(8, 9000))
def test_frames_are_brought_between_the_limits(height: int, width: int) -> None:
    scale = Input(long_side_max_px=1920, long_side_min_px=512)
    reached = max(height, width) * scale_factor(height, width, scale)
    assert reached <= 1920 + 1e-6
    assert reached >= min(512, 4 * max(height, width)) - 1e-6
