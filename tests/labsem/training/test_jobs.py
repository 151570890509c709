"""``labsem train`` from labelled folders to weights, report, learning curve and the choice against joint."""

import csv
import json

import imagecodecs
import numpy as np
import pytest
import torch

from labsem.networks.manifest import WeightsError, list_manifests
from labsem.networks.registry import build_network
from labsem.networks.verification import find_problems
from labsem.simulation import write_dataset
from labsem.training.data_report import report_dataset
from labsem.training.jobs import TrainingJob, run_job
from labsem.training.learning_curve import advise
from labsem.training.material import SIMULATED_LICENCE, load_dataset, load_datasets
from labsem.training.options import TrainingOptions
from labsem.training.start import network_tensors
from labsem.training.train import TrainingInterruptedError
from schemas.morphology import Regime

IMAGES = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen frames of 64 px, of both regimes, all judged."""
    root = tmp_path_factory.mktemp("discs")
    for part in ("images", "masks", "uncertain"):
        (root / part).mkdir()
    y, x = np.mgrid[:64, :64]
    rows = []
    for seed in range(IMAGES):
        rng = np.random.default_rng(seed)
        labels = np.zeros((64, 64), np.uint16)
        for label, (cy, cx) in enumerate(((18, 18), (18, 46), (46, 18), (46, 46)), 1):
            labels[(y - cy) ** 2 + (x - cx) ** 2 < rng.integers(5, 11) ** 2] = label
        grey = np.where(labels > 0, 190, 60) + rng.normal(0, 6, labels.shape)
        for part, pixels in (
            ("images", grey.clip(0, 255).astype(np.uint8)),
            ("masks", labels),
            ("uncertain", np.where(labels == 1, labels, 0).astype(np.uint16)),
        ):
            (root / part / f"disc{seed:02}.png").write_bytes(imagecodecs.png_encode(pixels))
        rows.append(
            {"id": f"disc{seed:02}", "pixel_size_nm": 100, "regime": "high" if seed in (1, 3) else "low"}
        )
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network that takes hardly anything for a particle: an untrained one takes a thousand places for some."""
    torch.manual_seed(0)
    network = build_network("lite0")
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([1.6, 0.0]))
    path = tmp_path_factory.mktemp("start") / "start.pt"
    torch.save({"average": network.state_dict()}, path)
    return path


def _job(folder, out, **more) -> TrainingJob:
    options = {
        "data": (folder,),
        "output": out,
        "steps": 1,
        "crop_px": 64,
        "imagenet": False,
        "threshold_trials": 2,
    }
    job = {name: more.pop(name) for name in ("learning_curve", "against", "version") if name in more}
    return TrainingJob(options=options | {"precision": "float32"} | more, **job)


def test_the_data_report_counts_what_is_there(folder) -> None:
    report = report_dataset(load_dataset(folder, Regime.JOINT))
    assert (report.training.images, report.validation.images) == (13, 3)
    assert (report.training.particles, report.training.uncertain_particles) == (52, 13)
    assert report.training.judged_particles == 52
    low, middle, high = report.training.diameter_px
    assert 8 < low <= middle <= high < 22
    assert report.training.diameter_um == pytest.approx(
        [0.1 * value for value in (low, middle, high)], rel=1e-3
    )
    assert report.licence is None


def test_judged_images_of_other_regimes_are_kept_for_certainty(folder) -> None:
    low, high = load_dataset(folder, Regime.LOW), load_dataset(folder, Regime.HIGH)
    assert {image.id for image in low.training + low.validation}.isdisjoint({"disc01", "disc03"})
    elsewhere = low.judged_elsewhere.training + low.judged_elsewhere.validation
    assert {image.id for image in elsewhere} == {"disc01", "disc03"}
    assert {image.id for image in high.training + high.validation} == {"disc01", "disc03"}
    assert len(high.judged_elsewhere.training + high.judged_elsewhere.validation) == IMAGES - 2
    joint = load_dataset(folder, Regime.JOINT).judged_elsewhere
    assert not joint.training and not joint.validation
    left_out = {"data": (folder,), "output": folder, "regime": "low", "leave_out_judged": True}
    (without,) = load_datasets(TrainingOptions.model_validate(left_out))
    assert not without.training and not without.judged_elsewhere.training


