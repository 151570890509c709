"""Agreement of two label sets."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from labsem.evaluation import evaluate_annotators
from labsem.training.datasets import DatasetError, read_dataset


@pytest.fixture
def sets(tmp_path, many_particles):
    """Two data sets of two images; the second annotator left out half of one image, and judges otherwise."""
    labels = many_particles[:200, :200].astype(np.uint16)
    half = np.where(labels % 2 == 0, labels, 0).astype(np.uint16)
    for name, masks in (("first", (labels, labels)), ("second", (labels, half))):
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
        for image, mask in zip("ab", masks, strict=True):
            (tmp_path / name / "images" / f"{image}.png").write_bytes(
                imagecodecs.png_encode(labels.astype(np.uint8))
            )
            (tmp_path / name / "masks" / f"{image}.png").write_bytes(imagecodecs.png_encode(mask))
    return tmp_path


def test_agreement_and_its_spread_are_the_same_from_either_side(sets):
    first, second = (read_dataset(sets / name) for name in ("first", "second"))
    report = evaluate_annotators(first, sets / "second")
    share = report.rows[1].aji_plus
    assert report.rows[0].aji_plus == 1 and 0.4 < share < 0.6
    assert report.aji_plus == pytest.approx((1 + share) / 2)
    assert report.aji_plus_sd == pytest.approx(np.std([1, share], ddof=1))
    back = evaluate_annotators(second, sets / "first")
    assert [row.aji_plus for row in back.rows] == pytest.approx([row.aji_plus for row in report.rows])
    assert evaluate_annotators(first, sets / "second" / "masks").aji_plus == report.aji_plus


def test_words_of_both_annotators(sets):
    labels = imagecodecs.png_decode((sets / "first" / "masks" / "a.png").read_bytes())
    for name, last in (("first", 20), ("second", 30)):
        (sets / name / "uncertain").mkdir()
        marked = np.where(labels <= last, labels, 0).astype(np.uint16)
        (sets / name / "uncertain" / "a.png").write_bytes(imagecodecs.png_encode(marked))
    report = evaluate_annotators(read_dataset(sets / "first"), sets / "second")
    assert report.uncertain_labels.particles < report.uncertain_labels.detections
    assert report.certain_labels.aji_plus < 1


def test_sets_without_a_common_image_are_refused(sets):
    images = read_dataset(sets / "first")
    for path in (sets / "second").glob("*/*.png"):
        path.rename(path.with_name(f"other-{path.name}"))
    with pytest.raises(DatasetError, match="holds no labels of these images"):
        evaluate_annotators(images, sets / "second")
