"""What a comparison of architectures says: figures over seeds, and paired differences over images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from labsem.evaluation.bootstrap import mean_interval, paired_bootstrap
from labsem.evaluation.report import Difference, EvaluationReport
from labsem.networks.manifest import Manifest
from labsem.networks.registry import count_parameters, named_architecture, recipe
from labsem.training.options import CROP_PX

ALL = "all"
"""Name of all test images together."""

Measured = Mapping[tuple[str, int], Mapping[str, EvaluationReport]]
"""By architecture and seed, the reports by test data set."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparisonPlan(_Part):
    """What every run of a comparison has in common."""

    data: tuple[Path, ...] = Field(
        min_length=1, description="learned from, validated on and, where a split has a test part, measured on"
    )
    test: tuple[Path, ...] = Field(default=(), description="measured on as a whole, besides")
    steps: int = Field(gt=0)
    batch: int | None = Field(default=None, ge=1, description="crops in a step; none: each one's recipe")
    crop_px: int = Field(default=CROP_PX, ge=64, multiple_of=64)
    threshold_trials: int = Field(default=120, ge=1)


class RunFigures(_Part):
    """One trained network on the test images, by data set and over all."""

    architecture: str
    seed: int
    start: str
    steps: int
    batch: int
    training_seconds: float
    parameters: int
    sha256: str
    aji_plus: dict[str, float]
    f1: dict[str, float]


class ArchitectureFigures(_Part):
    """An architecture's mean over seeds, with the interval over images."""

    architecture: str
    data: str
    images: int
    aji_plus: float
    aji_plus_interval_95: tuple[float, float] | None
    f1: float
    f1_interval_95: tuple[float, float] | None


class ArchitectureDifference(_Part):
    """First less second on the same images, each image's figure being its mean over seeds."""

    first: str
    second: str
    data: str
    aji_plus: Difference
    f1: Difference


class ArchitectureComparison(_Part):
    """What a comparison gives; kept as ``comparison.json``."""

    plan: ComparisonPlan
    architectures: tuple[str, ...]
    seeds: int
    figures: tuple[ArchitectureFigures, ...]
    differences: tuple[ArchitectureDifference, ...]
    runs: tuple[RunFigures, ...]


def run_figures(
    name: str, seed: int, manifest: Manifest, reports: Mapping[str, EvaluationReport]
) -> RunFigures:
    """Figures of one trained network."""
    architecture = named_architecture(name)
    batch = manifest.training["options"].get("batch")  # type: ignore[attr-defined]
    return RunFigures(
        architecture=name,
        seed=seed,
        start=str(manifest.training["start"]),
        steps=int(str(manifest.training["steps"])),
        batch=batch or recipe(architecture).batch,
        training_seconds=float(str(manifest.training["seconds"])),
        parameters=count_parameters(architecture),
        sha256=manifest.sha256,
        aji_plus={data: float(_rows(reports, data, "aji_plus").mean()) for data in (*reports, ALL)},
        f1={data: float(_rows(reports, data, "f1").mean()) for data in (*reports, ALL)},
    )


def _rows(reports: Mapping[str, EvaluationReport], data: str, figure: str) -> NDArray[np.float64]:
    """(N,) figures of the images of one data set, or of all."""
    chosen = reports.values() if data == ALL else [reports[data]]
    return np.array([getattr(row, figure) for report in chosen for row in report.rows], np.float64)


def _over_seeds(
    measured: Measured,
    name: str,
    seeds: int,
    data: str,
    figure: str,
) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(
        [_rows(measured[name, seed], data, figure) for seed in range(seeds)], axis=0
    )
    return mean


def architecture_figures(
    measured: Measured,
    architectures: Sequence[str],
    seeds: int,
) -> list[ArchitectureFigures]:
    """Each architecture on all test images and on each data set."""
    found = []
    for name in architectures:
        for data in (ALL, *measured[name, 0]):
            aji = _over_seeds(measured, name, seeds, data, "aji_plus")
            f1 = _over_seeds(measured, name, seeds, data, "f1")
            found.append(
                ArchitectureFigures(
                    architecture=name,
                    data=data,
                    images=len(aji),
                    aji_plus=float(aji.mean()),
                    aji_plus_interval_95=mean_interval(aji),
                    f1=float(f1.mean()),
                    f1_interval_95=mean_interval(f1),
                )
            )
    return found


def architecture_differences(
    measured: Measured,
    architectures: Sequence[str],
    seeds: int,
) -> list[ArchitectureDifference]:
    """Every two architectures on the same images."""
    found = []
    for first, second in itertools.combinations(architectures, 2):
        for data in (ALL, *measured[first, 0]):
            gains = [
                _difference(*(_over_seeds(measured, name, seeds, data, figure) for name in (first, second)))
                for figure in ("aji_plus", "f1")
            ]
            found.append(
                ArchitectureDifference(first=first, second=second, data=data, aji_plus=gains[0], f1=gains[1])
            )
    return found


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    if len(first) < 2:
        gain = float((first - second).mean())
        return Difference(
            difference=gain, interval_95=None, share_not_better=float(gain <= 0), images=len(first)
        )
    paired = paired_bootstrap(first, second)
    return Difference(
        difference=paired.difference,
        interval_95=paired.interval_95,
        share_not_better=paired.share_not_better,
        images=len(first),
    )
