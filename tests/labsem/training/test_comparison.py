"""A comparison keeps what is done, refuses what is not comparable, and pairs the same images."""

from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ComparisonPlan:
    folder = tmp_path_factory.mktemp("data")
    return ComparisonPlan(
        data=(write_images(folder / "ours", 3, seed=0),),
        test=(write_images(folder / "held", 3, seed=1), write_images(folder / "other", 2, seed=2)),
        steps=5,
        crop_px=64,
    )


@pytest.fixture(scope="module")
def trained() -> Iterator[list[str]]:
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

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "train_model", train_model)
        yield names


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def first(plan, trained, out: Path) -> ArchitectureComparison:
    """One seed of each."""
    told: list[float] = []
    found = compare_architectures(plan, out, seeds=1, notify=lambda done, _: told.append(done))
    assert trained == ["lite2-0", "unet-lite2-0"]
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] <= 1
    return found


def test_what_is_trained_is_kept_and_more_seeds_can_be_added(first, plan, trained, out: Path) -> None:
    before = len(trained)
    assert compare_architectures(plan, out, seeds=1) == first
    assert len(trained) == before
    more = compare_architectures(plan, out, architectures=("lite2",), seeds=2)
    assert trained[before:] == ["lite2-1"]
    assert [(run.architecture, run.seed) for run in more.runs] == [("lite2", 0), ("lite2", 1)]
    assert more.runs[0] == first.runs[0]
    assert ArchitectureComparison.model_validate_json((out / "comparison.json").read_bytes()) == more


def test_differences_are_of_the_same_images(first, plan) -> None:
    # The one that takes the whole frame reaches the particle's share of it, the other nothing.
    shares = {
        folder.name: [float((image.labels() > 0).mean()) for image in find_test_images(plan)[folder.name]]
        for folder in plan.test
    }
    shares["all"] = shares["held"] + shares["other"]
    assert {each.data for each in first.differences} == {"all", "held", "other"}
    for each in first.differences:
        assert (each.first, each.second) == ("lite2", "unet-lite2")
        assert each.aji_plus.images == len(shares[each.data])
        assert each.aji_plus.difference == pytest.approx(np.mean(shares[each.data]))
        low, high = each.aji_plus.interval_95
        assert min(shares[each.data]) <= low <= each.aji_plus.difference <= high <= max(shares[each.data])
        assert each.aji_plus.share_not_better == 0
    figures = {(each.architecture, each.data): each for each in first.figures}
    assert figures["unet-lite2", "all"].aji_plus == 0
    assert figures["lite2", "all"].images == 5


def test_runs_by_another_plan_are_refused(first, plan, trained, out: Path) -> None:
    before = len(trained)
    with pytest.raises(ValueError, match="another plan"):
        compare_architectures(plan.model_copy(update={"steps": 6}), out, seeds=1)
    assert len(trained) == before


def test_a_comparison_needs_test_images_and_known_names(plan, trained, tmp_path: Path) -> None:
    before = len(trained)
    with pytest.raises(ValueError, match="--test"):
        compare_architectures(plan.model_copy(update={"test": ()}), tmp_path / "out")
    with pytest.raises(ValueError, match="resnext"):
        compare_architectures(plan, tmp_path / "out", architectures=("resnext",))
    assert len(trained) == before


@pytest.mark.slow
def test_the_command_trains_measures_and_compares(tmp_path: Path) -> None:
    from services.cli.main import app

    data = write_images(tmp_path / "ours", 10, seed=0)  # every fifth validates: one of each regime
    lines = ["id,regime", *(f"{number},{'low' if number % 2 else 'high'}" for number in range(10))]
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
