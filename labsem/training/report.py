"""The report of a training: ``report.html``, one file with its pictures in it."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from labsem.figures.overlay import draw_overlay
from labsem.frames import write_atomically
from labsem.networks.segmenter import apply_platt, logit, to_segmentation
from labsem.training import figures
from labsem.training.calibrate import Calibrated, judged_matches, quality_matches
from labsem.training.data_report import DataSetReport
from labsem.training.history import LOSSES, VALIDATION, read_log
from labsem.training.publish import Published
from schemas.morphology import Regime

REPORT = "report.html"
SHOWN = 3
"""So many of the best and of the worst images are shown."""


def write_report(folder: Path, published: Published, datasets: Sequence[DataSetReport]) -> Path:
    """Write the report of a training into its folder.

    Parameters
    ----------
    folder
        With the logs of the training.
    published
        The model, and what it was calibrated on.
    datasets
        What it learned from.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["uri"] = _data_uri
    source = files("labsem.training").joinpath("report.html.j2").read_text("utf-8")
    losses, looks = read_log(folder / LOSSES)[1], read_log(folder / VALIDATION)[1]
    whole = Regime.JOINT if Regime.JOINT in published.regimes else next(iter(published.regimes))
    page = environment.from_string(source).render(
        manifest=published.manifest,
        datasets=datasets,
        losses=figures.loss_curves(losses) if losses else None,
        looks=figures.validation_curve(looks) if looks else None,
        regimes=[_regime(regime, found) for regime, found in published.regimes.items()],
        shown=_overlays(published.regimes[whole]),
    )
    write_atomically(folder / REPORT, page.encode())
    return folder / REPORT


def _regime(regime: Regime, found: Calibrated) -> dict[str, Any]:
    calibration = found.calibration
    expected, certain = judged_matches(found.frames, found.kept)
    confidence = apply_platt(calibration.confidence, logit(expected)[:, None])
    inputs, right = quality_matches(found.frames, found.kept)
    quality = apply_platt(calibration.mask_quality, inputs)
    particles = np.array([len(frame.truth_ids) for frame in found.frames])
    return {
        "name": regime.value,
        "images": len(found.frames),
        "calibration": calibration,
        "aji": figures.aji_by_image(found.score.aji_plus, particles),
        "confidence": figures.reliability_diagram(confidence, certain, "confidence")
        if len(certain)
        else None,
        "histogram": figures.confidence_histogram(confidence, certain) if len(certain) else None,
        "quality": figures.reliability_diagram(quality, right, "mask quality") if len(right) else None,
    }


def _overlays(found: Calibrated) -> list[dict[str, Any]]:
    order = np.argsort(found.score.aji_plus, kind="stable")
    worst, best = order[:SHOWN], [place for place in order[::-1][:SHOWN] if place not in order[:SHOWN]]
    return [_overlay(found, int(place), "worst") for place in worst] + [
        _overlay(found, int(place), "best") for place in best
    ]


def _overlay(found: Calibrated, place: int, kind: str) -> dict[str, Any]:
    frame, aji = found.frames[place], float(found.score.aji_plus[place])
    calibration = found.calibration.model_copy(update={"out_of_distribution": None})
    segmentation = to_segmentation(frame.detections, calibration)
    caption = f"{frame.image.id}: AJI+ {aji:.2f}, {len(frame.truth_ids)} labelled, {len(segmentation)} found"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overlay.png"
        draw_overlay(frame.image.grey, segmentation, None, path)
        picture = path.read_bytes()
    return {"kind": kind, "caption": caption, "picture": picture}


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
