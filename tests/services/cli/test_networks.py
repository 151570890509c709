"""``evaluate`` and ``train``: the work is done in a process of its own, whose errors arrive as one line."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import tifffile

from labsem.networks.registry import ARCHITECTURES
from services.cli.training import ArchitectureChoice
from services.workers import run_in_worker

COUNTING = """
def counted(report, wanted):
    for number in range(wanted):
        report(number, wanted)
    if wanted > 3:
        raise ValueError(f"{wanted} is too many")
    return wanted
"""


def test_worker_reports_and_answers(tmp_path, monkeypatch):
    # A module that a spawned process can import too: it is given this process's path.
    (tmp_path / "counting_for_workers.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    counted = import_module("counting_for_workers").counted
    seen = []
    assert run_in_worker(counted, 3, progress=lambda *message: seen.append(message)) == 3
    assert seen == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(ValueError, match="4 is too many"):
        run_in_worker(counted, 4)


ENDLESS = """
import time

def endless(report, left):
    try:
        while True:
            report("step", 0)
            time.sleep(0.01)
    except KeyboardInterrupt:
        left.touch()
        raise RuntimeError("left in order") from None
"""


def test_ctrl_c_lets_a_worker_leave_its_work_in_order(tmp_path, monkeypatch):
    (tmp_path / "endless_for_workers.py").write_text(ENDLESS)
    monkeypatch.syspath_prepend(tmp_path)
    endless = import_module("endless_for_workers").endless
    pressed = []

    def press(*_message):
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="left in order"):
        run_in_worker(endless, tmp_path / "left", progress=press)
    assert (tmp_path / "left").exists()


def test_evaluation_of_a_labelled_folder(labsem, tmp_path):
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.uint16)
    for label, (y, x) in enumerate(((24, 24), (24, 90), (70, 60)), 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 144] = label
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "images" / "one.tif", np.where(labels > 0, 200, 40).astype(np.uint8))
    tifffile.imwrite(tmp_path / "masks" / "one.png", labels)
    broken = labsem("evaluate", "--data", tmp_path, "--segmenter", "otsu", "--json")
    assert broken.code == 1 and broken.stdout == "" and "one.png" in broken.stderr
    from skimage.io import imsave

    imsave(tmp_path / "masks" / "one.png", labels, check_contrast=False)
    ended = labsem("evaluate", "--data", tmp_path, "--segmenter", "otsu", "--json")
    assert ended.code == 0
    assert ended.json["images"] == 1 and ended.json["particles"] == 3
    assert ended.json["aji_plus"] > 0.9 and ended.json["f1"] == 1
    assert {"auroc", "ece", "clear_recall", "holes_taken"} <= set(ended.json)
    assert labsem("evaluate", "--data", tmp_path, "--part", "test", "--segmenter", "otsu").code == 1
    missing = labsem("evaluate", "--data", tmp_path / "none", "--segmenter", "otsu")
    assert missing.code == 1 and missing.stderr.count("Traceback") == 0


def test_the_architectures_offered_are_those_of_the_registry():
    assert tuple(ArchitectureChoice) == ARCHITECTURES


def test_training_says_what_is_missing(labsem, tmp_path):
    ended = labsem("train", "--data", tmp_path / "none", "--out", tmp_path / "out", "--steps", "1")
    assert ended.code == 1
    assert str(tmp_path / "none") in ended.stderr and "Traceback" not in ended.stderr
    for wrong in (
        ("--architecture", "resnet"),
        ("--weight", "powders"),
        ("--weight", "=2"),
        ("--mosaic", "2"),
    ):
        assert labsem("train", "--data", tmp_path, "--out", tmp_path / "out", *wrong).code == 2
