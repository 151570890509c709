"""Data sets in the layout that training reads."""

from __future__ import annotations

import csv
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from labsem.simulation import SIMULATOR_VERSION, random_frame, write_dataset


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sim") / "set"
    seen = []
    written = write_dataset(folder, 6, 3, "both", 256, 192, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(k, 6) for k in range(1, 7)]
    assert all(path.is_file() for path in written)
    return folder


def test_each_image_has_a_mask_and_a_judgement(folder):
    rows = table(folder / "metadata.csv")
    judged = {row["id"]: row for row in table(folder / "uncertain" / "README.csv")}
    assert len(rows) == 6
    assert {row["regime"] for row in rows} == {"low", "high"}
    for row in rows:
        image, mask, uncertain = (
            imagecodecs.imread(folder / part / f"{row['id']}.png")
            for part in ("images", "masks", "uncertain")
        )
        assert image.shape == mask.shape == uncertain.shape == (192, 256)
        assert (image.dtype, mask.dtype) == (np.uint8, np.uint16)
        assert mask.max() == len(np.unique(mask)) - 1 == int(row["particles"])
        assert np.all((uncertain == 0) | (uncertain == mask))
        assert len(np.unique(uncertain)) - 1 == int(judged[row["id"]]["uncertain"])
        assert row["simulator_version"] == SIMULATOR_VERSION
        assert float(row["pixel_size_nm"]) == pytest.approx(1000 * float(row["hfw_um"]) / 256, rel=1e-4)
        low = float(row["nominal_magnification"]) < 10_000
        assert low == (row["regime"] == "low")


def test_a_frame_does_not_depend_on_how_many_are_written(folder, tmp_path):
    (first, second) = write_dataset(tmp_path / "two", 2, 3, "both", 256, 192)
    for path in (first, second):
        assert path.read_bytes() == (folder / "images" / path.name).read_bytes()


def test_a_folder_with_a_data_set_is_left_alone(folder):
    with pytest.raises(ValueError, match=r"metadata\.csv"):
        write_dataset(folder, 1, 3)
    with pytest.raises(ValueError, match="count"):
        write_dataset(folder / "x", 0, 3)


def test_random_frames_vary_and_hold_certain_and_uncertain_particles():
    frames = [random_frame(seed, regime, 256, 192) for seed in range(4) for regime in ("low", "high")]
    assert len({frame.view.hfw_um for frame in frames}) == 8
    counts = [len(frame.particles) for frame in frames]
    assert sum(count > 0 for count in counts) >= 6
    certain = [p.certain for frame in frames for p in frame.particles]
    assert 0.1 < np.mean(certain) < 0.97
