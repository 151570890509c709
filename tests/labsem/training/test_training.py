"""Training: resumed bit for bit, stopped early, interrupted; schedules and starts from other weights."""

import csv
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from labsem.networks.architecture import Architecture, ParticleNetwork
from labsem.networks.losses import UncertaintyHead
from labsem.networks.manifest import WeightsError
from labsem.training.history import LossLog, read_log
from labsem.training.sampling import CropSampler
from labsem.training.schedule import STEP_DOWN, STEP_DOWN_AFTER, Watch, rate_factor
from labsem.training.start import load_start
from labsem.training.train import Training, TrainingInterruptedError, TrainingOptions, train
from labsem.training.validation import choose_images
from schemas.morphology import Regime


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path, images, options) -> None:
    """Weights, average, rate and order of the data are the same bit for bit, with validation in between."""
    given = {"validate_every": 2, "validation_images": 1}
    whole = train(options(tmp_path / "whole", **given), [images], validation=images[:1])

    def stop(done: float, _losses: dict[str, float], _left: float) -> None:
        if done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(
        TrainingInterruptedError, match="stopped at step 2; give the same command with --resume"
    ):
        train(options(tmp_path / "half", **given), [images], stop, validation=images[:1])
    # What an interrupted run wrote after its checkpoint is not written twice.
    with (tmp_path / "half" / "losses.csv").open("a") as file:
        file.write("3,1,0,0,0,0,0,0,0\n")
    half = train(options(tmp_path / "half", resume=True, **given), [images], validation=images[:1])
    first, second = (torch.load(path, weights_only=True) for path in (whole, half))
    assert first["step"] == second["step"] == 4
    for state in ("network", "average"):
        for name, tensor in first[state].items():
            assert torch.equal(tensor, second[state][name]), (state, name)
    assert torch.equal(first["torch_rng"], second["torch_rng"])
    assert first["watch"] == second["watch"]
    for log in ("losses.csv", "validation.csv"):
        rows = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(tmp_path / run / log)[1]]
            for run in ("whole", "half")
        ]
        assert rows[0] == rows[1]
        assert rows[0]
    assert [row["step"] for row in read_log(tmp_path / "half" / "losses.csv")[1]] == ["1", "2", "3", "4"]


