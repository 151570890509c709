"""Labelled data sets of simulated frames, in the layout that training and evaluation read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from labsem.simulation.render import SIMULATOR_VERSION, SimulatedFrame, View, render
from labsem.simulation.scene import Regime, random_scene
from labsem.simulation.world import World

HFW_UM: Final[dict[Regime, tuple[float, float]]] = {"low": (60.0, 1500.0), "high": (3.0, 50.0)}
"""Range of field widths of each regime: over and under 10,000x on a display of 0.5 m."""

BLUR_PX: Final[dict[Regime, tuple[float, float]]] = {"low": (0.2, 4.0), "high": (0.4, 7.0)}

MOST_PARTICLES: Final = 450
"""Frames of a data set are kept under about so many."""

_METADATA: Final = (
    "id",
    "modality",
    "hfw_um",
    "pixel_size_nm",
    "nominal_magnification",
    "particles",
    "regime",
    "seed",
    "defocus_um",
    "dwell_time_ns",
    "frame_averages",
    "detector",
    "simulator_version",
)


def random_frame(seed: int, regime: Regime, width_px: int = 1024, height_px: int = 768) -> SimulatedFrame:
    """A frame of which powder, substrate and scan are all drawn from the seed."""
    rng = np.random.default_rng([seed, 0 if regime == "low" else 1, 41])
    low_um, high_um = HFW_UM[regime]
    hfw_um = float(np.exp(rng.uniform(np.log(low_um), np.log(high_um))))
    scene = random_scene(rng, hfw_um, regime)
    area_um2 = hfw_um**2 * height_px / width_px
    mean_um2 = (
        np.pi
        / 4
        * float(
            np.average(
                [c.median_um**2 * c.primaries for c in scene.components],
                weights=[c.share for c in scene.components],
            )
        )
    )
    members = float(
        np.average([c.primaries for c in scene.components], weights=[c.share for c in scene.components])
    )
    most = MOST_PARTICLES / members * mean_um2 / area_um2
    scene = type(scene)(
        **{**scene.__dict__, "coverage": min(max(scene.coverage, 4 / MOST_PARTICLES * most), most)}
    )
    blur_px = float(np.exp(rng.uniform(*np.log(BLUR_PX[regime]))))
    defocus_um = blur_px * (hfw_um / width_px) / (0.5 * 4e-3) * float(rng.choice([-1, 1]))
    if rng.random() < (0.5 if regime == "low" else 0.3):
        defocus_um *= 0.2
    brightest = max(scene.substrate.level, *(c.albedo for c in scene.components))
    contrast = float(rng.uniform(0.45, 1.15)) / brightest
    view = View(
        x_mm=float(rng.uniform(-5, 5)),
        y_mm=float(rng.uniform(-5, 5)),
        hfw_um=hfw_um,
        width_px=width_px,
        height_px=height_px,
        defocus_um=defocus_um,
        astigmatism_um=float(rng.choice([0.0, 0.0, 0.5])) * abs(defocus_um),
        dwell_time_ns=float(rng.choice([50, 100, 200, 500, 1000, 4000])),
        frame_averages=int(rng.choice([1, 2, 4, 16])),
        brightness=float(rng.uniform(-0.06, 0.1)),
        contrast=contrast,
        detector="sed" if rng.random() < 0.65 else "bsd",
        noise_seed=int(rng.integers(2**31)),
    )
    return render(World(int(rng.integers(2**62)), scene), view)


def write_dataset(
    folder: Path,
    count: int,
    seed: int,
    regime: Regime | Literal["both"] = "both",
    width_px: int = 1024,
    height_px: int = 768,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``count`` labelled frames: ``images/``, ``masks/``, ``uncertain/``, ``metadata.csv``.

    Parameters
    ----------
    folder
        Made where it does not exist.
    seed
        The same seed gives the same frames; frame k does not depend on ``count``.
    regime
        ``both`` alternates low and high magnification.
    progress
        Called with frames written and frames in all.

    Returns
    -------
    list[Path]
        The images written.

    Raises
    ------
    ValueError
        Where ``count`` is under 1 or ``folder`` already holds a data set.
    """
    if count < 1:
        raise ValueError(f"count: {count}; give at least 1")
    if (folder / "metadata.csv").exists():
        raise ValueError(f"{folder}: holds a data set already (metadata.csv); name another folder")
    for part in ("images", "masks", "uncertain"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    regimes: tuple[Regime, ...] = ("low", "high") if regime == "both" else (regime,)
    images: list[Path] = []
    table: list[dict[str, object]] = []
    judged: list[dict[str, object]] = []
    for index in range(count):
        of = regimes[index % len(regimes)]
        frame = random_frame(seed * 1_000_003 + index, of, width_px, height_px)
        name = f"sim-{seed}-{index:05d}-{of}"
        images.append(folder / "images" / f"{name}.png")
        _write_png(images[-1], frame.pixels)
        _write_png(folder / "masks" / f"{name}.png", frame.labels.astype(np.uint16))
        uncertain = sum(not p.certain for p in frame.particles)
        _write_png(folder / "uncertain" / f"{name}.png", frame.uncertain.astype(np.uint16))
        table.append(_row(name, of, frame))
        note = f"simulator {SIMULATOR_VERSION}"
        judged.append({"id": name, "particles": len(frame.particles), "uncertain": uncertain, "note": note})
        if progress is not None:
            progress(index + 1, count)
    _write_table(folder / "metadata.csv", _METADATA, table)
    _write_table(folder / "uncertain" / "README.csv", ("id", "particles", "uncertain", "note"), judged)
    return images


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
        "defocus_um": f"{view.defocus_um:.4g}",
        "dwell_time_ns": view.dwell_time_ns,
        "frame_averages": view.frame_averages,
        "detector": view.detector,
        "simulator_version": frame.simulator_version,
    }


def _write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    path.write_bytes(imagecodecs.png_encode(image))


def _write_table(path: Path, fields: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        writer.writeheader()
        writer.writerows(rows)
