"""Reading of label images."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import find_objects

_PNG_START = b"\x89PNG\r\n\x1a\n"


class DatasetError(ValueError):
    """A labelled data set that cannot be used as it is; names the file and the remedy."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path} {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[DatasetError], tuple[Path, str, str]]:
        # Errors cross from the process that evaluates or trains to the command line.
        return type(self), (self.path, self.problem, self.remedy)


def read_labels(path: Path) -> NDArray[np.int32]:
    """(H, W) label image, 0 background.

    Raises
    ------
    DatasetError
        Where the values are no whole numbers from 0 on, or there is more than one layer.
    """
    image = _decode(path)
    remedy = "save one grey layer of whole numbers, 0 for background and one number for each particle"
    if image.ndim != 2:
        raise DatasetError(path, f"has shape {image.shape}, so is no label image", remedy)
    if image.dtype.kind == "f" and not (np.isfinite(image).all() and np.array_equal(image, np.rint(image))):
        raise DatasetError(path, "holds fractions, so is no label image", remedy)
    if image.size and (image.min() < 0 or image.max() >= 2**31):
        raise DatasetError(path, "holds numbers that are no labels", remedy)
    return image.astype(np.int32)


def image_size_px(path: Path) -> tuple[int, ...]:
    """Rows and columns of a PNG, JPEG or TIFF, from its header where that is cheap.

    Raises
    ------
    DatasetError
        Where the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        with path.open("rb") as file:
            start = file.read(24)
        if len(start) < 24 or not start.startswith(_PNG_START):
            raise DatasetError(path, "is no PNG", "write it again")
        width, height = struct.unpack(">II", start[16:24])
        return height, width
    if suffix in (".tif", ".tiff"):
        try:
            with tifffile.TiffFile(path) as tiff:
                return tuple(tiff.pages[0].shape[:2])
        except (tifffile.TiffFileError, struct.error, IndexError, OSError) as error:
            raise DatasetError(path, f"cannot be read ({error})", "write it again") from error
    return tuple(_decode(path).shape[:2])


def true_boxes(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels (T,) of a label image (H, W) in rising order, and their boxes (T, 4), x0 y0 x1 y1 px."""
    found = [(label, box) for label, box in enumerate(find_objects(labels), start=1) if box is not None]
    boxes = [(x.start, y.start, x.stop, y.stop) for _, (y, x) in found]
    return np.array([label for label, _ in found], np.int64), np.array(boxes, np.float64).reshape(-1, 4)


def _decode(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            return np.squeeze(np.asarray(tifffile.imread(path)))
        data = path.read_bytes()
        decode = imagecodecs.png_decode if path.suffix.lower() == ".png" else imagecodecs.jpeg_decode
        return np.asarray(decode(data))
    except (
        tifffile.TiffFileError,
        imagecodecs.PngError,
        imagecodecs.JpegError,
        ValueError,
        OSError,
    ) as error:
        raise DatasetError(path, f"cannot be decoded ({error})", "write it again") from error
