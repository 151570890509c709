"""A model's card: what its manifest says, to be read by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.output import cell, show, stdout, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsem.networks.manifest import Manifest

_COUNTS = ("images", "particles", "judged_images", "uncertain_particles")


def print_card(manifest: Manifest, parameters: int | None) -> None:
    """Print a card: what it is, figures, training data, use by regime, limits, licence."""
    show(
        f"{manifest.name} {manifest.version}, made {manifest.created_at:%Y-%m-%d} by labsem {manifest.code_version}"
    )
    size = f"{manifest.size_bytes / 1e6:.1f} MB" + ("" if parameters is None else f", {parameters:,} numbers")
    show(f"weights: {manifest.weights}, {size}")
    show(f"SHA-256: {manifest.sha256}")
    architecture = ", ".join(f"{name} {cell(value)}" for name, value in manifest.architecture.items())
    show(f"architecture: {architecture}")
    show(f"ranked by: {manifest.objectness}; confidence from: {manifest.confidence_from}")
    _print_figures(manifest.metrics)
    _print_training(manifest.training)
    _print_regimes(manifest)
    for limit in manifest.limits:
        show(f"limit: {limit}")
    show(f"licence: {manifest.licence}")


def _print_figures(metrics: Mapping[str, Any]) -> None:
    for part, figures in metrics.items():
        if not isinstance(figures, dict):
            show(f"{part}: {cell(figures)}")
            continue
        rows = {name: value for name, value in figures.items() if isinstance(value, dict)}
        if not rows:
            rows, figures = {part: figures}, {}
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        stdout().print(
            table(
                f"Measured: {part}",
                ("on", *(name.replace("_", " ") for name in columns)),
                [(name, *(_figure(row.get(column)) for column in columns)) for name, row in rows.items()],
            )
        )
        for name, value in figures.items():
            if name not in rows:
                show(f"{name.replace('_', ' ')}: {cell(value)}")


def _print_training(training: Mapping[str, Any]) -> None:
    begun = training.get("start")
    show(f"trained: {cell(training.get('steps'))} steps, from {cell(begun)}")
    rows = []
    for dataset in training.get("datasets", ()):
        for part in ("training", "validation"):
            counts = dataset.get(part)
            if not isinstance(counts, dict):  # manifests of version 0.1.0 hold flat counts
                counts = {name: dataset.get(f"{part}_{name}") for name in _COUNTS}
            rows.append(
                (dataset["name"], part, *(counts.get(name) for name in _COUNTS), dataset.get("licence"))
            )
    columns = ("data set", "part", "images", "particles", "judged images", "uncertain", "licence")
    stdout().print(table("Learned from", columns, rows, right=columns[2:6]))
    for stage in training.get("stages", ()):
        show(f"stage: {stage}")
    previous = training.get("previous")
    if isinstance(previous, dict):
        show(
            f"started from {previous.get('name')} {previous.get('version')} ({cell(previous.get('sha256'))[:12]}):"
        )
        _print_training(previous.get("training", {}))


def _print_regimes(manifest: Manifest) -> None:
    columns = ("regime", "input px", "detection floor px", "thresholds", "confidence fitted on", "notes")
    rows = []
    for regime, one in manifest.regimes.items():
        thresholds = ", ".join(f"{name} {cell(value)}" for name, value in one.thresholds)
        rows.append(
            (
                regime.value,
                f"{one.input.long_side_min_px} to {one.input.long_side_max_px}",
                one.detection_floor_px,
                thresholds,
                one.confidence.fitted_on,
                one.notes,
            )
        )
    stdout().print(table("Use", columns, rows))


def _figure(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 2:
        return " to ".join(cell(each) for each in value)
    return cell(value)
