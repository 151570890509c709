"""Layouts of labelled data and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from labsem.training.datasets import DatasetError, read_dataset


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(pixels))


def tif(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (12, 20), np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((12, 20), np.uint16)
    labels[1:5, 1:5] = 3
    labels[1:5, 8:12] = 7
    labels[7:11, 2:18] = 300
    return labels


@pytest.fixture
def folder(tmp_path: Path, pixels, labels) -> Path:
    png(tmp_path / "images" / "a.png", pixels)
    png(tmp_path / "masks" / "a.png", labels)
    return tmp_path


def test_own_layout_with_everything(folder, pixels, labels):
    png(folder / "uncertain" / "a.png", np.where(labels == 7, labels, 0))
    png(folder / "second" / "a.png", labels)
    png(folder / "images" / "b.png", pixels)
    png(folder / "masks" / "b.png", labels)
    (folder / "metadata.csv").write_text(
        "id,pixel_size_nm,hfw_um,nominal_magnification,modality,powder\na,12.5,,250,SEM,S01\nb,,,,,\n"
    )
    first, second = read_dataset(folder)
    assert (first.id, first.pixel_size_nm, first.hfw_um, first.nominal_magnification) == (
        "a",
        12.5,
        None,
        250.0,
    )
    assert (first.modality, first.extra) == ("SEM", {"powder": "S01"})
    np.testing.assert_array_equal(first.pixels(), pixels)
    np.testing.assert_array_equal(first.labels(), labels)
    np.testing.assert_array_equal(first.second_labels(), labels)
    assert first.labels().dtype == np.int32
    assert first.uncertain_ids() == {7}
    assert second.uncertain_ids() is None
    assert (second.pixel_size_nm, second.modality) == (None, None)


def test_uncertain_labels_with_numbers_of_their_own(folder, labels):
    own = np.zeros_like(labels)
    own[labels == 300] = 1
    own[1:5, 1:3] = 2  # half of particle 3: not over half
    png(folder / "uncertain" / "a.png", own)
    assert read_dataset(folder)[0].uncertain_ids() == {300}


def test_judged_without_uncertain_particles(folder):
    (folder / "uncertain").mkdir()
    (folder / "uncertain" / "README.csv").write_text("id,particles,uncertain\na,3,0\n")
    assert read_dataset(folder)[0].uncertain_ids() == frozenset()


def test_judging_only_layout(tmp_path, pixels, labels):
    tif(tmp_path / "a.tif", pixels)
    png(tmp_path / "clear" / "a.png", labels)
    png(tmp_path / "holes" / "a.png", labels * 0)
    (image,) = read_dataset(tmp_path)
    np.testing.assert_array_equal(image.clear_labels(), labels)
    assert not image.hole_labels().any()
    assert image.uncertain_ids() is None
    with pytest.raises(DatasetError, match="has no mask"):
        image.labels()


def check_paper_image(image, certain, uncertain):
    labels = image.labels()
    np.testing.assert_array_equal(labels[certain > 0], certain[certain > 0])
    only_uncertain = (certain == 0) & (uncertain > 0)
    np.testing.assert_array_equal(labels > 0, (certain > 0) | only_uncertain)
    assert image.uncertain_ids() == set(np.unique(labels[only_uncertain]))


def test_paper_layout_parts_certain_and_uncertain(tmp_path, pixels, labels):
    uncertain = np.zeros_like(labels)
    uncertain[4:8, 1:5] = 1  # shares pixels with the certain particles
    uncertain[0, 14:18] = 2
    for folder, values in (
        ("Samples", pixels),
        ("High_Confidence_Labels", labels.astype(np.float32)),
        ("Low_Confidence_Labels", uncertain),
    ):
        tif(tmp_path / "High_Magnification" / folder / "0.tif", values)
    (image,) = read_dataset(tmp_path)
    assert (image.id, image.regime) == ("high/0", "high")
    check_paper_image(image, labels, uncertain)
    (alone,) = read_dataset(tmp_path / "High_Magnification")
    assert (alone.id, alone.regime) == ("0", "high")


@pytest.mark.parametrize(
    ("archive", "regime", "exchanged"),
    [("Low_Mag_Source_Files", "low", False), ("High_Mag_Source_Files", "high", True)],
)
def test_archive_layout_exchanges_the_labels_of_high_magnification(
    tmp_path, pixels, labels, archive, regime, exchanged
):
    uncertain = np.zeros_like(labels)
    uncertain[0, 14:18] = 1
    names = ["Confident-Labels", "Less-Certain_Labels"]
    certain_name, uncertain_name = reversed(names) if exchanged else names
    for name, values in ((certain_name, labels), (uncertain_name, uncertain)):
        png(tmp_path / archive / name / "Round-3" / "Img1.png", pixels)
        tif(tmp_path / archive / name / "Round-3" / "Img1_label.tif", values)
    (image,) = read_dataset(tmp_path)
    assert (image.id, image.regime) == (f"{regime}/Round-3/Img1", regime)
    check_paper_image(image, labels, uncertain)
    (alone,) = read_dataset(tmp_path / archive)
    assert alone.image_path == image.image_path


def test_missing_mask_is_named(folder, pixels):
    png(folder / "images" / "b.png", pixels)
    with pytest.raises(DatasetError, match=r"b\.png has no mask; add masks/b\.png"):
        read_dataset(folder)


def test_label_image_without_image_is_named(folder, labels):
    png(folder / "second" / "b.png", labels)
    with pytest.raises(DatasetError, match=r"b\.png has no image in images/"):
        read_dataset(folder)


def test_two_images_of_one_name(folder, pixels):
    tif(folder / "images" / "a.tif", pixels)
    with pytest.raises(
        DatasetError, match=r"a\.tif has the same name as a\.png|a\.png has the same name as a\.tif"
    ):
        read_dataset(folder)


def test_sizes_differ(folder, labels):
    png(folder / "masks" / "a.png", labels[:-2])
    with pytest.raises(DatasetError, match=r"10 x 20 pixels .* image a\.png 12 x 20"):
        read_dataset(folder)


def test_colour_is_no_label_image(folder):
    png(folder / "masks" / "a.png", np.zeros((12, 20, 3), np.uint8))
    with pytest.raises(DatasetError, match="no label image"):
        read_dataset(folder)[0].labels()


def test_fractions_are_no_labels(folder, labels):
    (folder / "masks" / "a.png").unlink()
    tif(folder / "masks" / "a.tif", labels.astype(np.float32) / 2)
    with pytest.raises(DatasetError, match="fractions"):
        read_dataset(folder)[0].labels()


def test_broken_mask_is_named(folder):
    (folder / "masks" / "a.png").write_bytes(b"not a PNG")
    with pytest.raises(DatasetError, match=r"masks.a\.png is no PNG"):
        read_dataset(folder)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(DatasetError, match="no labelled images"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="is no folder"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("value", ["wide", "-3", "0", "nan"])
def test_metadata_that_is_no_length(folder, value):
    (folder / "metadata.csv").write_text(f"id,hfw_um\na,{value}\n")
    with pytest.raises(DatasetError, match=r"metadata\.csv says hfw_um"):
        read_dataset(folder)


def test_metadata_without_ids(folder):
    (folder / "metadata.csv").write_text("name,hfw_um\na,3\n")
    with pytest.raises(DatasetError, match="no column id"):
        read_dataset(folder)


def test_judgements_of_the_published_data(shared):
    judged = [image for image in read_dataset(shared / "data" / "ampis") if image.judged]
    assert len(judged) == 4
    assert sum(len(image.uncertain_ids()) for image in judged) == 329
    images = read_dataset(shared / "data" / "emps")
    assert (len(images), sum(image.judged for image in images)) == (366, 75)
    powders = read_dataset(shared / "data" / "powders")
    assert sum(image.second_path is not None for image in powders) == 5
    assert len(powders) == 93
    for image in powders[::10]:
        assert len(np.unique(image.labels())) - 1 == int(image.extra["particles"])
