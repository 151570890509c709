"""All masks of an analysis in one compressed blob, exact to the pixel.

Layout (little-endian): one byte version; then, compressed by zlib: height, width, count (uint32), whether the frame
is out of distribution (uint8), boxes (count x 4 int32: y0, x0, y1, x1), the three scores (count x float64 each:
objectness, confidence, mask quality), and the masks inside their boxes, row by row, one bit a pixel, all joined.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from labsem.segmentation import Segmentation
from labsem.store.errors import StoreError

VERSION = 1
_HEAD = struct.Struct("<IIIB")
_LEVEL = 6
_BOX_BYTES = 16
_SCORES = 3
_SCORE_BYTES = 8


class MaskFormatError(StoreError):
    """A blob that this version cannot decode."""


def encode_masks(segmentation: Segmentation) -> bytes:
    """Pack a segmentation's boxes, scores and masks (probabilities become masks)."""
    count = len(segmentation)
    masks = [segmentation.mask(index).ravel() for index in range(count)]
    bits = np.packbits(np.concatenate(masks)) if masks else np.empty(0, np.uint8)
    body = b"".join(
        (
            _HEAD.pack(
                segmentation.height_px, segmentation.width_px, count, segmentation.out_of_distribution
            ),
            np.ascontiguousarray(segmentation.boxes, "<i4").tobytes(),
            np.ascontiguousarray(segmentation.objectness, "<f8").tobytes(),
            np.ascontiguousarray(segmentation.confidence, "<f8").tobytes(),
            np.ascontiguousarray(segmentation.mask_quality, "<f8").tobytes(),
            bits.tobytes(),
        )
    )
    return bytes([VERSION]) + zlib.compress(body, _LEVEL)


def decode_masks(blob: bytes) -> Segmentation:
    """Unpack what :func:`encode_masks` made; probabilities are 0 or 255.

    Raises
    ------
    MaskFormatError
        Where the blob is of another version, or damaged.
    """
    if not blob or blob[0] != VERSION:
        version = blob[0] if blob else "none"
        raise MaskFormatError(f"masks of version {version}, this labsem reads {VERSION}; upgrade labsem")
    try:
        body = zlib.decompress(blob[1:])
        height, width, count, unlike = _HEAD.unpack_from(body)
        at = _HEAD.size
        boxes = np.frombuffer(body, "<i4", 4 * count, at).reshape(count, 4).astype(np.int32)
        at += _BOX_BYTES * count
        scores = np.frombuffer(body, "<f8", _SCORES * count, at).reshape(_SCORES, count).astype(np.float64)
        at += _SCORES * _SCORE_BYTES * count
        sizes = (boxes[:, 2:] - boxes[:, :2]).astype(np.int64)
        pixels = sizes.prod(axis=1)
        bits = np.unpackbits(np.frombuffer(body, np.uint8, -1, at), count=int(pixels.sum()))
    except (zlib.error, struct.error, ValueError) as error:
        raise MaskFormatError(f"damaged masks ({error}); analyse the frame again") from error
    probabilities: list[NDArray[np.uint8]] = []
    start = 0
    for (rows, columns), size in zip(sizes, pixels, strict=True):
        flat = bits[start : start + int(size)].astype(np.uint8) * np.uint8(255)
        probabilities.append(flat.reshape(int(rows), int(columns)))
        start += int(size)
    return Segmentation(
        height_px=height,
        width_px=width,
        boxes=boxes,
        probabilities=tuple(probabilities),
        objectness=scores[0],
        confidence=scores[1],
        mask_quality=scores[2],
        out_of_distribution=bool(unlike),
    )
