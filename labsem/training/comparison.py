"""Architectures trained alike and compared on test parts: ``labsem bench architectures``.

Every run sees the same crops of the train parts in the same order (the seed decides them) for the same number of
optimiser steps, is calibrated on the validation parts and measured on the test parts. What is finished is kept, so
that the same call goes on where it was left, or adds architectures and seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from labsem.evaluation.report import EvaluationReport
from labsem.evaluation.run import evaluate
from labsem.frames import write_atomically
from labsem.networks.manifest import Manifest, read_manifest
from labsem.networks.registry import named_architecture
from labsem.networks.segmenter import Segmenter
from labsem.training.comparison_report import (
    ArchitectureComparison,
    ComparisonPlan,
    RunFigures,
    architecture_differences,
    architecture_figures,
    run_figures,
)
from labsem.training.datasets import LabelledImage, read_dataset
from labsem.training.material import DataSet, load_datasets
from labsem.training.options import TrainingOptions
from labsem.training.pipeline import train_model
from labsem.training.splits import SPLIT_NAMES, load_split
from labsem.training.train import CHECKPOINT
from schemas.morphology import Regime

NAME = "joint"
PLAN = "plan.json"
MEASURED = "measured"
REPORT = "comparison.json"

Notify = Callable[[float, str], None]
"""Called with the fraction done of everything, and what is being done."""


def compare_architectures(
    plan: ComparisonPlan,
    output: Path,
    *,
    architectures: Sequence[str] = ("lite2", "unet-lite2"),
    seeds: int = 2,
    notify: Notify | None = None,
) -> ArchitectureComparison:
    """Train what is not trained yet, measure what is not measured yet, and compare.

    Parameters
    ----------
    output
        Folder of a run for each architecture and seed, and of the report.
    notify
        Called often; may raise KeyboardInterrupt to stop.

    Raises
    ------
    ValueError
        Where a name is unknown, the folder holds a comparison by another plan, or no test image is left.
    labsem.training.datasets.DatasetError
        Where a folder cannot be read.
    """
    notify = notify or (lambda _done, _what: None)
    for name in architectures:
        named_architecture(name)
    tests = find_test_images(plan)
    _claim(plan, output)
    runs = list(itertools.product(range(seeds), architectures))
    measured: dict[tuple[str, int], dict[str, EvaluationReport]] = {}
    figures: list[RunFigures] = []
    datasets: list[DataSet] = []
    for done, (seed, name) in enumerate(runs):
        tell = _teller(notify, done, len(runs), f"{name}, seed {seed}")
        folder = output / f"{name}-{seed}"
        manifest = _finished(folder, plan.steps)
        if manifest is None:
            options = _options(plan, name, seed, folder)
            datasets = datasets or load_datasets(options)
            manifest = train_model(options, tell, name=NAME, datasets=datasets).manifest
        measured[name, seed] = {
            data: _measure(folder, manifest, data, images, tell) for data, images in tests.items()
        }
        figures.append(run_figures(name, seed, manifest, measured[name, seed]))
    comparison = ArchitectureComparison(
        plan=plan,
        architectures=tuple(architectures),
        seeds=seeds,
        figures=tuple(architecture_figures(measured, architectures, seeds)),
        differences=tuple(architecture_differences(measured, architectures, seeds)),
        runs=tuple(figures),
    )
    write_atomically(output / REPORT, (comparison.model_dump_json(indent=2) + "\n").encode())
    return comparison


def _teller(notify: Notify, done: int, runs: int, run: str) -> Notify:
    return lambda fraction, what: notify((done + fraction) / runs, f"{run}: {what}")


def find_test_images(plan: ComparisonPlan) -> dict[str, list[LabelledImage]]:
    """Test images by data set: the committed test parts of the data folders, and the test folders as they are.

    Raises
    ------
    ValueError
        Where there is none.
    """
    listed = frozenset(image_id for name in SPLIT_NAMES for image_id in load_split(name).part("test"))
    found: dict[str, list[LabelledImage]] = {}
    for folder in plan.data:
        chosen = [image for image in read_dataset(folder) if image.id in listed]
        found.setdefault(folder.name, []).extend(chosen)
    for folder in plan.test:
        chosen = [image for image in read_dataset(folder) if image.mask_path is not None]
        found.setdefault(folder.name, []).extend(chosen)
    found = {name: images for name, images in found.items() if images}
    if not found:
        raise ValueError(
            "no test image: none of these folders has a committed test part; give a folder of labelled images that "
            "nothing was trained on with --test"
        )
    return found


def _claim(plan: ComparisonPlan, output: Path) -> None:
    """Refuse a folder of runs that are not comparable with these."""
    path = output / PLAN
    if path.is_file():
        try:
            before = ComparisonPlan.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{path} cannot be read: {error}; give an empty folder") from error
        if _resolved(before) != _resolved(plan):
            raise ValueError(
                f"{output} holds runs by another plan ({path}); give the same data, steps, batch and crop, or an empty "
                f"folder"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (plan.model_dump_json(indent=2) + "\n").encode())


def _resolved(plan: ComparisonPlan) -> ComparisonPlan:
    return plan.model_copy(
        update={
            "data": tuple(folder.resolve() for folder in plan.data),
            "test": tuple(folder.resolve() for folder in plan.test),
        }
    )


def _options(plan: ComparisonPlan, name: str, seed: int, folder: Path) -> TrainingOptions:
    return TrainingOptions(
        data=plan.data,
        output=folder,
        architecture=named_architecture(name),
        steps=plan.steps,
        seed=seed,
        batch=plan.batch,
        crop_px=plan.crop_px,
        resume=(folder / CHECKPOINT).is_file(),
        validate_every=0,
        threshold_trials=plan.threshold_trials,
    )


def _finished(folder: Path, steps: int) -> Manifest | None:
    path = folder / f"{NAME}.json"
    if not path.is_file():
        return None
    manifest = read_manifest(path)
    return manifest if manifest.training.get("steps") == steps else None


def _measure(
    folder: Path, manifest: Manifest, data: str, images: Sequence[LabelledImage], tell: Notify
) -> EvaluationReport:
    """The report of a run on test images; once measured it is kept."""
    # In a folder of its own: what lies beside weights is read as a manifest.
    path = folder / MEASURED / f"{data}-{manifest.sha256[:12]}.json"
    if path.is_file():
        kept = EvaluationReport.model_validate_json(path.read_bytes())
        if [row.id for row in kept.rows] == [image.id for image in images]:
            return kept
    report = evaluate(
        images,
        Segmenter.load(folder).segment,
        Regime.JOINT,
        progress=lambda done, total: tell(1.0, f"{data}, image {done} of {total}"),
    )
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (report.model_dump_json(indent=2) + "\n").encode())
    return report
