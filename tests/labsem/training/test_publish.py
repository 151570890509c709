"""From a checkpoint to a model on disk: it loads, is sealed, takes figures, and ships where it is not worse."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from labsem.networks.detector import Detector
from labsem.networks.evidence import EVIDENCE
from labsem.networks.losses import UncertaintyHead
from labsem.networks.manifest import (
    Input,
    WeightsError,
    list_manifests,
    load_weights,
    read_manifest,
    verify,
)
from labsem.networks.registry import build_network
from labsem.networks.scaling import scale_factor
from labsem.networks.segmenter import Segmenter, to_segmentation
from labsem.networks.verification import count_numbers, find_problems
from labsem.training import calibrate
from labsem.training.calibrate import UNCALIBRATED, calibrate_regimes, few_judged
from labsem.training.choose import choose_weights
from labsem.training.evidence import choose_judged, collect_evidence, fit_evidence
from labsem.training.labels import true_boxes
from labsem.training.material import DataSet, validation_images
from labsem.training.pipeline import JOINT_LIMIT
from labsem.training.publish import add_metrics, load_network, publish, write_manifest
from labsem.training.report import write_report
from labsem.training.sampling import TrainingImage
from labsem.training.start import load_start
from labsem.training.train import Training, train
from schemas.morphology import Regime

INPUT = Input(long_side_max_px=128, long_side_min_px=64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, images, options):
    """A network that has seen next to nothing, but takes what it proposes for particles."""
    given_options = options(tmp_path_factory.mktemp("run"), steps=2)
    training = Training(given_options)
    with torch.no_grad():
        training.network.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([-0.5, 0.5]))
    train(given_options, [images], network=training.network)
    return training.checkpoint


def _publish(checkpoint, folder, small, images, name, regimes, **more):
    return publish(
        checkpoint,
        folder,
        name=name,
        version="test",
        architecture=small,
        training=images[:6],
        validation=dict.fromkeys(regimes, images[6:]),
        provenance={"steps": 2, "seconds": 1, "start": "random weights", "datasets": []},
        inputs=[INPUT, INPUT.model_copy(update={"long_side_min_px": 65})],
        trials=2,
        **more,
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory, checkpoint, small, images):
    folder = tmp_path_factory.mktemp("joint")
    return folder, _publish(checkpoint, folder, small, images, "joint", list(Regime), limits=(JOINT_LIMIT,))


def test_a_published_model_loads_and_segments_as_it_was_calibrated(published, images) -> None:
    folder, model = published
    segmenter = Segmenter.load(folder, precision="float32")
    found = segmenter.segment(images[7].grey, Regime.LOW)
    assert (found.height_px, found.width_px) == images[7].grey.shape
    low = model.regimes[Regime.LOW]
    plain = low.calibration.model_copy(update={"out_of_distribution": None})
    wanted = to_segmentation(low.frames[1].detections, plain)
    assert len(found) == len(wanted) == len(low.kept[1].index) > 0
    assert np.array_equal(found.label_image, wanted.label_image)
    assert segmenter.model(Regime.HIGH) == model.manifest.reference()
    wide = segmenter.segment(np.pad(images[7].grey.astype(np.uint16) * 200, ((0, 9), (0, 31))), Regime.JOINT)
    assert (wide.height_px, wide.width_px) == (137, 159)


def test_regimes_and_inputs_that_show_the_same_share_detections(published) -> None:
    _, model = published
    low, high = model.regimes[Regime.LOW], model.regimes[Regime.HIGH]
    assert low.frames[0].detections is high.frames[0].detections
    assert model.manifest.metrics["validation"]["low"]["images"] == 2


def test_a_tampered_weight_file_is_refused_by_name_and_hash(published, tmp_path) -> None:
    folder, model = published
    raw = bytearray((folder / model.manifest.weights).read_bytes())
    raw[-1] ^= 1
    (tmp_path / model.manifest.weights).write_bytes(raw)
    for refuse in (lambda: verify(model.manifest, tmp_path), lambda: Segmenter.load(tmp_path)):
        write_manifest(tmp_path, model.manifest)
        with pytest.raises(WeightsError, match=model.manifest.sha256) as caught:
            refuse()
        assert model.manifest.weights in str(caught.value)
    with pytest.raises(WeightsError, match="is missing"):
        verify(model.manifest, tmp_path / "nowhere")


def test_a_folder_without_models_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match="holds no model"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document["regimes"]["low"]["thresholds"].update(omega=0.123), "was changed after"),
        (lambda document: document.update(licence="public domain"), "was changed after"),
        (lambda document: document["training"].update(datasets=[{"name": "other"}]), "was changed after"),
        (lambda document: document.update(size_bytes=17), "its manifest says 17"),
        (lambda document: document.update(sha256="0" * 64), "0" * 64),
        (lambda document: document.update(name="other"), "its name is other"),
        (lambda document: document.update(weights="../joint.safetensors"), "in another folder"),
        (lambda document: document["regimes"]["low"]["thresholds"].update(omega=7), "omega"),
        (lambda document: document.pop("licence"), "licence"),
    ],
)
def test_a_tampered_manifest_is_told(published, tmp_path, change, said) -> None:
    folder, model = published
    (tmp_path / "joint.safetensors").write_bytes((folder / "joint.safetensors").read_bytes())
    document = json.loads((folder / "joint.json").read_text())
    (tmp_path / "joint.json").write_text(json.dumps(document))
    assert find_problems(tmp_path / "joint.json") == []
    change(document)
    (tmp_path / "joint.json").write_text(json.dumps(document))
    assert any(said in problem for problem in find_problems(tmp_path / "joint.json"))
    assert model.manifest.licence


def test_figures_are_added_without_touching_weights_or_seal(published) -> None:
    folder, model = published
    before = (folder / "joint.safetensors").read_bytes()
    add_metrics(folder, "joint", {"emps test": {"images": 73, "aji_plus": 0.8}})
    manifest = add_metrics(folder, "joint", {"powders test": {"aji_plus": 0.9, "command": "labsem evaluate"}})
    assert list_manifests(folder) == [manifest]
    assert manifest.metrics["emps test"] == {"images": 73, "aji_plus": 0.8}
    assert set(manifest.metrics) == {"validation", "emps test", "powders test"}
    assert find_problems(folder / "joint.json") == []
    assert (folder / "joint.safetensors").read_bytes() == before
    assert manifest.regimes == model.manifest.regimes
    with pytest.raises(WeightsError, match="is not a usable manifest"):
        add_metrics(folder, "none", {})
    numbers = count_numbers(folder / "joint.safetensors")
    assert numbers is not None and 1e6 < numbers < 6e6


@pytest.fixture(scope="module")
def with_head(tmp_path_factory, checkpoint, small, images):
    """The same weights with a head on evidence."""
    folder = tmp_path_factory.mktemp("head")
    network, _ = load_network(checkpoint, small)
    data = collect_evidence(Detector(network, precision="float32"), images[:6], INPUT)
    head = fit_evidence(data, UncertaintyHead())
    return folder, head, data, _publish(checkpoint, folder, small, images, "joint", list(Regime), head=head)


def test_a_head_on_evidence_ships_with_the_weights_and_decides(with_head, published, images) -> None:
    folder, head, data, model = with_head
    assert head is not None and data.features.shape[1] == len(EVIDENCE)
    assert len(data.certain) >= sum(image.particles for image in images[:6])
    assert model.manifest.confidence_from == "evidence"
    assert published[1].manifest.confidence_from == "box features"
    segmenter = Segmenter.load(folder, precision="float32")
    low = model.regimes[Regime.LOW]
    seen = low.frames[1].detections
    assert seen.expected_confidence == pytest.approx(head.expected(seen.evidence), abs=1e-5)
    found = segmenter.segment(images[7].grey, Regime.LOW)
    plain = low.calibration.model_copy(update={"out_of_distribution": None})
    assert found.confidence == pytest.approx(to_segmentation(seen, plain).confidence, abs=1e-4)
    _, boxes = true_boxes(images[7].labels)
    trust = segmenter.trust_at(images[7].grey, boxes[:, [1, 0, 3, 2]], Regime.LOW)
    assert np.ptp(trust.confidence) > 0 and trust.confidence.shape == trust.objectness.shape == (len(boxes),)


def test_weights_with_a_head_start_a_training_and_lack_none_unnoticed(with_head, small, tmp_path) -> None:
    folder, _, _, model = with_head
    load_start(build_network(small), folder / "joint.safetensors", Regime.LOW)
    tensors = load_weights(folder / "joint.safetensors")
    del tensors["evidence.weight"]
    save_file(tensors, tmp_path / "joint.safetensors")
    sha256 = hashlib.sha256((tmp_path / "joint.safetensors").read_bytes()).hexdigest()
    write_manifest(tmp_path, model.manifest.model_copy(update={"sha256": sha256}))
    with pytest.raises(WeightsError, match="holds no head on evidence"):
        Segmenter.load(tmp_path)


def test_too_few_judged_particles_make_no_head(checkpoint, small, images) -> None:
    network, _ = load_network(checkpoint, small)
    detector = Detector(network, precision="float32")
    assert fit_evidence(collect_evidence(detector, images[:1], INPUT), UncertaintyHead()) is None
    unjudged = TrainingImage("x", images[0].grey, images[0].labels, None)
    assert not len(collect_evidence(detector, [unjudged], INPUT).certain)
    made = [replace(image, simulated=True) for image in images[2:]]
    assert choose_judged([unjudged, images[1], *made]) == [images[1], made[0]]
    assert choose_judged([unjudged, *made]) == made


def test_confidence_is_calibrated_on_other_regimes_where_few_were_judged(
    checkpoint, small, images, monkeypatch
) -> None:
    network, _ = load_network(checkpoint, small)
    detector = Detector(network, precision="float32")
    unjudged = [replace(image, uncertain=None) for image in images[:2]]
    assert few_judged(unjudged) and few_judged(images[:1]) and not few_judged(images)
    assert few_judged([replace(image, simulated=True) for image in images])
    # The network finds a few of them only.
    monkeypatch.setattr(calibrate, "JUDGED_MIN", 1)
    alone = calibrate_regimes(detector, {Regime.LOW: unjudged}, [INPUT], trials=1)
    assert alone[Regime.LOW].calibration.confidence == UNCALIBRATED
    found = calibrate_regimes(detector, {Regime.LOW: unjudged}, [INPUT], judged_elsewhere=images, trials=1)
    assert "all regimes" in found[Regime.LOW].calibration.confidence.fitted_on
    assert found.keys() == {Regime.LOW}
    assert len(found[Regime.LOW].frames) == 2


@given(st.integers(0, 7), st.integers(0, 7))
def test_simulated_images_are_no_more_than_a_supplement(real: int, simulated: int) -> None:
    blank = np.zeros((8, 8), np.uint8)
    parts = {
        made: [TrainingImage(f"{made}{i}", blank, blank.astype(np.int32), None, made) for i in range(count)]
        for made, count in ((False, real), (True, simulated))
    }
    datasets = [
        DataSet(str(made), [], images, {image.id: Regime.LOW for image in images})
        for made, images in parts.items()
    ]
    chosen = validation_images(datasets, Regime.LOW)
    assert chosen[:real] == parts[False]
    assert len(chosen) - real == min(simulated, real // 2 if real else simulated)
    assert len({image.id for image in chosen}) == len(chosen)
    assert validation_images(datasets, Regime.HIGH) == []


@pytest.fixture(scope="module")
def own(tmp_path_factory, checkpoint, small, images):
    """The same weights, as fine-tuned for low."""
    folder = tmp_path_factory.mktemp("own")
    return folder, _publish(checkpoint, folder, small, images, "low", [Regime.LOW]).manifest


def test_weights_for_one_regime_are_no_start_for_another(published, own, small) -> None:
    fresh = build_network(small)
    load_start(fresh, published[0] / "joint.safetensors", Regime.LOW)
    load_start(fresh, own[0] / "low.safetensors", Regime.LOW)
    with pytest.raises(WeightsError, match="serves only low, which is no start for high"):
        load_start(fresh, own[0] / "low.safetensors", Regime.HIGH)


@pytest.mark.parametrize("worse", [False, True])
def test_a_regimes_own_weights_ship_where_they_are_not_worse(published, own, images, tmp_path, worse) -> None:
    folder, model = published
    tuned_folder, tuned = own
    calibration = model.manifest.regimes[Regime.LOW]
    if worse:  # nothing reaches an objectness of 1
        nothing = calibration.thresholds.model_copy(update={"omega": 1.0, "psi": 1.0})
        calibration = calibration.model_copy(update={"thresholds": nothing})
    calibration = calibration.model_copy(update={"out_of_distribution": None})
    write_manifest(tuned_folder, tuned.model_copy(update={"regimes": {Regime.LOW: calibration}}))
    out = tmp_path / "ships"
    (decision,) = choose_weights(folder, [tuned_folder], out, {Regime.LOW: images[6:]})
    assert decision.ships == ("joint" if worse else "own")
    assert (decision.difference < 0) == worse
    shipped = {manifest.name: manifest for manifest in list_manifests(out)}
    assert set(shipped) == ({"joint"} if worse else {"joint", "low"})
    assert shipped["joint"].regimes[Regime.LOW].notes == decision.note
    assert JOINT_LIMIT not in shipped["joint"].limits
    assert Segmenter.load(out, precision="float32").model(Regime.LOW).name == ("joint" if worse else "low")
    assert "2 validation images" in decision.note
    with pytest.raises(ValueError, match="0 validation images"):
        choose_weights(folder, [tuned_folder], out, {})
    with pytest.raises(WeightsError, match="holds 0 models of one regime"):
        choose_weights(folder, [folder], out, {})


def test_the_report_is_one_file_with_its_pictures(published, checkpoint) -> None:
    folder, model = published
    path = write_report(checkpoint.parent, model, [])
    page = path.read_text()
    # Losses; AJI+, reliability of mask quality for three regimes; two images, once each.
    assert page.count("data:image/png;base64,") >= 1 + 3 * 2 + 2
    assert "image6" in page and "image7" in page
    assert 'src="http' not in page and read_manifest(folder / "joint.json").sha256[:12] in page


@given(st.integers(8, 9000), st.integers(8, 9000))
def test_frames_are_brought_between_the_limits(height: int, width: int) -> None:
    scale = Input(long_side_max_px=1920, long_side_min_px=512)
    reached = max(height, width) * scale_factor(height, width, scale)
    assert reached <= 1920 + 1e-6
    assert reached >= min(512, 4 * max(height, width)) - 1e-6
