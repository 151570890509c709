"""Thumbnails and label images."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from labsem.figures.overlay import CERTAIN_COLOUR, UNCERTAIN_COLOUR, stretch
from labsem.frames import write_atomically
from labsem.segmentation import Segmentation

_MAX_LABEL = 65535


def write_thumbnail(
    pixels: NDArray[Any],
    path: str | Path,
    *,
    width_px: int = 320,
    segmentation: Segmentation | None = None,
) -> None:
    """Write a small PNG of the frame, its particles outlined where a segmentation is given; never enlarged."""
    height, width = pixels.shape
    scale = min(1.0, width_px / width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey: NDArray[np.float64] = resize(  # type: ignore[no-untyped-call]
        stretch(pixels), shape, order=1, anti_aliasing=scale < 1, preserve_range=True
    )
    picture = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    if segmentation is not None:
        rows = np.minimum(((np.arange(shape[0]) + 0.5) / scale).astype(int), height - 1)
        columns = np.minimum(((np.arange(shape[1]) + 0.5) / scale).astype(int), width - 1)
        small = segmentation.label_image[np.ix_(rows, columns)]
        edges: NDArray[np.bool_] = find_boundaries(small, mode="inner")  # type: ignore[no-untyped-call]
        certain = np.append(False, segmentation.certain)[small]
        picture[edges & certain] = _rgb(CERTAIN_COLOUR)
        picture[edges & ~certain] = _rgb(UNCERTAIN_COLOUR)
    write_atomically(path, bytes(imagecodecs.png_encode(picture)))


def write_label_tiff(
    segmentation: Segmentation,
    pixel_size_nm: float | None,
    path: str | Path,
    *,
    labels: Collection[int] | None = None,
) -> None:
    """Write the label image as an OME-TIFF of 16 bits: 0 ground, else the particle's ``label``.

    The physical size of a pixel is in the OME-XML, where the scale is known. ``labels`` keeps these alone.

    Raises
    ------
    ValueError
        Where a frame holds more than 65,535 particles.
    """
    if len(segmentation) > _MAX_LABEL:
        raise ValueError(
            f"{path}: {len(segmentation)} particles do not fit 16-bit labels; leave small ones out"
        )
    image = segmentation.label_image.astype(np.uint16)
    if labels is not None:
        image[~np.isin(image, list(labels))] = 0
    metadata: dict[str, Any] = {"axes": "YX"}
    if pixel_size_nm is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = pixel_size_nm / 1e3
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        image,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata=metadata,
        software="labsem",
    )
    write_atomically(path, buffer.getvalue())


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
