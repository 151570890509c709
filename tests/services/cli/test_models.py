"""``labsem models``: cards to read, and models that were changed are refused."""

from __future__ import annotations

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.manifest import Calibration, Input, Platt, Thresholds
from labsem.training.publish import add_metrics, write_model
from schemas.morphology import Regime

PLAIN = Calibration(
    thresholds=Thresholds(omega=0.35),
    confidence=Platt(slopes=(1.0,), offset=0.0, fitted_on="41 matched particles"),
    mask_quality=Platt(slopes=(1.0, 1.0), offset=0.0, fitted_on="nothing"),
    input=Input(long_side_max_px=1920, long_side_min_px=512),
    detection_floor_px=11.5,
    notes="joint weights: own ones were worse",
)
COUNTS = {
    "images": 238,
    "particles": 6090,
    "judged_images": 47,
    "judged_particles": 900,
    "uncertain_particles": 102,
    "diameter_px": None,
    "diameter_um": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one model that knows nothing."""
    torch.manual_seed(0)
    network = ParticleNetwork(Architecture(channels=8, box_features=8))
    dataset = {"name": "emps", "licence": "MIT", "weight": 1.0, "training": COUNTS, "validation": COUNTS}
    write_model(
        tmp_path,
        name="joint",
        version="7",
        network=network,
        tensors={name: tensor.half() for name, tensor in network.state_dict().items()},
        regimes=dict.fromkeys(Regime, PLAIN),
        provenance={
            "steps": 2000,
            "start": "older.safetensors",
            "datasets": [dataset],
            "previous": {
                "name": "older",
                "version": "6",
                "sha256": "ab" * 32,
                "training": {"steps": 900, "datasets": [dataset | {"name": "ampis"}]},
            },
        },
        metrics={
            "validation": {"low": {"images": 34, "aji_plus": 0.776, "aji_plus_interval_95": [0.7, 0.84]}}
        },
        licence="Apache-2.0 (weights)",
        limits=("particles under the detection floor are mostly missed",),
    )
    add_metrics(
        tmp_path, "joint", {"emps test": {"aji_plus": 0.829, "command": "labsem evaluate --part test"}}
    )
    return tmp_path


def test_a_card_tells_what_a_model_is_and_saw(labsem, folder):
    card = labsem("models", "show", "joint", "--folder", folder)
    assert card.code == 0
    manifest = json.loads((folder / "joint.json").read_text())
    for said in (
        manifest["sha256"],
        "joint 7",
        "tf_efficientnet_lite0",
        "box head foreground probability",
        "0.776",
        "0.7 to 0.84",
        "emps test",
        "labsem evaluate --part test",
        "6090",
        "MIT",
        "started from older 6",
        "ampis",
        "512 to 1920",
        "11.5",
        "omega 0.35",
        "41 matched particles",
        "own ones were worse",
        "detection floor are mostly missed",
        "Apache-2.0",
    ):
        assert said in card.stdout, said
    assert labsem("models", "show", "joint", "--folder", folder, "--json").json == manifest
    assert labsem("models", "show", "--folder", folder, "--json").json == [manifest]
    missing = labsem("models", "show", "other", "--folder", folder)
    assert missing.code == 1 and "there are joint" in missing.stderr


def test_models_are_listed(labsem, folder):
    listed = labsem("models", "list", "--folder", folder)
    assert listed.code == 0 and "low 0.776" in listed.stdout
    (model,) = labsem("models", "list", "--folder", folder, "--json").json
    assert model["name"] == "joint" and set(model["regimes"]) == {"low", "high", "joint"}


def test_figures_of_an_evaluation_are_recorded_on_a_card(labsem, folder, tmp_path):
    rng = np.random.default_rng(0)
    data = tmp_path / "discs"
    for index in range(2):
        labels = np.zeros((96, 96), np.uint16)
        labels[20:50, 20 + index : 60] = 1
        pixels = (
            (np.where(labels > 0, 200, 60) + rng.normal(0, 4, labels.shape)).clip(0, 255).astype(np.uint8)
        )
        for name, image in (("images", pixels), ("masks", labels)):
            (data / name).mkdir(parents=True, exist_ok=True)
            (data / name / f"disc{index}.png").write_bytes(imagecodecs.png_encode(image))
    measured = labsem("evaluate", "--data", data, "--model", "otsu", "--json")
    assert measured.code == 0, measured.stderr
    report = data / "report.json"
    report.write_text(measured.stdout)
    before = (folder / "joint.safetensors").read_bytes()
    written = labsem("models", "record", report, "--as", "my discs", "--folder", folder)
    assert written.code == 0 and "2 images as 'my discs'" in written.stdout
    metrics = labsem("models", "show", "joint", "--folder", folder, "--json").json["metrics"]
    assert metrics["my discs"]["aji_plus"] == measured.json["aji_plus"]
    assert set(metrics) == {"validation", "emps test", "my discs"}
    assert (folder / "joint.safetensors").read_bytes() == before
    assert labsem("models", "verify", "--folder", folder).code == 0
    report.write_text("{}")
    refused = labsem("models", "record", report, "--as", "x", "--folder", folder)
    assert refused.code == 1 and "is no report of one model" in refused.stderr


def test_verify_names_the_file_and_the_hash_that_it_should_have(labsem, folder, tmp_path_factory):
    fine = labsem("models", "verify", "--folder", folder, "--json")
    assert fine.code == 0 and fine.json == [{"name": "joint", "problems": []}]
    weights = folder / "joint.safetensors"
    wanted = json.loads((folder / "joint.json").read_text())["sha256"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for given in ((), ("--json",)):
        refused = labsem("models", "verify", "--folder", folder, *given)
        assert refused.code == 1
        assert "joint.safetensors" in refused.stdout and wanted in refused.stdout
    weights.write_bytes(whole[: len(whole) // 2])
    cut = labsem("models", "verify", "--folder", folder)
    assert cut.code == 1 and f"has {len(whole) // 2} bytes" in cut.stdout
    weights.unlink()
    gone = labsem("models", "verify", "--folder", folder)
    assert gone.code == 1 and "is missing" in gone.stdout
    empty = labsem("models", "verify", "--folder", tmp_path_factory.mktemp("empty"))
    assert empty.code == 1 and "holds no model" in empty.stderr


def test_the_shipped_models_are_whole(labsem):
    found = labsem("models", "verify", "--json")
    assert found.code == 0 and found.json
    assert labsem("models", "show").code == 0
