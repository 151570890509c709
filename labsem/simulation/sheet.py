"""Simulated frames side by side, as one small picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from labsem.frames import read_frame
from labsem.frames.files import write_atomically
from labsem.simulation.render import SIMULATOR_VERSION

MOST: Final = 12
COLUMNS: Final = 4
TILE_PX: Final = (360, 270)
"""Width and height of a frame in the picture; a gap of :data:`GAP_PX` parts them."""

GAP_PX: Final = 4
QUALITY: Final = 60


def write_sheet(path: Path, images: Sequence[Path]) -> None:
    """Write the first :data:`MOST` frames as one JPEG, whose comment names the simulator's version.

    Raises
    ------
    ValueError
        Where there is no image.
    labsem.frames.FrameError
        Where one cannot be read.
    """
    tiles = [_tile(image) for image in images[:MOST]]
    if not tiles:
        raise ValueError(f"{path}: no images for a sheet")
    width, height = TILE_PX[0] + GAP_PX, TILE_PX[1] + GAP_PX
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * height - GAP_PX, min(len(tiles), COLUMNS) * width - GAP_PX), 255, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // COLUMNS * height, k % COLUMNS * width
        sheet[y : y + TILE_PX[1], x : x + TILE_PX[0]] = tile
    jpeg = bytes(imagecodecs.jpeg8_encode(sheet, level=QUALITY))
    write_atomically(path, _commented(jpeg, f"labsem simulator {SIMULATOR_VERSION}"))


def _tile(path: Path) -> NDArray[np.uint8]:
    """The frame at the tile's size, each pixel the mean of what it covers."""
    pixels = read_frame(path).pixels
    grey = pixels.astype(np.float32) * np.float32(255 / np.iinfo(pixels.dtype).max)
    for axis, size in ((0, TILE_PX[1]), (1, TILE_PX[0])):
        ends = np.linspace(0, grey.shape[axis], size + 1).astype(int)
        starts = np.minimum(ends[:-1], grey.shape[axis] - 1)
        counts = np.maximum(np.diff(ends), 1)
        total = np.add.reduceat(grey, starts, axis=axis)
        grey = total / (counts[:, None] if axis == 0 else counts)
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.uint8)


def _commented(jpeg: bytes, comment: str) -> bytes:
    """A JPEG with a comment segment after its first marker."""
    text = comment.encode("ascii")
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]
