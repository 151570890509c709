"""A comparison keeps what is done, refuses what is not comparable, and pairs the same images."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from labsem.networks.manifest import Calibration, Input, Platt, Thresholds, Watershed
from labsem.networks.unet import UNet, UNetArchitecture
from labsem.training import comparison
from labsem.training.comparison import compare_architectures, find_test_images
from labsem.training.comparison_report import ArchitectureComparison, ComparisonPlan
from labsem.training.pipeline import Trained
from labsem.training.publish import write_model
from schemas.morphology import Regime

SIDE = 64


def write_images(folder: Path, count: int, seed: int) -> Path:
    """Frames of one bright square each, its size drawn."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        size = int(rng.integers(12, 50))
        labels = np.zeros((SIDE, SIDE), np.uint16)
        labels[6 : 6 + size, 4 : 4 + size] = 1
        grey = (60 + 120 * (labels > 0)).astype(np.uint8)
        (folder / "images" / f"{number}.png").write_bytes(imagecodecs.png_encode(grey))
        (folder / "masks" / f"{number}.png").write_bytes(imagecodecs.png_encode(labels))
    return folder


@pytest.fixture
def plan(tmp_path: Path) -> ComparisonPlan:
    return ComparisonPlan(
        data=(write_images(tmp_path / "ours", 3, seed=0),),
        test=(write_images(tmp_path / "held", 4, seed=1), write_images(tmp_path / "other", 2, seed=2)),
        steps=5,
        crop_px=64,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were trained: one network takes the frame for a particle, the other finds nothing."""
    names: list[str] = []

    def train_model(options, notify, *, name, datasets):
        names.append(options.output.name)
        notify(0.5, "training")
        architecture = UNetArchitecture(backbone="tf_efficientnet_lite2", decoder_channels=(8, 8, 8, 8, 8))
        network = UNet(architecture)
        torch.nn.init.zeros_(network.maps.weight)
        network.maps.bias.data = torch.tensor([0.0 if "unet" in options.output.name else 1.0, 0.0])
        unfitted = Platt(slopes=(1.0,), offset=0.0, fitted_on="nothing")
        calibration = Calibration(
            thresholds=Thresholds(),
            watershed=Watershed(),
            confidence=unfitted,
            mask_quality=unfitted,
            input=Input(long_side_max_px=64, long_side_min_px=64),
        )
        manifest = write_model(
            options.output,
            name=name,
            version="0",
            network=network,
            tensors=network.state_dict(),
            regimes=dict.fromkeys(Regime, calibration),
            provenance={
                "steps": options.steps,
                "seconds": 60,
                "start": "ImageNet",
                "options": options.model_dump(mode="json"),
            },
            metrics={},
            licence="none",
            limits=(),
        )
        return Trained(manifest, None, [])

    monkeypatch.setattr(comparison, "train_model", train_model)
    return names


def test_what_is_trained_is_kept_and_more_seeds_can_be_added(plan, trained, tmp_path: Path) -> None:
    told: list[float] = []
    first = compare_architectures(plan, tmp_path / "out", seeds=1, notify=lambda done, _: told.append(done))
    assert trained == ["lite2-0", "unet-lite2-0"]
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] <= 1
    again = compare_architectures(plan, tmp_path / "out", seeds=1)
    assert again == first
    assert len(trained) == 2
    more = compare_architectures(plan, tmp_path / "out", seeds=2)
    assert trained[2:] == ["lite2-1", "unet-lite2-1"]
    assert [(run.architecture, run.seed) for run in more.runs] == [
        ("lite2", 0),
        ("unet-lite2", 0),
        ("lite2", 1),
        ("unet-lite2", 1),
    ]
    kept = (tmp_path / "out" / "comparison.json").read_bytes()
    assert ArchitectureComparison.model_validate_json(kept) == more


def test_differences_are_of_the_same_images(plan, trained, tmp_path: Path) -> None:
    found = compare_architectures(plan, tmp_path / "out", seeds=1)
    # The one that takes the whole frame reaches the particle's share of it, the other nothing.
    shares = {
        folder.name: [float((image.labels() > 0).mean()) for image in find_test_images(plan)[folder.name]]
        for folder in plan.test
    }
    shares["all"] = shares["held"] + shares["other"]
    assert {each.data for each in found.differences} == {"all", "held", "other"}
    for each in found.differences:
        assert (each.first, each.second) == ("lite2", "unet-lite2")
        assert each.aji_plus.images == len(shares[each.data])
        assert each.aji_plus.difference == pytest.approx(np.mean(shares[each.data]))
        low, high = each.aji_plus.interval_95
        assert min(shares[each.data]) <= low <= each.aji_plus.difference <= high <= max(shares[each.data])
        assert each.aji_plus.share_not_better == 0
    figures = {(each.architecture, each.data): each for each in found.figures}
    assert figures["unet-lite2", "all"].aji_plus == 0
    assert figures["lite2", "all"].images == 6


def test_runs_by_another_plan_are_refused(plan, trained, tmp_path: Path) -> None:
    compare_architectures(plan, tmp_path / "out", architectures=("lite2",), seeds=1)
    with pytest.raises(ValueError, match="another plan"):
        compare_architectures(plan.model_copy(update={"steps": 6}), tmp_path / "out", seeds=1)
    assert trained == ["lite2-0"]


def test_a_comparison_needs_test_images_and_known_names(plan, trained, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--test"):
        compare_architectures(plan.model_copy(update={"test": ()}), tmp_path / "out")
    with pytest.raises(ValueError, match="resnext"):
        compare_architectures(plan, tmp_path / "out", architectures=("resnext",))
    assert trained == []


@pytest.mark.slow
def test_the_command_trains_measures_and_compares(tmp_path: Path) -> None:
    from services.cli.main import app

    data = write_images(tmp_path / "ours", 8, seed=0)
    lines = ["id,regime", *(f"{number},{'low' if number % 2 else 'high'}" for number in range(8))]
    (data / "metadata.csv").write_text("\n".join(lines) + "\n")
    held = write_images(tmp_path / "held", 2, seed=1)
    command = [
        "bench",
        "architectures",
        "--data",
        str(data),
        "--test",
        str(held),
        "--out",
        str(tmp_path / "out"),
    ]
    small = ["--steps", "2", "--seeds", "1", "--crop-px", "64", "--threshold-trials", "2", "--json"]
    result = CliRunner().invoke(app, [*command, *small])
    assert result.exit_code == 0, result.output
    found = ArchitectureComparison.model_validate_json(result.stdout)
    assert [run.start for run in found.runs] == ["ImageNet", "ImageNet"]
    assert found.differences[0].aji_plus.images == 2
