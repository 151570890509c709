"""From a file's bytes to grey pixels, with its limits checked on the header first.

The kind of file is told by its first bytes, never by its name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from labsem.frames.errors import (
    EmptyFrameError,
    FrameError,
    FrameTooLargeError,
    InvalidFrameError,
    MissingFrameError,
    TruncatedFrameError,
    UnsupportedFrameError,
)
from labsem.frames.model import ReadLimits

SUPPORTED = "save the frame as an 8 or 16-bit grey or RGB TIFF, PNG or JPEG"
AGAIN = "copy or acquire it again"

# What broken bytes raise inside tifffile, imagecodecs and numpy: there is no common base.
DECODE_ERRORS = (
    tifffile.TiffFileError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    EOFError,
    OSError,
    MemoryError,
    AssertionError,
    struct.error,
)

_OTHER_KINDS = {
    b"BM": "a BMP image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"RIFF": "a RIFF (WebP) file",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 image",
}
_SUFFIXES = {"tiff": {".tif", ".tiff"}, "png": {".png"}, "jpeg": {".jpg", ".jpeg"}}


@dataclass
class Decoded:
    """Grey pixels, the treatments they needed, and the tags of a TIFF's first page."""

    pixels: NDArray[Any]
    notes: list[str] = field(default_factory=list)
    tags: dict[int, Any] = field(default_factory=dict)


def decode(path: Path, limits: ReadLimits) -> Decoded:
    """Read a file into (H, W) uint8 or uint16 grey pixels.

    Colour becomes luminance (ITU-R BT.601); alpha is left out; a palette is looked up; a float image is scaled
    from its smallest to its largest value on 16 bits; signed integers without negative values are taken as they
    are; thumbnails beside the first page are ignored.

    Raises
    ------
    FrameError
        One of its kinds, see :mod:`labsem.frames.errors`.
    """
    kind = _kind(path, limits)
    readers: dict[str, Callable[[Path, ReadLimits], Decoded]] = {
        "tiff": _read_tiff,
        "png": _read_png,
        "jpeg": _read_jpeg,
    }
    try:
        decoded = readers[kind](path, limits)
    except FrameError:
        raise
    except DECODE_ERRORS as error:
        raise TruncatedFrameError(
            path, f"its {kind.upper()} data cannot be decoded ({type(error).__name__}: {error})", AGAIN
        ) from error
    if path.suffix.lower() not in _SUFFIXES[kind]:
        decoded.notes.append("extension")
    if decoded.pixels.min() == decoded.pixels.max():
        decoded.notes.append("constant")
    return decoded


def _kind(path: Path, limits: ReadLimits) -> str:
    if path.is_dir():
        raise MissingFrameError(path, "is a folder", "name a file in it")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MissingFrameError(
            path, f"cannot be opened ({error.strerror or error})", "check its name and rights"
        ) from error
    if size == 0:
        raise EmptyFrameError(path, "has no bytes", AGAIN)
    if size > limits.max_file_bytes:
        raise FrameTooLargeError(
            path,
            f"has {size} bytes, more than the {limits.max_file_bytes} allowed",
            "raise reading.max_file_mib or make it smaller",
        )
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    other = next((name for magic, name in _OTHER_KINDS.items() if head.startswith(magic)), "no known image")
    raise UnsupportedFrameError(path, f"is {other} by its first bytes", SUPPORTED)


def _check_size(path: Path, width: int, height: int, limits: ReadLimits) -> None:
    if width <= 0 or height <= 0:
        raise EmptyFrameError(path, f"is {width} x {height} pixels", AGAIN)
    if width * height > limits.max_pixels:
        raise FrameTooLargeError(
            path,
            f"is {width} x {height} pixels, more than the {limits.max_pixels} allowed",
            "raise reading.max_pixels or crop it",
        )


def _read_png(path: Path, limits: ReadLimits) -> Decoded:
    data = path.read_bytes()
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise TruncatedFrameError(path, "ends inside its PNG header", AGAIN)
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    _check_size(path, width, height, limits)
    if bits < 8 and colour == 0:
        raise UnsupportedFrameError(path, f"has {bits} bit(s) a pixel, too few grey levels", SUPPORTED)
    if b"IEND" not in data[-64:]:
        raise TruncatedFrameError(path, "ends before its PNG image does", AGAIN)
    decoded = _to_grey(path, imagecodecs.png_decode(data))
    if colour == 3:
        decoded.notes.append("palette")
    return decoded


# Start-of-frame markers but those of Huffman tables (C4), extensions (C8) and arithmetic coding (CC).
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}


def _read_jpeg(path: Path, limits: ReadLimits) -> Decoded:
    data = path.read_bytes()
    at = 2
    size: tuple[int, int] | None = None
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            raise TruncatedFrameError(path, "ends or breaks inside its JPEG header", AGAIN)
        marker = data[at + 1]
        if marker in _JPEG_BARE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            _check_size(path, width, height, limits)
            size = (height, width)
        at += 2 + length
        if marker == 0xDA:
            break
    if size is None or b"\xff\xd9" not in data[at:]:
        raise TruncatedFrameError(path, "ends before its JPEG image does", AGAIN)
    decoded = _to_grey(path, imagecodecs.jpeg_decode(data))
    if decoded.pixels.shape != size:
        raise TruncatedFrameError(path, "its JPEG image differs in size from its header", AGAIN)
    return decoded


