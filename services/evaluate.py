"""What ``labsem evaluate`` does in its worker: load the models, measure them, write the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labsem.evaluation import (
    Candidate,
    Comparison,
    EvaluationReport,
    candidates_by_regime,
    compare,
    evaluate_annotators,
    measure_images,
    select_part,
    summarize,
)
from labsem.evaluation.page import OverlayWriter, write_page
from labsem.simulation import write_dataset
from labsem.training.datasets import LabelledImage, read_dataset
from schemas.morphology import Regime
from schemas.settings import ModelSettings
from services.segmenters import DEFAULT, Segmenter, SegmenterError, load_segmenter
from services.workers import Report

if TYPE_CHECKING:
    from labsem.evaluation.ladders import SimulatedCertainty

ALL_REGIMES = "all"


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and on what.

    Attributes
    ----------
    models
        Names of segmenters, or folders of weights.
    regime
        ``low``, ``high``, ``joint``, ``auto``, or ``all`` of them side by side.
    data
        Folders of labelled images; ``part`` is of the split that lists a folder's images, None for all.
    simulated, seed
        So many frames are simulated in the place of data.
    page
        Folder to write the page and the overlays into.
    """

    models: tuple[str, ...] = (DEFAULT,)
    regime: str = "auto"
    data: tuple[Path, ...] = ()
    part: str | None = None
    simulated: int = 0
    seed: int = 0
    page: Path | None = None


def evaluate_models(progress: Report, options: EvaluateOptions, settings: ModelSettings) -> Comparison:
    """Measure all models on the same images; with one model there is no difference.

    Raises
    ------
    SegmenterError, labsem.networks.manifest.WeightsError
        Where a model does not load.
    labsem.training.datasets.DatasetError, labsem.training.splits.SplitError
        Where the data cannot be used.
    """
    with _images(progress, options) as (images, split):
        candidates = _candidates(options, settings)
        overlays = OverlayWriter(options.page) if options.page is not None else None
        results = measure_images(
            images,
            candidates,
            display_width_m=settings.display_width_m,
            magnification_split=settings.magnification_split,
            progress=progress,
            observe=overlays.observe if overlays is not None else None,
        )
        reports = {
            each.name: summarize(results[each.name], each.regime_name, options.part, split)
            for each in candidates
        }
        comparison = compare(reports, results)
        if overlays is not None and options.page is not None:
            write_page(options.page, comparison, overlays, _title(options))
    return comparison


def evaluate_ladders(
    progress: Report, options: EvaluateOptions, seeds: Sequence[int], settings: ModelSettings
) -> dict[str, SimulatedCertainty]:
    """Ask all models for their confidence on simulated ladders.

    Raises
    ------
    SegmenterError
        Where a model does not load, or has no confidence at given boxes.
    """
    from labsem.evaluation.ladders import evaluate_simulated_certainty

    trust = {}
    for name, model in _load(options.models, settings).items():
        found = getattr(model, "trust_at", None)
        if found is None:
            raise SegmenterError(f"{name} has no confidence at given boxes; leave it out")
        trust[name] = found
    return evaluate_simulated_certainty(
        trust,
        seeds,
        None if options.regime in ("auto", ALL_REGIMES) else Regime(options.regime),
        display_width_m=settings.display_width_m,
        magnification_split=settings.magnification_split,
        progress=progress,
    )


def evaluate_label_sets(progress: Report, options: EvaluateOptions, against: Path) -> EvaluationReport:
    """Measure another annotator's labels against those of the data."""
    with _images(progress, options) as (images, _):
        return evaluate_annotators(images, against)


@contextmanager
def _images(progress: Report, options: EvaluateOptions) -> Iterator[tuple[list[LabelledImage], str | None]]:
    """The images and the name of their split; simulated frames are deleted at the end."""
    if options.simulated:
        with TemporaryDirectory(prefix="labsem-simulated-") as name:
            write_dataset(
                Path(name),
                options.simulated,
                options.seed,
                progress=lambda done, total: progress(done, total, "rendering"),
            )
            yield read_dataset(name), None
        return
    parts = [select_part(read_dataset(folder), options.part) for folder in options.data]
    splits = [split for _, split in parts if split is not None]
    yield [image for images, _ in parts for image in images], ", ".join(splits) or None


def _candidates(options: EvaluateOptions, settings: ModelSettings) -> list[Candidate]:
    loaded = _load(options.models, settings)
    candidates: list[Candidate] = []
    for name, model in loaded.items():
        trust_at = getattr(model, "trust_at", None)
        if options.regime == ALL_REGIMES:
            prefix = name if len(loaded) > 1 else ""
            candidates += candidates_by_regime(prefix, model.segment, trust_at)
        else:
            regime = None if options.regime == "auto" else Regime(options.regime)
            candidates.append(Candidate(name, model.segment, trust_at, regime))
    return candidates


def _load(models: Sequence[str], settings: ModelSettings) -> dict[str, Segmenter]:
    """Models by names that tell them apart: a folder's own name, where no other has it."""
    loaded: dict[str, Segmenter] = {}
    for model in models:
        folder = Path(model)
        is_folder = folder.is_dir()
        name = folder.resolve().name if is_folder else model
        if name in loaded:
            name = model
        if name in loaded:
            raise SegmenterError(f"{model} is named twice; name each model once")
        if is_folder:
            loaded[name] = load_segmenter(DEFAULT, settings.model_copy(update={"folder": folder}))
        else:
            loaded[name] = load_segmenter(model, settings)
    return loaded


def _title(options: EvaluateOptions) -> str:
    if options.simulated:
        return f"{options.simulated} simulated frames, seed {options.seed}"
    names = ", ".join(folder.resolve().name for folder in options.data)
    return f"{names}, part {options.part}" if options.part else names
