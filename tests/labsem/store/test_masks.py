"""Masks come back exact to the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from labsem.segmentation import Segmentation
from labsem.store.masks import MaskFormatError, decode_masks, encode_masks

SCORES = st.floats(0, 1)


@st.composite
def segmentations(draw: Any) -> Segmentation:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    boxes, probabilities = [], []
    for _ in range(draw(st.integers(0, 5))):
        y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
        boxes.append((y0, x0, y1, x1))
        probabilities.append(draw(npst.arrays(np.uint8, (y1 - y0, x1 - x0))))
    count = len(boxes)
    objectness, confidence, quality = (
        np.array(draw(st.lists(SCORES, min_size=count, max_size=count)), np.float64) for _ in range(3)
    )
    return Segmentation(
        height_px=height,
        width_px=width,
        boxes=np.array(boxes, np.int32).reshape(count, 4),
        probabilities=tuple(probabilities),
        objectness=objectness,
        confidence=confidence,
        mask_quality=quality,
        out_of_distribution=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(segmentation=segmentations())
def test_masks_boxes_and_scores_come_back(segmentation: Segmentation) -> None:
    again = decode_masks(encode_masks(segmentation))
    assert (again.height_px, again.width_px) == (segmentation.height_px, segmentation.width_px)
    assert len(again) == len(segmentation)
    assert again.out_of_distribution == segmentation.out_of_distribution
    np.testing.assert_array_equal(again.boxes, segmentation.boxes)
    np.testing.assert_array_equal(again.label_image, segmentation.label_image)
    np.testing.assert_array_equal(again.objectness, segmentation.objectness)
    np.testing.assert_array_equal(again.confidence, segmentation.confidence)
    np.testing.assert_array_equal(again.mask_quality, segmentation.mask_quality)
    for index in range(len(segmentation)):
        np.testing.assert_array_equal(again.mask(index), segmentation.mask(index))
    assert encode_masks(again) == encode_masks(segmentation)


@pytest.mark.parametrize("blob", [b"", b"\x02whatever", b"\x01not zlib"])
def test_another_version_or_damage_is_named(blob: bytes) -> None:
    with pytest.raises(MaskFormatError, match="masks"):
        decode_masks(blob)


def test_a_cut_blob_is_damaged() -> None:
    disc = np.hypot(*np.mgrid[-20:21, -20:21]) < 18
    segmentation = Segmentation(
        height_px=41,
        width_px=41,
        boxes=np.array([[0, 0, 41, 41]], np.int32),
        probabilities=(disc.astype(np.uint8) * 255,),
        objectness=np.ones(1),
        confidence=np.ones(1),
        mask_quality=np.ones(1),
    )
    blob = encode_masks(segmentation)
    assert len(blob) < disc.size / 4
    with pytest.raises(MaskFormatError, match="damaged"):
        decode_masks(blob[:-9])