def _read_tiff(path: Path, limits: ReadLimits) -> Decoded:
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) == 0:
            raise EmptyFrameError(path, "holds no page", AGAIN)
        page = tiff.pages.first
        _check_size(path, page.imagewidth, page.imagelength, limits)
        _check_tiff_kind(path, tiff, page)
        _check_tiff_segments(path, page)
        data = page.asarray(maxworkers=1)
        notes = ["thumbnail"] if len(tiff.pages) > 1 else []
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            # A colour map is (3, 2^bits) of 16-bit values.
            data = np.moveaxis(np.asarray(page.colormap)[:, data], 0, -1)
            if page.colormap is not None and int(page.colormap.max()) > 255:
                data = data >> 8
            data = data.astype(np.uint8)
            notes.append("palette")
        elif page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            data = np.moveaxis(data, 0, -1)
        decoded = _to_grey(path, data)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            top = 2 ** min(page.bitspersample, 16) - 1
            decoded.pixels = (top - decoded.pixels.astype(np.int32)).clip(0).astype(decoded.pixels.dtype)
            notes.append("inverted")
        decoded.notes.extend(notes)
        decoded.tags = {tag.code: tag.value for tag in page.tags if tag.code > 32768 or tag.code < 256}
        return decoded


def _check_tiff_kind(path: Path, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    photometric = tifffile.PHOTOMETRIC
    known = (photometric.MINISBLACK, photometric.MINISWHITE, photometric.RGB, photometric.PALETTE)
    as_jpeg = page.photometric == photometric.YCBCR and page.compression == tifffile.COMPRESSION.JPEG
    if page.photometric not in known and not as_jpeg:
        raise UnsupportedFrameError(path, f"has the colour space {page.photometric!r}", SUPPORTED)
    if page.samplesperpixel > 4 or page.imagedepth > 1:
        raise UnsupportedFrameError(
            path, f"has {page.samplesperpixel} samples a pixel and depth {page.imagedepth}", SUPPORTED
        )
    if page.bitspersample < 8 and page.photometric != photometric.PALETTE:
        raise UnsupportedFrameError(
            path, f"has {page.bitspersample} bit(s) a pixel, too few grey levels", SUPPORTED
        )
    frames = 1
    for other in range(1, len(tiff.pages)):
        beside = tiff.pages.get(other).aspage()
        whole = beside.imagewidth >= page.imagewidth and beside.imagelength >= page.imagelength
        frames += whole and not beside.is_reduced
    if tiff.is_imagej and tiff.imagej_metadata:
        # ImageJ may keep a stack behind a single page.
        frames = max(frames, int(tiff.imagej_metadata.get("images", 1)))
    if frames > 1:
        raise UnsupportedFrameError(
            path, f"holds {frames} images of full size", "save each as a file of its own"
        )


def _check_tiff_segments(path: Path, page: tifffile.TiffPage) -> None:
    size = page.parent.filehandle.size
    pairs = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    short = [offset for offset, count in pairs if count <= 0 or offset <= 0 or offset + count > size]
    if not pairs or short:
        raise TruncatedFrameError(
            path, f"{len(short) or 'all'} of its {len(pairs)} strips lie past its end", AGAIN
        )
    if page.compression == tifffile.COMPRESSION.NONE and sum(page.databytecounts) < page.nbytes:
        raise TruncatedFrameError(
            path, f"holds {sum(page.databytecounts)} of its {page.nbytes} bytes of pixels", AGAIN
        )


def _to_grey(path: Path, data: NDArray[Any]) -> Decoded:
    notes: list[str] = []
    if data.size == 0 or data.ndim not in (2, 3):
        raise EmptyFrameError(path, f"decodes to an array of shape {data.shape}", AGAIN)
    data, treatment = _to_unsigned(path, data)
    if treatment:
        notes.append(treatment)
    if data.ndim == 3:
        channels = data.shape[2]
        if channels > 4:
            raise UnsupportedFrameError(path, f"has {channels} channels", SUPPORTED)
        if channels in (2, 4):
            notes.append("alpha")
        if channels >= 3:
            notes.append("colour")
            red, green, blue = (data[..., channel].astype(np.uint32) for channel in range(3))
            data = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(data.dtype)
        else:
            data = data[..., 0]
    return Decoded(np.ascontiguousarray(data), notes)


def _to_unsigned(path: Path, data: NDArray[Any]) -> tuple[NDArray[Any], str | None]:
    if data.dtype in (np.uint8, np.uint16):
        return data.astype(data.dtype.newbyteorder("=")), None
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if not finite.all():
            raise InvalidFrameError(
                path, f"has {int((~finite).sum())} pixels that are NaN or infinite", "export it as integers"
            )
        low, high = float(data.min()), float(data.max())
        span = high - low
        if span <= 0 or not np.isfinite(span):
            return np.zeros(data.shape, np.uint16), "float"
        return np.rint((data.astype(np.float64) - low) * (65535 / span)).astype(np.uint16), "float"
    if data.dtype.kind in "iu":
        low, high = int(data.min()), int(data.max())
        if low >= 0 and high <= 65535:
            return data.astype(
                np.uint16 if high > 255 else np.uint8
            ), "signed" if data.dtype.kind == "i" else None
        raise UnsupportedFrameError(path, f"has {data.dtype} values from {low} to {high}", SUPPORTED)
    raise UnsupportedFrameError(path, f"has pixels of type {data.dtype}", SUPPORTED)
