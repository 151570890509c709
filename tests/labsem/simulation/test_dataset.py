"""Data sets in the layout that training reads."""

from __future__ import annotations

import csv
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from labsem.frames import read_frame
from labsem.simulation import SIMULATOR_VERSION, World, random_frame, render, write_dataset
from labsem.simulation.random_frames import HFW_UM, STUB_HFW_UM, random_world, stub_world
from labsem.simulation.sheet import write_sheet


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sim") / "set"
    seen = []
    written = write_dataset(folder, 4, 3, "both", 256, 192, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(k, 4) for k in range(1, 5)]
    assert all(path.is_file() for path in written)
    return folder


def test_each_image_has_a_mask_and_a_judgement(folder):
    rows = table(folder / "metadata.csv")
    judged = {row["id"]: row for row in table(folder / "uncertain" / "README.csv")}
    assert len(rows) == 4
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


def test_each_particle_has_a_row(folder):
    rows = table(folder / "particles.csv")
    for image in table(folder / "metadata.csv"):
        mine = [row for row in rows if row["id"] == image["id"]]
        mask = imagecodecs.imread(folder / "masks" / f"{image['id']}.png")
        uncertain = imagecodecs.imread(folder / "uncertain" / f"{image['id']}.png")
        assert [int(row["label"]) for row in mine] == list(range(1, int(image["particles"]) + 1))
        areas = np.bincount(mask.ravel(), minlength=len(mine) + 1)[1:]
        for row, area in zip(mine, areas, strict=True):
            assert float(row["ecd_px"]) == pytest.approx(2 * (area / np.pi) ** 0.5, abs=1e-3)
            assert float(row["visible_fraction"]) == pytest.approx(area / int(row["full_area_px"]), abs=1e-3)
            assert (int(row["label"]) in uncertain) == (row["certain"] == "0")


def test_metadata_says_how_to_render_a_frame_again(folder):
    row = table(folder / "metadata.csv")[1]
    again = random_frame(int(row["frame_seed"]), row["regime"], 256, 192)
    np.testing.assert_array_equal(again.pixels, imagecodecs.imread(folder / "images" / f"{row['id']}.png"))
    assert float(row["accelerating_voltage_kv"]) == again.view.accelerating_voltage_kv


def test_tiffs_carry_their_acquisition_and_a_data_bar(tmp_path):
    """As a Phenom writes them: the reader crops the bar and finds the scale."""
    (path,) = write_dataset(tmp_path, 1, 3, "low", 128, 96, file_format="tiff", bits=16, databar=True)
    row = table(tmp_path / "metadata.csv")[0]
    frame = read_frame(path)
    assert path.suffix == ".tiff"
    assert frame.pixels.shape == (96, 128)
    assert frame.pixels.dtype == np.uint16
    assert frame.databar_rows == 64
    assert frame.metadata.instrument == f"labsem simulator {SIMULATOR_VERSION}"
    assert frame.hfw_um == pytest.approx(float(row["hfw_um"]), rel=1e-4)
    assert frame.acquisition.accelerating_voltage_kv == float(row["accelerating_voltage_kv"])
    assert frame.acquisition.detector == row["detector"]
    mask = imagecodecs.imread(tmp_path / "masks" / f"{row['id']}.png")
    assert mask.shape == read_frame(path, databar="none").pixels.shape == (160, 128)
    with pytest.raises(ValueError, match="tiff"):
        write_dataset(tmp_path / "other", 1, 3, databar=True)


def test_a_sheet_is_a_small_picture_that_names_the_simulator(folder, tmp_path):
    path = tmp_path / "sheet.jpg"
    write_sheet(path, sorted((folder / "images").iterdir()))
    data = path.read_bytes()
    assert len(data) < 300_000
    assert f"labsem simulator {SIMULATOR_VERSION}".encode() in data[:64]
    assert imagecodecs.imread(path).shape == (270, 1452)
    with pytest.raises(ValueError, match="no images"):
        write_sheet(path, [])


def test_scenes_for_training_span_what_frames_may_show():
    """Drawn without rendering: small crowds, beds, clusters and fused ones, holes, insulators, all detectors."""
    drawn = [random_world(seed, regime) for seed in range(150) for regime in ("low", "high")]
    scenes = [world.scene for world, _ in drawn]
    components = [component for scene in scenes for component in scene.components]
    sizes_px = [world.scene.typical_um / view.pixel_um for world, view in drawn]
    assert min(sizes_px) < 14
    assert max(sizes_px) > 150
    assert {c.shape for c in components} >= {
        "sphere",
        "crystal",
        "plate",
        "needle",
        "fragment",
        "agglomerate",
    }
    assert 0.05 < np.mean([c.primaries > 1 for c in components]) < 0.6
    assert any(c.fused for c in components)
    assert any(c.neck > 0 and not c.fused for c in components)
    assert np.mean([scene.substrate.features_per_field > 5 for scene in scenes]) > 0.4
    assert sum(scene.coverage > 0.9 for scene in scenes) > 5
    assert sum(c.material.insulating for c in components) > 20
    assert {view.detector for _, view in drawn} == {"sed", "bsd"}
    for world, view in drawn:
        assert any(low <= view.hfw_um <= high for low, high in HFW_UM.values())
        assert len(world.scene.components) in (1, 2)


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
    frames = [random_frame(seed, regime, 160, 120) for seed in range(3) for regime in ("low", "high")]
    assert len({frame.view.hfw_um for frame in frames}) == 6
    counts = [len(frame.particles) for frame in frames]
    assert sum(count > 0 for count in counts) >= 4
    certain = [p.certain for frame in frames for p in frame.particles]
    assert 0.1 < np.mean(certain) < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["low", "high"])
def test_about_a_quarter_of_the_particles_of_random_frames_are_uncertain(regime):
    """As annotators found in published micrographs: a fifth."""
    frames = [random_frame(60_000 + seed, regime) for seed in range(16)]
    uncertain = [np.mean([not particle.certain for particle in frame.particles]) for frame in frames]
    assert 0.1 < np.mean(uncertain) < 0.4


def test_powders_of_the_stub_are_the_virtual_microscopes(tmp_path):
    write_dataset(tmp_path / "stub", 2, 5, "both", 128, 96, powders="stub")
    rows = table(tmp_path / "stub" / "metadata.csv")
    assert [row["id"] for row in rows] == ["stub-5-00000-low", "stub-5-00001-high"]
    for row in rows:
        low, high = STUB_HFW_UM[row["regime"]]
        assert low <= float(row["hfw_um"]) <= high
        world, view = stub_world(int(row["frame_seed"]), row["regime"], 128, 96)
        assert world.scene == World(world.seed).scene
        shown = imagecodecs.imread(tmp_path / "stub" / "images" / f"{row['id']}.png")
        assert np.array_equal(shown, render(world, view).pixels)
