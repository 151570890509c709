"""Folds over judged images: how they are dealt, and a tiny cross-validation end to end."""

import csv
import shutil

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labsem.evaluation.folds import pool_folds
from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.manifest import Input
from labsem.training.folds import deal_folds, train_folds
from labsem.training.splits import EMPS_NEAR_DUPLICATES
from labsem.training.train import TrainingOptions

COUNTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=6), st.integers(0, 40), max_size=80)


@given(COUNTS, st.integers(2, 7), st.integers(0, 1000))
def test_folds_are_disjoint_even_and_leave_nothing_out(uncertain, count, seed) -> None:
    folds = deal_folds(uncertain, count, seed)
    assert len(folds) == count
    assert sorted(name for fold in folds for name in fold) == sorted(uncertain)
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    assert folds == deal_folds(dict(reversed(uncertain.items())), count, seed)


@given(st.integers(0, 4), st.integers(0, 1000))
def test_a_data_set_of_few_frames_has_at_most_one_in_a_fold(frames: int, seed: int) -> None:
    folds = deal_folds({f"frame{index}": index for index in range(frames)}, seed=seed)
    assert max(len(fold) for fold in folds) <= 1


@given(st.lists(st.integers(0, 60), min_size=10, max_size=40), st.integers(0, 100))
def test_uncertain_particles_are_spread(counts: list[int], seed: int) -> None:
    uncertain = {f"image{index:02d}": count for index, count in enumerate(counts)}
    sums = [sum(uncertain[name] for name in fold) for fold in deal_folds(uncertain, seed=seed)]
    # Rounds of like images: two folds differ by no more than the first round's largest and the last one's smallest.
    assert max(sums) - min(sums) <= max(counts)


@given(st.integers(0, 1000))
def test_near_duplicates_share_a_fold(seed: int) -> None:
    uncertain = dict.fromkeys([*EMPS_NEAR_DUPLICATES, *(f"image{index}" for index in range(20))], 1)
    folds = deal_folds(uncertain, seed=seed)
    assert any(frozenset(EMPS_NEAR_DUPLICATES) <= fold for fold in folds)
    assert sorted(name for fold in folds for name in fold) == sorted(uncertain)


def test_one_fold_is_no_cross_validation() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        deal_folds({"a": 1}, 1)


SMALL = Architecture(channels=16, box_features=32)
SCALE = Input(long_side_max_px=256, long_side_min_px=64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Ten images of discs, the faint ones uncertain; six of them judged."""
    root = tmp_path_factory.mktemp("data") / "discs"
    for name in ("images", "masks", "uncertain"):
        (root / name).mkdir(parents=True)
    y, x = np.mgrid[:96, :96]
    judged = []
    for index in range(10):
        rng = np.random.default_rng(index)
        labels, grey = np.zeros((96, 96), np.uint16), np.full((96, 96), 50.0)
        for label, (cy, cx) in enumerate(((24, 24), (24, 70), (70, 24), (70, 70)), start=1):
            disc = (y - cy) ** 2 + (x - cx) ** 2 < rng.integers(9, 17) ** 2
            labels[disc], grey[disc] = label, 200 if label < 3 else 90
        pixels = (grey + rng.normal(0, 4, grey.shape)).clip(0, 255).astype(np.uint8)
        (root / "images" / f"disc{index}.png").write_bytes(imagecodecs.png_encode(pixels))
        (root / "masks" / f"disc{index}.png").write_bytes(imagecodecs.png_encode(labels))
        if index not in (3, 4, 5, 8):
            judged.append({"id": f"disc{index}"})
            uncertain = np.where(labels >= 3, labels, 0).astype(np.uint16)
            (root / "uncertain" / f"disc{index}.png").write_bytes(imagecodecs.png_encode(uncertain))
    with (root / "uncertain" / "README.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id"])
        writer.writeheader()
        writer.writerows(judged)
    return root


@pytest.fixture(scope="module")
def options(dataset, tmp_path_factory):
    """Two folds of one step, from a network that calls every proposal a particle."""
    folder = tmp_path_factory.mktemp("folds")
    torch.manual_seed(0)
    network = ParticleNetwork(SMALL)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 2.0]))
    torch.save({"average": network.state_dict()}, folder / "base.pt")
    return TrainingOptions(
        data=(dataset,),
        output=folder / "out",
        start_from=folder / "base.pt",
        steps=1,
        batch=1,
        crop_px=64,
        architecture=SMALL,
    )


@pytest.fixture(scope="module")
def report(options):
    told = []
    train_folds(options, 2, lambda done, what: told.append((done, what)), scale=SCALE)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    return pool_folds(options.output, options.data, trials=3)


def test_every_judged_image_is_held_out_once(report) -> None:
    assert (report.folds, report.pooled.images) == (2, 6)
    rows = report.datasets["discs"].rows
    assert sorted(row.id for row in rows) == ["disc0", "disc1", "disc2", "disc6", "disc7", "disc9"]
    assert all(row.particles == 4 for row in rows)
    assert (report.pooled.true_boxes.particles, report.pooled.true_boxes.certain) == (24, 12)


def test_a_fold_is_calibrated_by_what_the_others_said(options, report, tmp_path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(options.output, copy)
    for path in (copy / "fold-0").glob("discs-*.npz"):
        with np.load(path) as stored:
            # The network of this fold now knows nothing at all.
            np.savez(path, **{**stored, "objectness": np.full_like(stored["objectness"], 0.21)})
    changed = pool_folds(copy, options.data, trials=3)
    before, after = report.calibrations, changed.calibrations
    assert [(each.fold, each.regime, each.images) for each in before] == [(0, "joint", 3), (1, "joint", 3)]
    assert after[0] == before[0]
    assert after[1].calibration != before[1].calibration
    assert before[0].calibration.input == SCALE


def test_one_finished_fold_cannot_be_measured(options, report, tmp_path) -> None:
    shutil.copytree(options.output / "fold-0", tmp_path / "fold-0")
    with pytest.raises(ValueError, match="needs two"):
        pool_folds(tmp_path, options.data, trials=3)


def test_finished_folds_are_kept_and_their_networks_are_not(options, report, monkeypatch) -> None:
    assert not list(options.output.rglob("*.pt"))

    def refuse(*_args, **_more):
        raise AssertionError("trained again")

    monkeypatch.setattr("labsem.training.folds.train", refuse)
    train_folds(options, 2)
    assert pool_folds(options.output, options.data, trials=3) == report


def test_other_options_in_the_same_folder_are_refused(options, report) -> None:
    with pytest.raises(ValueError, match="other options"):
        train_folds(options.model_copy(update={"seed": 1}), 2)


def test_a_start_is_needed(options, tmp_path) -> None:
    with pytest.raises(ValueError, match="leave-out-judged"):
        train_folds(options.model_copy(update={"start_from": None, "output": tmp_path}))
