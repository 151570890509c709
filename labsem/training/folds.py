"""Cross-validation over all judged images: :func:`train_folds`.

Each fold starts from the one network that saw no judged image, is fine-tuned on the judged images of the other folds
with the unjudged train parts and simulated frames as replay, looks once at the images held out from it, and is
thrown away. What it said of them stays, one file for each image, from which :mod:`labsem.evaluation.folds` measures;
a fold that is finished is not repeated. Test parts are held out like any other here, and no weights are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from labsem.networks.detector import Detections, Detector
from labsem.networks.manifest import Input
from labsem.networks.trainable import DetectionNetwork
from labsem.normalisation import grey_levels, normalise
from labsem.training.calibrate import INPUTS, NMS_IOU, SCORE_MIN
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.evidence import choose_judged, collect_evidence, fit_evidence
from labsem.training.labels import true_boxes
from labsem.training.material import load_datasets, to_training_image
from labsem.training.options import TrainingOptions
from labsem.training.publish import load_network
from labsem.training.sampling import TrainingImage
from labsem.training.splits import EMPS_NEAR_DUPLICATES
from labsem.training.train import CHECKPOINT, train
from schemas.morphology import Regime

log = structlog.get_logger(__name__)

FOLDS: Final = 5
MINUTES: Final = 20.0
"""Of fine-tuning a fold, where neither minutes nor steps are given."""

JUDGED_WEIGHT: Final = 4.0
"""Judged images are drawn so much more often than the replay: about half of the crops are theirs."""

FOLDS_FILE: Final = "folds.json"
INPUT_FILE: Final = "input.json"
"""The size at which a fold's network saw its images; written last: a fold that has it is finished."""

Progress = Callable[[float, str], None]
"""Called with the share of all folds that is done, and what is being done."""


@dataclass(frozen=True)
class HeldOut:
    """What the network of a fold said of an image that it never saw.

    Attributes
    ----------
    detections
        Before combination, with the image's grey values.
    truth_objectness, truth_expected
        (T,) objectness and expected bin centre of the network at the boxes of the true particles, in label order.
    input
        The size at which the network saw it.
    """

    dataset: str
    fold: int
    image: LabelledImage
    detections: Detections
    truth_objectness: NDArray[np.float64]
    truth_expected: NDArray[np.float64]
    input: Input


def deal_folds(uncertain: Mapping[str, int], count: int = FOLDS, seed: int = 0) -> list[frozenset[str]]:
    """Deal the judged images of one data set to folds that are alike in size and in uncertain particles.

    Images are ordered by their number of uncertain particles and dealt in rounds of one to each fold, in random order;
    so a data set of at most ``count`` images has at most one in a fold. Near-duplicates share a fold.

    Parameters
    ----------
    uncertain
        Number of uncertain particles by image.
    count
        Number of folds, at least 2.
    seed
        The same seed deals the same folds.

    Raises
    ------
    ValueError
        Where ``count`` is under 2.
    """
    if count < 2:
        raise ValueError(f"folds: {count}; cross-validation needs at least 2")
    rng = np.random.default_rng([seed, count])
    first, second = EMPS_NEAR_DUPLICATES
    together = first in uncertain and second in uncertain
    ids = sorted(uncertain.keys() - ({second} if together else set()))
    tie = dict(zip(ids, rng.permutation(len(ids)).tolist(), strict=True))
    ids.sort(key=lambda name: (-uncertain[name], tie[name]))
    folds: list[set[str]] = [set() for _ in range(count)]
    for start in range(0, len(ids), count):
        for fold, name in zip(rng.permutation(count).tolist(), ids[start : start + count], strict=False):
            folds[fold] |= {first, second} if together and name == first else {name}
    return [frozenset(fold) for fold in folds]


def train_folds(
    options: TrainingOptions,
    folds: int = FOLDS,
    progress: Progress | None = None,
    *,
    scale: Input = INPUTS[0],
) -> None:
    """Fine-tune, apply and throw away the network of every fold that is not finished in ``options.output``.

    Parameters
    ----------
    options
        As of a joint training: ``data`` are the folders with the judged images and the replay, ``start_from`` the
        network that saw no judged image, ``minutes`` or ``steps`` those of one fold.
    scale
        The size at which the networks see the images held out.

    Raises
    ------
    ValueError
        Where there is no network to start from, no judged image, or ``output`` holds folds of other options.
    """
    if options.start_from is None:
        raise ValueError(
            "start_from: none given; train a network with --leave-out-judged first and name its file"
        )
    if options.minutes is None and options.steps is None:
        options = options.model_copy(update={"minutes": MINUTES})
    _claim(options, folds)
    material = _load(options, folds)
    for fold in range(folds):
        folder = fold_folder(options.output, fold)
        if (folder / INPUT_FILE).is_file():
            continue

        def report(done: float, what: str, fold: int = fold) -> None:
            if progress is not None:
                progress((fold + done) / folds, f"fold {fold + 1} of {folds}: {what}")

        checkpoint = _fine_tune(options, material, fold, report)
        network, _ = load_network(checkpoint, options.architecture)
        report(0.8, "uncertainty head")
        detector = _with_head(network, options, material, fold, scale)
        report(0.9, "held-out images")
        for name, images in material.judged.items():
            for image_id in sorted(material.dealt[name][fold]):
                _apply(detector, scale, images[image_id], folder / f"{name}-{image_id}.npz")
        (folder / INPUT_FILE).write_text(scale.model_dump_json(indent=2) + "\n", encoding="utf-8")
        checkpoint.unlink()
        log.info("fold finished", fold=fold)


