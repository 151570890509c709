"""``labsem evaluate``: several models side by side, tables of narrow terminals, what is misuse."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from rich.console import Console

from schemas.settings import ModelSettings
from services.cli.evaluation_tables import show_differences, show_reports
from services.evaluate import EvaluateOptions, evaluate_label_sets, evaluate_models
from services.segmenters import SegmenterError

OTSU_BY_NAME = "services.segmenters:OtsuSegmenter.load"


def nothing(*_):
    """Takes reports of progress."""


@pytest.fixture
def data(tmp_path):
    """Two frames of three discs."""
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.uint16)
    for label, (y, x) in enumerate(((24, 24), (24, 90), (70, 60)), 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 144] = label
    for kind, pixels in (("images", np.where(labels > 0, 200, 40).astype(np.uint8)), ("masks", labels)):
        (tmp_path / "discs" / kind).mkdir(parents=True)
        for name in ("one", "two"):
            (tmp_path / "discs" / kind / f"{name}.png").write_bytes(imagecodecs.png_encode(pixels))
    return tmp_path / "discs"


def test_models_side_by_side(labsem, data, tmp_path):
    twice = ("--model", "otsu", "--model", OTSU_BY_NAME)
    ended = labsem("evaluate", "--data", data, *twice, "--report", tmp_path / "page", "--json")
    assert ended.code == 0, ended.stderr
    assert set(ended.json["models"]) == {"otsu", OTSU_BY_NAME}
    (difference,) = ended.json["differences"]
    assert difference["aji_plus"] == {
        "difference": 0,
        "interval_95": [0, 0],
        "share_not_better": 1,
        "images": 2,
    }
    assert (tmp_path / "page" / "index.html").is_file()
    assert (tmp_path / "page" / "overlays" / "otsu" / "two.jpg").is_file()


@pytest.mark.parametrize(("width", "tables"), [(60, 4), (200, 1)])
def test_all_regimes_in_a_terminal(data, monkeypatch, capsys, width, tables):
    options = EvaluateOptions(models=("otsu",), regime="all", data=(data,))
    comparison = evaluate_models(nothing, options, ModelSettings())
    assert list(comparison.models) == ["low", "high", "joint", "auto"]
    assert len(comparison.differences) == 6
    monkeypatch.setattr("services.cli.output._console", lambda stderr: Console(stderr=stderr, width=width))
    show_reports(comparison.models)
    show_differences(comparison.differences)
    printed = capsys.readouterr().out
    assert printed.count("AJI+ (mean over images)") == tables
    assert max(map(len, printed.splitlines())) <= width


def test_another_annotator(data):
    report = evaluate_label_sets(nothing, EvaluateOptions(data=(data,)), data / "masks")
    assert (report.aji_plus, report.aji_plus_sd, report.regime) == (1, 0, "annotator")


def test_data_sets_are_joined(data, tmp_path):
    other = tmp_path / "other"
    for kind in ("images", "masks"):
        (other / kind).mkdir(parents=True)
        (other / kind / "three.png").write_bytes((data / kind / "one.png").read_bytes())
    options = EvaluateOptions(models=("otsu",), data=(data, other))
    (report,) = evaluate_models(nothing, options, ModelSettings()).models.values()
    assert [row.id for row in report.rows] == ["one", "two", "three"]


@pytest.mark.slow
def test_simulated_frames_name_their_simulator():
    options = EvaluateOptions(models=("otsu",), simulated=2, seed=3)
    (report,) = evaluate_models(nothing, options, ModelSettings()).models.values()
    assert report.simulator_versions and set(report.groups) == {"low", "high"}


def test_models_that_cannot_be_told_apart_or_found(data):
    for models, message in (
        (("otsu", "otsu"), "otsu is named twice"),
        (("nobody",), "no segmenter is called 'nobody'"),
    ):
        with pytest.raises(SegmenterError, match=message):
            evaluate_models(nothing, EvaluateOptions(models=models, data=(data,)), ModelSettings())


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--data", "x", "--simulated", "2"),
        ("--simulated", "2", "--against", "x"),
        ("--data", "x", "--simulated-ladders"),
    ],
)
def test_misuse(labsem, arguments):
    assert labsem("evaluate", *arguments).code == 2
