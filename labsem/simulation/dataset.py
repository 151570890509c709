"""Labelled data sets of simulated frames, in the layout that training and evaluation read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from labsem.frames import FrameMetadata, write_frame
from labsem.simulation.random_frames import random_world, stub_world
from labsem.simulation.render import SIMULATOR_VERSION, SimulatedFrame, render
from labsem.simulation.scene import Regime
from labsem.simulation.truth import TrueParticle
from schemas.image import Acquisition

FileFormat = Literal["png", "tiff"]
Powders = Literal["random", "stub"]

DATABAR_ROWS: Final = 64

_METADATA: Final = (
    "id",
    "modality",
    "hfw_um",
    "pixel_size_nm",
    "nominal_magnification",
    "particles",
    "regime",
    "frame_seed",
    "seed",
    "x_mm",
    "y_mm",
    "defocus_um",
    "astigmatism_um",
    "accelerating_voltage_kv",
    "dwell_time_ns",
    "frame_averages",
    "detector",
    "bits",
    "simulator_version",
)

_PARTICLES: Final = (
    "id",
    "label",
    "particle_id",
    "certain",
    "visible_fraction",
    "contrast_to_noise",
    "faint_border_fraction",
    "blur_px",
    "ecd_px",
    "ecd_um",
    "full_area_px",
)


def write_dataset(
    folder: Path,
    count: int,
    seed: int,
    regime: Regime | Literal["both"] = "both",
    width_px: int = 1024,
    height_px: int = 768,
    *,
    file_format: FileFormat = "png",
    bits: Literal[8, 16] = 8,
    databar: bool = False,
    powders: Powders = "random",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``count`` labelled frames: ``images/``, ``masks/``, ``uncertain/``, ``metadata.csv``, ``particles.csv``.

    Parameters
    ----------
    folder
        Made where it does not exist.
    seed
        The same seed gives the same frames; frame k does not depend on ``count``. It is
        ``random_frame(frame_seed, regime, width_px, height_px)`` of its row in ``metadata.csv``, where all is random.
    regime
        ``both`` alternates low and high magnification.
    file_format
        ``tiff`` writes what a Phenom would, with its acquisition as XML.
    bits
        8 or 16 for a pixel.
    databar
        Adds a black bar below each image (TIFF only), and as many empty rows to its label images.
    powders
        ``random`` draws everything; ``stub`` takes the virtual microscope's powders on carbon tape.
    progress
        Called with frames written and frames in all.

    Returns
    -------
    list[Path]
        The images written.

    Raises
    ------
    ValueError
        Where ``count`` is under 1, ``folder`` already holds a data set, or a PNG is to have a data bar.
    """
    if count < 1:
        raise ValueError(f"count: {count}; give at least 1")
    if databar and file_format != "tiff":
        raise ValueError(f"databar: a {file_format} image has none; write tiff")
    if (folder / "metadata.csv").exists():
        raise ValueError(f"{folder}: holds a data set already (metadata.csv); name another folder")
    for part in ("images", "masks", "uncertain"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    regimes: tuple[Regime, ...] = ("low", "high") if regime == "both" else (regime,)
    bar_rows = DATABAR_ROWS if databar else 0
    draw, called = {"random": (random_world, "sim"), "stub": (stub_world, "stub")}[powders]
    images: list[Path] = []
    table: list[dict[str, object]] = []
    particles: list[dict[str, object]] = []
    judged: list[dict[str, object]] = []
    for index in range(count):
        of, frame_seed = regimes[index % len(regimes)], seed * 1_000_003 + index
        world, view = draw(frame_seed, of, width_px, height_px)
        frame = render(world, replace(view, bits=bits))
        name = f"{called}-{seed}-{index:05d}-{of}"
        images.append(folder / "images" / f"{name}.{file_format}")
        if file_format == "tiff":
            write_frame(images[-1], frame.pixels, _acquired(name, frame), databar_rows=bar_rows)
        else:
            _write_png(images[-1], frame.pixels)
        for part, labels in (("masks", frame.labels), ("uncertain", frame.uncertain)):
            padded = np.pad(labels.astype(np.uint16), ((0, bar_rows), (0, 0)))
            _write_png(folder / part / f"{name}.png", padded)
        uncertain = sum(not p.certain for p in frame.particles)
        table.append({"frame_seed": frame_seed, **_row(name, of, frame)})
        particles += (_particle_row(name, particle, frame) for particle in frame.particles)
        note = f"simulator {SIMULATOR_VERSION}"
        judged.append({"id": name, "particles": len(frame.particles), "uncertain": uncertain, "note": note})
        if progress is not None:
            progress(index + 1, count)
    _write_table(folder / "metadata.csv", _METADATA, table)
    _write_table(folder / "particles.csv", _PARTICLES, particles)
    _write_table(folder / "uncertain" / "README.csv", ("id", "particles", "uncertain", "note"), judged)
    return images


def _acquired(name: str, frame: SimulatedFrame) -> FrameMetadata:
    view = frame.view
    return FrameMetadata(
        acquisition=Acquisition(
            hfw_um=view.hfw_um,
            pixel_size_nm=frame.pixel_size_nm,
            accelerating_voltage_kv=view.accelerating_voltage_kv,
            detector=view.detector,
            dwell_time_ns=view.dwell_time_ns,
            frame_averages=view.frame_averages,
        ),
        instrument=f"labsem simulator {frame.simulator_version}",
        position_x_mm=view.x_mm,
        position_y_mm=view.y_mm,
        sample_name=name,
    )


def _row(name: str, regime: Regime, frame: SimulatedFrame) -> dict[str, object]:
    view = frame.view
    return {
        "id": name,
        "modality": "SEM",
        "hfw_um": f"{view.hfw_um:.6g}",
        "pixel_size_nm": f"{frame.pixel_size_nm:.6g}",
        "nominal_magnification": f"{0.5e6 / view.hfw_um:.0f}",
        "particles": len(frame.particles),
        "regime": regime,
        "seed": frame.seed,
        "x_mm": f"{view.x_mm:.6g}",
        "y_mm": f"{view.y_mm:.6g}",
        "defocus_um": f"{view.defocus_um:.4g}",
        "astigmatism_um": f"{view.astigmatism_um:.4g}",
        "accelerating_voltage_kv": view.accelerating_voltage_kv,
        "dwell_time_ns": view.dwell_time_ns,
        "frame_averages": view.frame_averages,
        "detector": view.detector,
        "bits": view.bits,
        "simulator_version": frame.simulator_version,
    }


def _particle_row(name: str, particle: TrueParticle, frame: SimulatedFrame) -> dict[str, object]:
    return {
        "id": name,
        "label": particle.label,
        "particle_id": particle.particle_id,
        "certain": int(particle.certain),
        "visible_fraction": f"{particle.visible_fraction:.4f}",
        "contrast_to_noise": f"{particle.contrast_to_noise:.3f}",
        "faint_border_fraction": f"{particle.faint_border_fraction:.3f}",
        "blur_px": f"{particle.blur_px:.3f}",
        "ecd_px": f"{particle.ecd_px:.3f}",
        "ecd_um": f"{particle.ecd_px * frame.view.pixel_um:.5g}",
        "full_area_px": particle.full_area_px,
    }


def _write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    path.write_bytes(imagecodecs.png_encode(image))


def _write_table(path: Path, fields: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        writer.writeheader()
        writer.writerows(rows)