@dataclass(frozen=True)
class _Material:
    """Judged images by data set and id, the folds by data set, and what every fold shares."""

    judged: dict[str, dict[str, TrainingImage]]
    dealt: dict[str, list[frozenset[str]]]
    replay: list[list[TrainingImage]]

    def learned(self, fold: int) -> list[list[TrainingImage]]:
        """Judged images of the other folds, by data set."""
        return [
            [image for image_id, image in images.items() if image_id not in self.dealt[name][fold]]
            for name, images in self.judged.items()
        ]


def _load(options: TrainingOptions, folds: int) -> _Material:
    judged = find_judged(options.data)
    if not any(judged.values()):
        raise ValueError(
            "no image of the data folders was judged for certainty (uncertain/README.csv); name a folder with some"
        )
    shared = load_datasets(options.model_copy(update={"leave_out_judged": True, "regime": Regime.JOINT}))
    return _Material(
        judged={name: {image.id: to_training_image(image) for image in of} for name, of in judged.items()},
        dealt={
            name: deal_folds(
                {image.id: len(image.uncertain_ids() or ()) for image in of}, folds, options.seed
            )
            for name, of in judged.items()
        },
        replay=[one.training for one in shared],
    )


def _fine_tune(
    options: TrainingOptions, material: _Material, fold: int, report: Callable[[float, str], None]
) -> Path:
    """Train the network of a fold, from its checkpoint where it was interrupted."""
    learned = material.learned(fold)
    folder = fold_folder(options.output, fold)
    own = {
        "output": folder,
        "seed": options.seed + fold,
        "regime": Regime.JOINT,
        "resume": (folder / CHECKPOINT).is_file(),
    }
    return train(
        options.model_copy(update=own),
        [*learned, *material.replay],
        lambda done, losses, _: report(0.8 * done, f"loss {sum(losses.values()):.3f}"),
        weights=[JUDGED_WEIGHT] * len(learned) + [1.0] * len(material.replay),
    )


def _with_head(
    network: DetectionNetwork, options: TrainingOptions, material: _Material, fold: int, scale: Input
) -> Detector:
    """The network of a fold with a head on evidence from what that fold learned."""
    plain = Detector(network, precision="float32")
    if not network.takes_evidence:
        return plain
    learned = [image for images in (*material.learned(fold), *material.replay) for image in images]
    data = collect_evidence(plain, choose_judged(learned), scale)
    return Detector(network, precision="float32", head=fit_evidence(data, options.uncertainty))


def fold_folder(output: Path, fold: int) -> Path:
    """Folder of one fold."""
    return output / f"fold-{fold}"


def find_judged(data: Sequence[Path]) -> dict[str, list[LabelledImage]]:
    """Images of each folder whose certainty was judged, by the folder's name; all parts of its split."""
    return {folder.name: [image for image in read_dataset(folder) if image.judged] for folder in data}


def read_held_out(output: Path, data: Sequence[Path]) -> Iterator[HeldOut]:
    """What the finished folds of a folder said, image by image.

    Raises
    ------
    FileNotFoundError
        Where no fold is finished.
    """
    judged = find_judged(data)
    finished = sorted(output.glob(f"fold-*/{INPUT_FILE}"))
    if not finished:
        raise FileNotFoundError(f"{output} holds no finished fold; run labsem crossvalidate into it")
    for path in finished:
        fold = int(path.parent.name.removeprefix("fold-"))
        scale = Input.model_validate_json(path.read_bytes())
        for name, images in judged.items():
            for image in images:
                stored = path.parent / f"{name}-{image.id}.npz"
                if stored.is_file():
                    yield _read(stored, name, fold, image, scale)


def _claim(options: TrainingOptions, folds: int) -> None:
    """Write down what the folds of this folder are made with; refuse a folder of others."""
    path = options.output / FOLDS_FILE
    wanted = {"folds": folds, "options": options.model_dump(mode="json", exclude={"output", "resume"})}
    if not path.is_file():
        options.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8")) != wanted:
        raise ValueError(f"{path} tells of folds of other options; give the same options, or another folder")


def _apply(detector: Detector, scale: Input, image: TrainingImage, path: Path) -> None:
    """Store what a network says of an image: its detections, and trust at the true boxes."""
    found = detector.detect(image.grey, scale, score_min=SCORE_MIN, nms_iou=NMS_IOU)
    at_truth = detector.at_boxes(image.grey, true_boxes(image.labels)[1], scale)
    np.savez_compressed(
        path,
        boxes=found.boxes,
        masks=found.masks.half().numpy(),
        objectness=found.objectness,
        expected_confidence=found.expected_confidence,
        mask_certainty=found.mask_certainty,
        truth_objectness=at_truth.objectness,
        truth_expected=at_truth.expected_confidence,
    )


def _read(path: Path, dataset: str, fold: int, image: LabelledImage, scale: Input) -> HeldOut:
    pixels = image.pixels()
    with np.load(path) as stored:
        detections = Detections(
            grey=normalise(pixels, grey_levels(pixels)),
            boxes=stored["boxes"],
            masks=torch.from_numpy(stored["masks"]).float(),
            objectness=stored["objectness"],
            expected_confidence=stored["expected_confidence"],
            mask_certainty=stored["mask_certainty"],
        )
        return HeldOut(
            dataset=dataset,
            fold=fold,
            image=image,
            detections=detections,
            truth_objectness=stored["truth_objectness"],
            truth_expected=stored["truth_expected"],
            input=scale,
        )
