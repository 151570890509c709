"""Whole evaluations: routing, parts, and the report's figures."""

from __future__ import annotations

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from labsem.evaluation import evaluate, evaluate_regimes, otsu_watershed, paired_bootstrap, route_image
from labsem.frames import FrameMetadata, write_frame
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.splits import SplitError, load_split
from schemas.image import Acquisition
from schemas.morphology import Regime


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(pixels))


@pytest.fixture
def labels():
    labels = np.zeros((60, 80), np.uint16)
    for k, (y, x) in enumerate([(2, 2), (2, 30), (2, 60), (30, 2), (30, 30), (30, 60)]):
        labels[y : y + 15 + k, x : x + 15] = k + 1
    return labels


@pytest.fixture
def folder(tmp_path, labels):
    """Three images whose grey values are their labels, so that a segmenter can be right or wrong at will."""
    for name in ("a", "b", "c"):
        png(tmp_path / "images" / f"{name}.png", labels)
        png(tmp_path / "masks" / f"{name}.png", labels)
    for name in ("a", "b"):
        png(tmp_path / "uncertain" / f"{name}.png", np.where(labels > 4, labels, 0))
    png(tmp_path / "images" / "empty.png", labels * 0)
    png(tmp_path / "masks" / "empty.png", labels * 0)
    (tmp_path / "metadata.csv").write_text(
        "id,hfw_um,pixel_size_nm,nominal_magnification,powder\na,3,,,P\nb,,2000,,P\nc,,,500,Q\nempty,,,,\n"
    )
    return tmp_path


@pytest.fixture
def perfect(segmentation_of):
    """Knows every particle, and that two of six are uncertain."""

    def segment(pixels, regime):
        count = len(np.unique(pixels)) - 1 if pixels.any() else 0
        confidence = np.linspace(0.95, 0.05, 6)[:count]
        return segmentation_of(pixels.astype(np.int32), confidence, np.full(count, 0.5))

    return segment