@pytest.mark.slow
def test_a_training_with_its_learning_curve_then_one_regime_against_it(folder, start, tmp_path) -> None:
    told = []
    joint, low = tmp_path / "joint", tmp_path / "low"
    done = run_job(
        _job(folder, joint, start_from=start, learning_curve=True, version="3"),
        lambda *each: told.append(each),
    )
    assert told[0][0] == "data" and told[0][1][0]["training"]["particles"] == 52
    assert any("25% of the images" in text for _, text in told[1:])
    curve = done["learning_curve"]
    assert [point["images"] for point in curve["points"]] == [3, 6, 10, 13]
    assert json.loads((joint / "learning-curve" / "curve.json").read_text()) == curve
    assert (joint / "learning-curve" / "curve.png").read_bytes().startswith(b"\x89PNG")
    (manifest,) = list_manifests(joint)
    assert set(manifest.regimes) == set(Regime) and manifest.version == "3"
    (data,) = manifest.training["datasets"]
    assert (data["name"], data["training"]["images"]) == (folder.name, 13)
    assert "as its owner says" in manifest.licence
    assert find_problems(joint / "joint.json") == []
    assert "Data" in (joint / "report.html").read_text()

    given = {"regime": "low", "start_from": joint / "joint.safetensors", "against": joint}
    tuned = run_job(_job(folder, low, data_weights={folder.name: 2.0}, **given), lambda *_: None)
    assert tuned["manifest"]["training"]["start"] == "joint.safetensors"
    assert tuned["manifest"]["training"]["previous"]["sha256"] == manifest.sha256
    assert len(tuned["choice"]) == 1 and "validation images low, fine-tuned for low" in tuned["choice"][0]
    assert {one.name for one in list_manifests(low / "ships")} >= {"joint"}

    anew = {"steps": 0, "start_from": joint / "joint.safetensors", "threshold_trials": 3}
    run_job(_job(folder, tmp_path / "anew", version="4", **anew), lambda *_: None)
    (calibrated,) = list_manifests(tmp_path / "anew")
    assert calibrated.version == "4" and calibrated.training["steps"] == 0
    before, after = (network_tensors(at / "joint.safetensors") for at in (joint, tmp_path / "anew"))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert "Data" in (tmp_path / "anew" / "report.html").read_text()


def test_what_cannot_be_is_said_before_the_training(folder, tmp_path) -> None:
    with pytest.raises(WeightsError, match="--regime low or high"):
        run_job(_job(folder, tmp_path, against=tmp_path), lambda *_: None)
    with pytest.raises(ValueError, match="no data folder is called powders"):
        run_job(_job(folder, tmp_path, data_weights={"powders": 2.0}), lambda *_: None)
    with pytest.raises(ValueError, match="no learning curve"):
        nothing = {"learning_curve": True, "steps": 0, "start_from": tmp_path / "joint.safetensors"}
        run_job(_job(folder, tmp_path, **nothing), lambda *_: None)
    with pytest.raises(ValueError, match="no validation image is left for the regime high"):
        run_job(_job(folder, tmp_path, regime="high"), lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_training_leaves_a_checkpoint(folder, tmp_path) -> None:
    def stop(what: object, _text: object) -> None:
        if what != "data":
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError, match="--resume to go on"):
        run_job(_job(folder, tmp_path), stop)
    assert (tmp_path / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    ("gain", "interval", "said"),
    [
        (0.02, (0.01, 0.03), "will probably help"),
        (-0.01, (-0.02, 0.001), "will hardly help"),
        (0.01, (-0.02, 0.04), "cannot tell"),
    ],
)
def test_the_advice_follows_the_interval(gain, interval, said) -> None:
    assert said in advise(gain, interval)
    assert f"{gain:+.3f}" in advise(gain, interval)


def test_a_folder_of_simulated_frames_is_known_for_one(tmp_path) -> None:
    write_dataset(tmp_path / "stub", 5, 3, "low", 96, 64, powders="stub")
    stub = load_dataset(tmp_path / "stub", Regime.LOW)
    assert [len(stub.training), len(stub.validation)] == [4, 1]
    assert all(image.simulated for image in (*stub.training, *stub.validation))
    assert stub.licence == SIMULATED_LICENCE