def test_the_losses_are_logged_and_told_by_name(tmp_path, images, options) -> None:
    told = []
    train(options(tmp_path, steps=1), [images], lambda *each: told.append(each))
    with (tmp_path / "losses.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    names = set(ParticleNetwork.loss_names)
    assert set(row) == {"step", "seconds", "learning_rate"} | names
    ((done, losses, left),) = told
    assert (done, left) == (1.0, 0.0)
    assert set(losses) == names
    assert float(row["loss_mask"]) == pytest.approx(losses["loss_mask"], abs=1e-4)


def test_a_log_that_a_killed_process_left_empty_is_begun_again(tmp_path) -> None:
    (tmp_path / "losses.csv").touch()
    with LossLog(tmp_path, ["loss_box"], after_step=3) as log:
        log.write(4, 1.0, 1e-4, {"loss_box": 0.5})
    assert read_log(tmp_path / "losses.csv")[1] == [
        {"step": "4", "seconds": "1.0", "learning_rate": "0.0001", "loss_box": "0.50000"}
    ]


def test_an_old_log_goes_on_with_its_own_columns(tmp_path) -> None:
    (tmp_path / "losses.csv").write_text("step,seconds,loss_box\n1,0.5,2\n2,0.9,1\n")
    with LossLog(tmp_path, ["loss_box"], after_step=1) as log:
        log.write(2, 1.0, 1e-4, {"loss_box": 0.5})
    assert (tmp_path / "losses.csv").read_text().split() == [
        "step,seconds,loss_box",
        "1,0.5,2",
        "2,1.0,0.50000",
    ]


def test_early_stopping_keeps_the_best(tmp_path, images, options, monkeypatch) -> None:
    scores = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    from labsem.training import train as module
    from labsem.training.validation import ValidationResult

    monkeypatch.setattr(
        module, "validate", lambda *_: ValidationResult(next(scores), np.zeros(0), np.zeros(0))
    )
    given = options(tmp_path, steps=50, validate_every=1, patience=2)
    path = train(given, [images], validation=images[:1])
    assert path.name == "best.pt"
    assert torch.load(path, weights_only=True)["step"] == 2
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    with pytest.raises(ValueError, match="need validation images"):
        train(given, [images])


def test_a_step_in_bfloat16_learns_too(tmp_path, images, options) -> None:
    training = Training(options(tmp_path, precision="bfloat16"))
    before = training.network.roi_heads.box_head.fc7.weight.clone()
    losses = training.run_step(CropSampler([images], 0, 128).batch(0, 1))
    assert all(math.isfinite(value) for value in losses.values())
    assert not torch.equal(before, training.network.roi_heads.box_head.fc7.weight)
    assert training.network.roi_heads.box_head.fc7.weight.dtype == torch.float32


def test_resuming_nothing_or_another_architecture_is_an_error(tmp_path, options) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        Training(options(tmp_path, resume=True))
    Training(options(tmp_path)).save()
    with pytest.raises(ValueError, match="another architecture"):
        Training(options(tmp_path, resume=True, architecture=Architecture(channels=8, box_features=32)))


def test_weights_of_another_architecture_are_no_start(tmp_path, small, options) -> None:
    training = Training(options(tmp_path))
    training.save()
    with pytest.raises(WeightsError, match=r"does not fit the architecture.*of another shape"):
        load_start(
            ParticleNetwork(Architecture(channels=8, box_features=32)), training.checkpoint, Regime.JOINT
        )
    with pytest.raises(WeightsError, match="does not exist"):
        load_start(training.network, tmp_path / "none.safetensors", Regime.JOINT)
    # Another number of bins is another layer, not another network.
    other = ParticleNetwork(small.model_copy(update={"confidence_bins": 4}))
    load_start(other, training.checkpoint, Regime.LOW)
    assert torch.equal(other.roi_heads.box_head.fc6.weight, training.average["roi_heads.box_head.fc6.weight"])


def test_no_steps_leave_the_weights_as_they_are(tmp_path, images, options) -> None:
    start = Training(options(tmp_path / "start", seed=5))
    start.save()
    told: list[object] = []
    given = options(tmp_path / "out", steps=0, start_from=start.checkpoint)
    path = train(given, [images], lambda *each: told.append(each))
    state = torch.load(path, weights_only=True)
    assert (state["step"], state["start"], told) == (0, "checkpoint.pt", [])
    assert all(torch.equal(state["average"][name], tensor) for name, tensor in start.average.items())
    assert read_log(given.output / "losses.csv")[1] == []
    with pytest.raises(ValidationError, match="start_from"):
        options(tmp_path, steps=0)


def test_the_uncertainty_head_is_given_with_the_options(tmp_path, small, options) -> None:
    head = UncertaintyHead(bins=4, xi=2.0, sigma=0.3, weights=(1, 1, 1, 2))
    four = small.model_copy(update={"confidence_bins": 4})
    training = Training(options(tmp_path, uncertainty=head, architecture=four))
    assert training.network.roi_heads.uncertainty == head
    with pytest.raises(ValidationError, match="confidence bins"):
        options(tmp_path, uncertainty=head)
    for wrong in ({"xi": 7.0}, {"xi": 0.0}, {"weights": (1.0,)}, {"weights": (1, 1, 1, 1, 1, -1)}):
        with pytest.raises(ValidationError):
            UncertaintyHead.model_validate(wrong)


def test_options_survive_their_checkpoint(tmp_path, options) -> None:
    given = options(tmp_path, data_weights={"powders": 0.5}, schedule="plateau")
    assert TrainingOptions.model_validate_json(given.model_dump_json()) == given
    with pytest.raises(ValidationError, match="validate_every"):
        options(tmp_path, schedule="plateau", validate_every=0)


@given(st.integers(0, 5000), st.floats(0, 1))
def test_cosine_rates_warm_up_and_fall(step: int, fraction: float) -> None:
    rate = rate_factor("cosine", step=step, fraction=fraction, warm_up_steps=100, watch=Watch())
    assert 0 < rate <= 1
    assert rate <= (step + 1) / 100 + 1e-12
    later = rate_factor("cosine", step=10_000, fraction=fraction, warm_up_steps=100, watch=Watch())
    end = rate_factor("cosine", step=10_000, fraction=1.0, warm_up_steps=100, watch=Watch())
    assert end <= later + 1e-12


@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_plateau_steps_down_only_without_gain(scores: list[float]) -> None:
    watch = Watch()
    for step, score in enumerate(scores):
        before = watch.scale
        better = watch.look(step, score)
        assert better == (score == max(scores[: step + 1]) and score not in scores[:step])
        assert watch.scale in (before, before * STEP_DOWN)
        if better:
            assert watch.scale == before and watch.waiting == 0
    assert Watch.restored(watch.state()) == watch
    flat = Watch()
    for step in range(STEP_DOWN_AFTER + 1):
        flat.look(step, 0.5)
    assert rate_factor("plateau", step=1000, fraction=0, warm_up_steps=10, watch=flat) == STEP_DOWN


@given(st.integers(1, 40), st.integers(1, 20))
def test_images_to_look_at_are_spread_over_all(count: int, most: int) -> None:
    chosen = choose_images(list(range(count)), most)  # type: ignore[arg-type]
    assert len(chosen) == len(set(chosen)) == min(count, most)