def test_a_perfect_segmenter(folder, perfect):
    calls = []
    report = evaluate(read_dataset(folder), perfect, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (report.images, report.particles, report.detections) == (4, 18, 18)
    assert report.aji_plus == report.aji_plus_pooled == report.f1 == report.f1_pooled == 1
    assert report.average_precision == report.precision == report.recall == 1
    assert (report.images_both_empty, report.images_one_empty) == (1, 0)
    assert (report.auroc, report.certainty.images, report.certainty.particles) == (1, 2, 12)
    assert report.certainty.auroc_objectness == 0.5
    assert (report.clear_recall, report.holes_taken) == (None, None)
    assert report.images_by_regime == {"high": 1, "low": 2, "joint": 1}
    assert [row.regime for row in report.rows] == [Regime.HIGH, Regime.LOW, Regime.LOW, Regime.JOINT]
    assert {name: (group.images, group.particles) for name, group in report.groups.items()} == {
        "P": (2, 12),
        "Q": (1, 6),
    }
    document = json.loads(report.model_dump_json())
    assert {
        "aji_plus",
        "aji_plus_pooled",
        "aji_plus_interval_95",
        "f1",
        "images",
        "particles",
        "auroc",
        "ece",
    } <= set(document)


def test_misses_and_false_detections(folder, segmentation_of, labels):
    wrong = labels.astype(np.int32)
    wrong[wrong == 1] = 0
    wrong[50:58, 70:78] = 9  # 64 pixels on nothing

    report = evaluate(read_dataset(folder), lambda pixels, regime: segmentation_of(wrong))
    area = int((labels > 0).sum())
    expected = (area - 225) / (area + 64)
    assert report.rows[0].aji_plus == pytest.approx(expected)
    assert report.rows[0].f1 == pytest.approx(10 / 12)
    assert report.rows[-1].aji_plus == report.rows[-1].f1 == 0
    assert report.images_one_empty == 1
    assert report.aji_plus == pytest.approx(3 * expected / 4)
    assert report.f1_pooled == pytest.approx(30 / (30 + 9 + 3))
    assert sum(size.particles for size in report.sizes) == 18
    assert report.detection_floor_px == pytest.approx(np.sqrt(4 * 15 * 16 / np.pi))


def test_mask_quality_is_judged_on_all_detections(folder, segmentation_of, labels):
    wrong = labels.astype(np.int32)
    wrong[50:58, 70:78] = 9
    quality = [0.9] * 6 + [0.1]
    images = [image for image in read_dataset(folder) if image.id != "empty"]
    report = evaluate(images, lambda pixels, regime: segmentation_of(wrong, mask_quality=quality))
    assert report.mask_quality_auroc == 1
    assert report.mask_quality_ece == pytest.approx(0.1)


def test_regimes_are_what_the_segmenter_is_told(folder, segmentation_of, perfect):
    def only_high(pixels, regime):
        return (
            perfect(pixels, regime)
            if regime is Regime.HIGH
            else segmentation_of(np.zeros(pixels.shape, np.int32))
        )

    images = read_dataset(folder)
    reports = evaluate_regimes(images, only_high)
    assert {name: report.f1_pooled for name, report in reports.items()} == {
        "low": 0,
        "high": 1,
        "joint": 0,
        "auto": pytest.approx(12 / 24),
    }
    for name, regime in (("low", Regime.LOW), ("high", Regime.HIGH), ("auto", None)):
        single = evaluate(images, only_high, regime)
        assert single.regime == name
        left_out = {"seconds", "rows"}
        assert single.model_dump(exclude=left_out) == reports[name].model_dump(exclude=left_out)


def test_clear_particles_and_holes(tmp_path, segmentation_of, labels):
    png(tmp_path / "frame.png", labels)
    png(tmp_path / "clear" / "frame.png", np.where(labels < 5, labels, 0))
    png(tmp_path / "holes" / "frame.png", np.where(labels == 6, 1, 0).astype(np.uint16))
    seen = np.where(labels > 1, labels, 0).astype(np.int32)
    report = evaluate(read_dataset(tmp_path), lambda pixels, regime: segmentation_of(seen))
    assert (report.clear_particles, report.clear_recall) == (4, 0.75)
    assert (report.holes, report.holes_taken, report.holes_taken_names) == (1, 1, ("frame:1",))
    assert report.rows[0].clear_missed == (1,)
    assert report.aji_plus is report.f1 is report.auroc is None


def test_a_second_annotator(folder, perfect, labels):
    second = labels.copy()
    second[second == 2] = 0
    png(folder / "second" / "a.png", second)
    report = evaluate(read_dataset(folder), perfect)
    area = int((labels > 0).sum())
    assert report.second_aji_plus == report.annotators_aji_plus == pytest.approx(1 - 240 / area)


def test_a_header_routes_where_metadata_say_nothing(tmp_path, labels):
    write_frame(tmp_path / "a.tif", labels.astype(np.uint8), FrameMetadata(Acquisition(pixel_size_nm=5.0)))
    png(tmp_path / "clear" / "a.png", labels)
    (image,) = read_dataset(tmp_path)
    assert route_image(image) is Regime.HIGH
    assert route_image(image, magnification_split=2e6) is Regime.LOW


def test_a_layouts_word_routes(tmp_path):
    image = LabelledImage("x", tmp_path / "x.png", None, hfw_um=1.0, regime="low")
    assert route_image(image) is Regime.LOW


def test_parts_of_a_split(folder, perfect):
    with pytest.raises(SplitError, match="no split lists these 4 images"):
        evaluate(read_dataset(folder), perfect, part="test")
    split = load_split("powders")
    for name, source in zip((split.test[0], split.train[0]), "ac", strict=True):
        for kind in ("images", "masks"):
            (folder / kind / f"{source}.png").rename(folder / kind / f"{name}.png")
    for path in [*folder.glob("*/b.png"), *folder.glob("*/empty.png"), folder / "uncertain" / "a.png"]:
        path.unlink()
    report = evaluate(read_dataset(folder), perfect, part="test")
    assert [row.id for row in report.rows] == [split.test[0]]
    assert (report.part, report.split) == ("test", "powders")
    with pytest.raises(SplitError, match="none of these 2 images is in the part validation"):
        evaluate(read_dataset(folder), perfect, part="validation")


def test_floor_finds_discs_on_either_ground():
    y, x = np.mgrid[:120, :160]
    discs = np.zeros((120, 160), np.int32)
    for k, (row, column) in enumerate([(30, 30), (30, 90), (85, 50), (85, 84)]):
        discs[(y - row) ** 2 + (x - column) ** 2 < 17.5**2] = k + 1
    noise = np.random.default_rng(0).normal(0, 6, discs.shape)
    for dark, bright in ((60, 180), (180, 60)):
        pixels = np.clip(np.where(discs, bright, dark) + noise, 0, 255).astype(np.uint8)
        found = otsu_watershed(pixels)
        assert len(found) == 4  # two of them touch
        assert np.mean((found.label_image > 0) == (discs > 0)) > 0.98


def test_floor_of_a_constant_frame():
    assert len(otsu_watershed(np.full((20, 20), 7, np.uint8))) == 0


def test_floor_on_published_images(shared):
    images = {image.id: image for image in read_dataset(shared / "data" / "emps")}
    some = [images[image_id] for image_id in load_split("emps").train[::40]]
    report = evaluate(some, otsu_watershed)
    assert 0.3 < report.aji_plus < 0.6
    ideal = np.array([1.0] * len(some))
    assert paired_bootstrap(ideal, np.array([row.aji_plus for row in report.rows])).share_not_better == 0


def test_annotators_of_the_powders_agree_as_published(shared, segmentation_of):
    images = [image for image in read_dataset(shared / "data" / "powders") if image.second_path is not None]
    report = evaluate(images, lambda pixels, regime: segmentation_of(np.zeros(pixels.shape, np.int32)))
    assert 0.95 <= report.annotators_aji_plus <= 0.99
