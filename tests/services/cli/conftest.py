"""A command line in this process, and frames to analyse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from labsem.frames import FrameMetadata, write_frame
from schemas.image import Acquisition


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What it printed: one JSON document and nothing else."""
        return json.loads(self.stdout)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, which the settings name."""
    folder = tmp_path / "data"
    for name in ("LABSEM_CONFIG", "LABSEM_DATABASE_URL"):
        monkeypatch.setenv(name, "")  # so that what a command sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("LABSEM_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def labsem(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """``labsem("history", "s-1", "--json")``."""
    from services.cli.main import main

    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    structlog.reset_defaults()


def discs(seed: int, *, width_px: int = 200, height_px: int = 140, radius_px: int = 9) -> np.ndarray:
    """Bright discs that do not touch, on a dark ground with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height_px, :width_px]
    pixels = np.full((height_px, width_px), 50.0)
    step = 3 * radius_px
    for y in range(step, height_px - radius_px, step):
        for x in range(step, width_px - radius_px, step):
            if random.random() < 0.7:
                radius = radius_px * random.uniform(0.7, 1.1)
                pixels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 180
    return np.clip(pixels + random.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of discs with a scale, two of them of one name in two folders, and a broken file."""
    folder = tmp_path_factory.mktemp("frames")
    (folder / "more").mkdir()
    metadata = FrameMetadata(acquisition=Acquisition(pixel_size_nm=100.0), instrument="PhenomXL")
    for seed, name in enumerate(("one.tif", "two & 100%#.tif", "more/one.tif")):
        write_frame(folder / name, discs(seed), metadata)
    whole = (folder / "one.tif").read_bytes()
    (folder / "broken.tif").write_bytes(whole[: len(whole) // 3])
    return folder
