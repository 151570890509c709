"""The page, its charts and overlays."""

from __future__ import annotations

import re

import imagecodecs
import numpy as np
import pytest

from labsem.evaluation import Candidate, charts, compare, measure_images, summarize
from labsem.evaluation.overlays import COLOURS, draw_errors
from labsem.evaluation.page import OverlayWriter, write_page
from labsem.evaluation.table import figure_rows, size_rows
from labsem.training.datasets import read_dataset

PNG = b"\x89PNG"


@pytest.fixture
def images(tmp_path, some_particles):
    """Two judged images whose grey values tell the labels."""
    for kind, pixels in {
        "images": some_particles.astype(np.uint8),
        "masks": some_particles.astype(np.uint16),
        "uncertain": np.where(some_particles < 10, some_particles, 0).astype(np.uint16),
    }.items():
        (tmp_path / "data" / kind).mkdir(parents=True)
        for name in ("a", "b/c & d"):
            path = tmp_path / "data" / kind / f"{name.replace('/', '-')}.png"
            path.write_bytes(imagecodecs.png_encode(pixels))
    return read_dataset(tmp_path / "data")


@pytest.fixture
def candidates(segmentation_of):
    def misses_some(pixels, regime):
        labels = np.where(pixels % 3 == 0, 0, pixels).astype(np.int32)
        labels[:20][labels[:20] == 0] = 60  # and takes what it left out in one row for a particle
        found = segmentation_of(labels)
        return segmentation_of(labels, np.linspace(0.1, 0.9, len(found)))

    def finds_all(pixels, regime):
        return segmentation_of(pixels.astype(np.int32), np.linspace(0.2, 0.8, 36))

    return [Candidate("all", finds_all), Candidate("some", misses_some)]


def test_a_page_for_two_models(tmp_path, images, candidates):
    overlays = OverlayWriter(tmp_path / "page")
    results = measure_images(images, candidates, observe=overlays.observe)
    reports = {name: summarize(of, "auto") for name, of in results.items()}
    path = write_page(tmp_path / "page", compare(reports, results), overlays, "two <images>")
    page = path.read_text("utf-8")
    assert "two &lt;images&gt;" in page
    assert not re.findall(r'(?:src|href)="(?:https?:|/|file:)', page)
    links = re.findall(r'href="(overlays/[^"]+)"', page)
    assert len(links) == 8 and len(set(links)) == 4
    for link in links:
        assert (tmp_path / "page" / link.replace("%20", " ").replace("%26", "&")).is_file()
    assert page.count("data:image/png") == 4  # no frame of 50 particles: no chart of D50
    assert page.count("data:image/jpeg") == 4
    assert "all less some" in page and f"{reports['all'].aji_plus:.3f}" in page


def test_tables_leave_out_what_nobody_has(images, candidates):
    results = measure_images(images, candidates[:1])
    report = summarize(results["all"], "auto")
    rows = dict(figure_rows({"all": report}))
    assert rows["AJI+ (mean over images)"] == ["1.000 (1.000 to 1.000)"]
    assert "clear particles found" not in rows and "D50 by number: bias" not in rows
    assert dict(size_rows({"all": report}))["16 to 32"] == ["1.000 of 72"]


def test_charts_of_nothing(images):
    assert charts.aji_by_image({}) is None
    empty = summarize([], "joint")
    drawn = (charts.aji_by_image, charts.size_classes, charts.reliability, charts.confidence_histograms)
    assert [draw({"none": empty}) for draw in (*drawn, charts.d50_scatter)] == [None] * 5


def test_d50_is_drawn_for_frames_of_many_particles(measured, many_particles):
    report = summarize([measured("a", many_particles, many_particles)], "joint")
    assert charts.d50_scatter({"one": report})[:4] == PNG


def test_overlay_tells_right_from_wrong(images, candidates):
    (result,) = measure_images(images[:1], candidates[1:])["some"]
    segmentation = candidates[1].segment(images[0].pixels(), result.regime)
    picture = draw_errors(images[0], segmentation, result)
    assert picture.shape == (240, 240, 3)
    seen = {name for name, colour in COLOURS.items() if (picture == colour).all(axis=2).any()}
    assert seen == {"certain", "uncertain", "false", "missed"}
