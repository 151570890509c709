"""``labsem analyze`` from files to tables and page; the segmenter is Otsu's threshold."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile

from services.analyze import AnalyzeError, AnalyzeOptions, analyze
from services.analyze.frame import analyze_frame, finished
from services.segmenters import OtsuSegmenter

OTSU = AnalyzeOptions(segmenter="otsu")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(frames, tmp_path_factory):
    """All frames, the broken one among them, in one go."""
    out = tmp_path_factory.mktemp("run")
    return analyze([frames], out, OTSU, recursive=True)


def test_every_frame_has_its_files(run):
    assert [result.path.name for result in run.analysed] == ["one.tif", "one.tif", "two & 100%#.tif"]
    for result in run.analysed:
        summary = result.summary
        assert summary.particle_count == len(rows(run.out / summary.outputs["particles"])) > 3
        stored = json.loads((run.out / summary.outputs["summary"]).read_text())
        assert stored["sha256"] == summary.sha256 and stored["options"]["segmenter"] == "otsu"
        for kind in ("overlay", "thumbnail"):
            assert (run.out / summary.outputs[kind]).read_bytes().startswith(b"\x89PNG")


def test_label_column_is_the_value_in_the_label_image(run):
    summary = run.analysed[0].summary
    with tifffile.TiffFile(run.out / summary.outputs["labels"]) as file:
        assert file.is_ome and 'PhysicalSizeX="0.1"' in file.ome_metadata
        image = file.asarray()
    table = rows(run.out / summary.outputs["particles"])
    assert {int(row["label"]) for row in table} == set(np.unique(image)) - {0}
    for row in table:
        assert int(float(row["area_px"])) == np.count_nonzero(image == int(row["label"]))
        assert float(row["area_um2"]) == pytest.approx(float(row["area_px"]) * 0.01)


def test_same_stem_in_two_folders_keeps_both(run):
    names = [result.name for result in run.results]
    assert len(set(names)) == len(names)
    assert Counter(row["name"] for row in rows(run.out / "particles.csv")) == {
        result.name: result.summary.particle_count for result in run.analysed
    }


def test_broken_file_is_named_with_its_reason(run):
    (failed,) = run.failed
    assert failed.path.name == "broken.tif" and failed.error and failed.remedy
    (row,) = [row for row in rows(run.out / "images.csv") if row["status"] == "failed"]
    assert row["path"] == str(failed.path) and row["error"] == failed.error
    assert failed.error in (run.out / "index.html").read_text()


def test_interrupted_and_resumed_run_ends_with_the_same_tables(run, frames, tmp_path):
    def interrupt(done, total, path):
        if done == 2:
            raise KeyboardInterrupt

    first = analyze([frames], tmp_path, OTSU, recursive=True, progress=interrupt)
    assert first.interrupted and len(first.results) == 2
    assert "--resume" in (tmp_path / "index.html").read_text()
    overlay = tmp_path / first.analysed[0].summary.outputs["overlay"]
    written_ns = overlay.stat().st_mtime_ns
    second = analyze([frames], tmp_path, OTSU, recursive=True, resume=True)
    assert overlay.stat().st_mtime_ns == written_ns
    assert [result.resumed for result in second.analysed] == [True, False, False]
    for table in ("images.csv", "particles.csv"):
        assert (tmp_path / table).read_text() == (run.out / table).read_text()
    assert [result.path.name for result in second.failed] == ["broken.tif"]


def test_resume_does_again_what_has_changed(run, tmp_path):
    result = run.analysed[0]
    out, path = tmp_path / "out", tmp_path / "one.tif"
    shutil.copy(result.path, path)
    segmenter = OtsuSegmenter()
    assert finished(path, "one", out, segmenter, OTSU) is None
    made = analyze_frame(path, "one", out, segmenter, OTSU)
    assert finished(path, "one", out, segmenter, OTSU) == made
    assert finished(path, "one", out, segmenter, OTSU.model_copy(update={"min_ecd_um": 1.6})) is None
    (tmp_path / "one.json").write_text("{}")
    assert finished(path, "one", out, segmenter, OTSU) is None
    (tmp_path / "one.json").unlink()
    (out / made.outputs["overlay"]).unlink()
    assert finished(path, "one", out, segmenter, OTSU) is None
    made = analyze_frame(path, "one", out, segmenter, OTSU)
    shutil.copy(run.analysed[1].path, path)
    assert finished(path, "one", out, segmenter, OTSU) is None


def test_particles_are_left_out_by_size_everywhere(labsem, run, frames, tmp_path):
    all_sizes = sorted(
        float(row["ecd_um"]) for row in rows(run.out / run.analysed[0].summary.outputs["particles"])
    )
    limits = (all_sizes[1] + 1e-4, all_sizes[-2] + 1e-4)
    options = OTSU.model_copy(update={"min_ecd_um": limits[0], "max_ecd_um": limits[1]})
    (result,) = analyze([frames / "more" / "one.tif"], tmp_path, options).results
    summary = result.summary
    kept = rows(tmp_path / summary.outputs["particles"])
    assert summary.particle_count == len(kept) == len(all_sizes) - 3
    labels = tifffile.imread(tmp_path / summary.outputs["labels"])
    assert set(np.unique(labels)) - {0} == {int(row["label"]) for row in kept}
    assert (
        json.loads((tmp_path / summary.outputs["summary"]).read_text())["options"]["min_ecd_um"] == limits[0]
    )
    assert "smallest diameter" in (tmp_path / "index.html").read_text()


def test_json_on_stdout_and_exit_code(labsem, frames, tmp_path):
    pattern = str(frames / "*o*.tif")
    ended = labsem("analyze", pattern, "--out", tmp_path, "--segmenter", "otsu", "--hfw-um", "40", "--json")
    assert ended.code == 1
    assert "broken.tif" in ended.stderr
    broken, one, two = ended.json
    assert broken["error"] and broken["particle_count"] is None
    for item in (one, two):
        assert item["error"] is None
        assert item["pixel_size_nm"] == pytest.approx(200) and item["hfw_um"] == pytest.approx(40)
        assert item["magnification"] == pytest.approx(12500) and item["regime"] == "high"
        assert item["instrument"] == "PhenomXL" and item["flags"] is not None
        assert item["d50_number_all_um"] > 1 and item["uncertain_fraction"] == 0
    for key in ("accelerating_voltage_kv", "working_distance_mm"):
        assert key in one and key in broken


def test_nothing_to_analyse(tmp_path):
    with pytest.raises(AnalyzeError, match="no frames"):
        analyze([tmp_path], tmp_path / "out", OTSU)


def test_unknown_segmenter_ends_the_run(labsem, frames, tmp_path):
    ended = labsem("analyze", frames / "one.tif", "--out", tmp_path, "--segmenter", "nonsense")
    assert ended.code == 1 and "otsu" in ended.stderr and ended.stderr.count("Traceback") == 0


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.images_without_words = 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.targets += [value for name, value in attrs if name in ("href", "src")]
        self.images_without_words += tag == "img" and not given.get("alt")


def test_page_links_to_files_beside_it(run):
    page = (run.out / "index.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.images_without_words == 0
    assert len(links.targets) > 3 * 5
    for target in links.targets:
        assert (run.out / unquote(target)).is_file(), target
    assert "http" not in page
    assert "two &amp; 100%#" in page and "two & 100" not in page
