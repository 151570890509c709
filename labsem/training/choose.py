"""Whether a network fine-tuned for one regime ships: only where it is not worse than joint on validation images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from labsem.evaluation.bootstrap import paired_bootstrap
from labsem.evaluation.overlap import find_overlaps
from labsem.networks.manifest import Manifest, WeightsError, list_manifests, verify
from labsem.networks.segmenter import Segmenter
from labsem.training.pipeline import JOINT_LIMIT
from labsem.training.publish import write_manifest
from labsem.training.sampling import TrainingImage
from labsem.training.thresholds import score_overlaps
from schemas.morphology import Regime

Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""


class Decision(BaseModel):
    """Which weights serve a regime, and why.

    Attributes
    ----------
    own_score, joint_score
        Mean AJI+ plus half the F1 on the validation images.
    difference, interval_95
        Own less joint, image by image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    regime: Regime
    ships: Literal["own", "joint"]
    own: str
    images: int
    own_aji_plus: float
    joint_aji_plus: float
    own_score: float
    joint_score: float
    difference: float
    interval_95: tuple[float, float]

    @property
    def note(self) -> str:
        """For the manifest."""
        low, high = self.interval_95
        return (
            f"{self.ships} weights: on {self.images} validation images {self.own}, fine-tuned for {self.regime.value}, "
            f"has AJI+ {self.own_aji_plus:.3f} and joint {self.joint_aji_plus:.3f}; AJI+ + F1/2 differs by "
            f"{self.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
        )


def choose_weights(
    joint: Path,
    own: Sequence[Path],
    out: Path,
    validation: Mapping[Regime, Sequence[TrainingImage]],
    progress: Progress | None = None,
) -> list[Decision]:
    """Write the models that ship into a folder: joint, and fine-tuned ones that are not worse.

    Parameters
    ----------
    joint
        Folder of the joint model.
    own
        Folders of models that serve one regime each.
    out
        Where what ships is written; the decision stands in the notes of each regime's calibration.
    validation
        Images by regime.

    Raises
    ------
    WeightsError
        Where a folder holds no fitting model.
    ValueError
        Where a regime has fewer than two validation images.
    """
    models = _only(list_manifests(joint), joint, lambda one: Regime.JOINT in one.regimes, "the joint regime")
    found = [_only(list_manifests(folder), folder, _serves_one, "one regime") for folder in own]
    decisions: list[Decision] = []
    chosen: list[tuple[Path, Manifest]] = []
    notes: dict[Regime, str] = {}
    for folder, manifest in zip(own, found, strict=True):
        if manifest.name == models.name:
            raise WeightsError(
                f"{folder} and {joint} hold models of the same name, {manifest.name}; rename one"
            )
        ((regime, calibration),) = manifest.regimes.items()
        decision = _decide(joint, models, folder, manifest, regime, validation.get(regime, ()), progress)
        decisions.append(decision)
        notes[regime] = decision.note
        if decision.ships == "own":
            noted = calibration.model_copy(update={"notes": decision.note})
            chosen.append((folder, manifest.model_copy(update={"regimes": {regime: noted}})))
    kept = {
        regime: calibration.model_copy(update={"notes": notes.get(regime, calibration.notes)})
        for regime, calibration in models.regimes.items()
    }
    limits = tuple(limit for limit in models.limits if limit != JOINT_LIMIT)
    out.mkdir(parents=True, exist_ok=True)
    for folder, manifest in [(joint, models.model_copy(update={"regimes": kept, "limits": limits})), *chosen]:
        source = verify(manifest, folder)
        if source.resolve() != (out / manifest.weights).resolve():
            shutil.copyfile(source, out / manifest.weights)
        write_manifest(out, manifest)
    return decisions


def _serves_one(manifest: Manifest) -> bool:
    return len(manifest.regimes) == 1 and Regime.JOINT not in manifest.regimes


def _only(
    manifests: Sequence[Manifest], folder: Path, fits: Callable[[Manifest], bool], what: str
) -> Manifest:
    fitting = [manifest for manifest in manifests if fits(manifest)]
    if len(fitting) != 1:
        raise WeightsError(f"{folder} holds {len(fitting)} models of {what}; give a folder with exactly one")
    return fitting[0]


def _decide(
    joint: Path,
    shared: Manifest,
    folder: Path,
    manifest: Manifest,
    regime: Regime,
    images: Sequence[TrainingImage],
    progress: Progress | None,
) -> Decision:
    if len(images) < 2:
        raise ValueError(
            f"the regime {regime.value} has {len(images)} validation images; give data folders with two at least"
        )
    with tempfile.TemporaryDirectory() as together:
        both = Path(together)
        for source, model in ((joint, shared), (folder, manifest)):
            shutil.copyfile(verify(model, source), both / model.weights)
            write_manifest(both, model)
        own_aji, own_score = _measure(Segmenter.load(both, precision="float32"), regime, images, progress)
        (both / f"{manifest.name}.json").unlink()
        joint_aji, joint_score = _measure(Segmenter.load(both, precision="float32"), regime, images, progress)
    difference = paired_bootstrap(own_score, joint_score)
    return Decision(
        regime=regime,
        ships="own" if difference.difference >= 0 else "joint",
        own=manifest.name,
        images=len(images),
        own_aji_plus=float(own_aji.mean()),
        joint_aji_plus=float(joint_aji.mean()),
        own_score=float(own_score.mean()),
        joint_score=float(joint_score.mean()),
        difference=difference.difference,
        interval_95=difference.interval_95,
    )


def _measure(
    segmenter: Segmenter, regime: Regime, images: Sequence[TrainingImage], progress: Progress | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    overlaps = []
    for done, image in enumerate(images):
        if progress is not None:
            progress(
                done / len(images),
                f"{segmenter.model(regime).name} on {regime.value}, {done} of {len(images)}",
            )
        overlaps.append(find_overlaps(image.labels, segmenter.segment(image.grey, regime).label_image))
    reached = score_overlaps(overlaps)
    return reached.aji_plus, reached.per_image
