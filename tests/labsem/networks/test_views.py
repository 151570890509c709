"""Views of a frame, and the same particles whether it is seen in one go or in tiles."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from labsem.networks.detector import Detector, reach_edges
from labsem.networks.manifest import Input
from labsem.networks.trainable import DetectionNetwork
from labsem.networks.views import tile_views, whole_view


class Blobs(DetectionNetwork):
    """Finds the bright blobs of an image exactly; a larger one is likelier a particle."""

    backbone = nn.Identity()

    def losses(self, images, targets):
        raise NotImplementedError

    def at_boxes(self, images, boxes):
        raise NotImplementedError

    def glance(self, images):
        raise NotImplementedError

    def detect(
        self, images, *, score_min, nms_iou, detections_max, refinements=0, box_margin=0.0, mirror=False
    ):
        self.shapes = [*getattr(self, "shapes", []), tuple(images.shape[-2:])]
        labels, _ = ndimage.label(images[0, 0].numpy() > 0.5)
        found = ndimage.find_objects(labels)
        boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in found]).float().reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        order = areas.argsort(descending=True)[:detections_max]
        return {
            "boxes": boxes[order],
            "scores": (areas / (areas + 5))[order],
            "confidence_logits": torch.zeros(len(order), 6),
            "masks": torch.ones(len(order), 28, 28),
        }


def _squares(seed, height, width, sides):
    """A frame of separate bright squares."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width), 20, np.uint8)
    for side in sides:
        y, x = int(rng.integers(2, height - side - 2)), int(rng.integers(2, width - side - 2))
        if pixels[y - 2 : y + side + 2, x - 2 : x + side + 2].max() == 20:
            pixels[y : y + side, x : x + side] = 220
    return pixels


def _boxes(detections):
    return sorted(tuple(np.round(box).astype(int).tolist()) for box in detections.boxes)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31))
def test_tiles_find_the_particles_of_the_whole_frame(seed: int) -> None:
    sides = np.random.default_rng(seed).integers(4, 60, 80)
    pixels = _squares(seed, 700, 900, sides)
    one_go = Input(long_side_max_px=2000, long_side_min_px=64, tile_px=2000)
    tiled = Input(long_side_max_px=500, long_side_min_px=64, tile_px=256, tile_overlap_px=64)
    network = Blobs()
    whole = Detector(network, precision="float32").detect(pixels, one_go, score_min=0.1)
    assert len(network.shapes) == 1
    parts = Detector(network, precision="float32").detect(pixels, tiled, score_min=0.1)
    assert len(network.shapes) > 12
    assert _boxes(parts) == _boxes(whole)
    assert np.all(np.diff(parts.objectness) <= 0)


def test_what_no_tile_holds_comes_from_the_reduced_frame() -> None:
    pixels = _squares(3, 800, 800, [300, *[12] * 40])
    scale = Input(long_side_max_px=400, long_side_min_px=64, tile_px=320, tile_overlap_px=64)
    found = Detector(Blobs(), precision="float32").detect(pixels, scale, score_min=0.1)
    labels, count = ndimage.label(pixels > 100)
    assert len(found.boxes) == count
    assert found.longest_px.max() == pytest.approx(300, abs=4)
    assert np.median(found.longest_px) == pytest.approx(12, abs=0.1)
    assert labels.max() == count


def _look(pixels, **given):
    network = Blobs()
    scale = Input(long_side_max_px=1920, long_side_min_px=64, **given)
    found = Detector(network, precision="float32").detect(pixels, scale, score_min=0.1)
    return found, network.shapes


def test_small_particles_are_looked_at_again_enlarged() -> None:
    pixels = _squares(4, 200, 240, [8] * 40)
    once, shapes = _look(pixels)
    assert shapes == [(224, 256)]
    again, shapes = _look(pixels, typical_side_px=16)
    assert shapes[0] == (128, 128) and 352 <= shapes[1][0] <= 416 and len(shapes) == 2
    assert len(again.boxes) == len(once.boxes)
    _, shapes = _look(pixels, typical_side_px=4)
    assert shapes == [(128, 128)]


def test_for_large_particles_the_first_look_is_enough() -> None:
    pixels = _squares(5, 900, 900, [150] * 6)
    once, _ = _look(pixels)
    found, shapes = _look(pixels, typical_side_px=45)
    assert shapes == [(480, 480)]
    assert len(found.boxes) == len(once.boxes)


def test_a_third_of_small_ones_is_enough_for_a_closer_look_where_the_lower_quartile_is_typical() -> None:
    pixels = _squares(7, 700, 700, [*[60] * 20, *[8] * 10])
    _, shapes = _look(pixels, typical_side_px=16)
    assert shapes == [(352, 352)]
    found, shapes = _look(pixels, typical_side_px=16, typical_quantile=0.25)
    assert shapes[0] == (352, 352) and shapes[1][0] > 1300 and len(shapes) == 2
    assert len(found.boxes) == ndimage.label(pixels > 100)[1]


def test_a_closer_look_leaves_the_largest_to_the_first() -> None:
    pixels = _squares(6, 300, 300, [100, *[8] * 30])
    found, shapes = _look(pixels, typical_side_px=16, tile_px=256, tile_overlap_px=64)
    assert len(shapes) > 2
    assert len(found.boxes) == ndimage.label(pixels > 100)[1]
    assert found.longest_px.max() == pytest.approx(100, abs=4)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(40, 3000),
    st.integers(40, 3000),
    st.integers(300, 900),
    st.integers(8, 32),
    st.sampled_from([1, 2]),
)
def test_tiles_cover_the_frame_and_keep_within_their_size(height, width, tile_px, overlap_px, factor) -> None:
    tiles = tile_views(height, width, factor, tile_px=tile_px, overlap_px=overlap_px)
    assert min(tile.rows[0] for tile in tiles) == min(tile.columns[0] for tile in tiles) == 0
    assert max(tile.rows[1] for tile in tiles) == height and max(tile.columns[1] for tile in tiles) == width
    for tile in tiles:
        assert (tile.rows[1] - tile.rows[0]) * factor <= tile_px + factor
        assert (tile.columns[1] - tile.columns[0]) * factor <= tile_px + factor
    columns = sorted({tile.columns for tile in tiles})
    for (_, end), (start, _) in pairwise(columns):
        assert (end - start) * factor >= overlap_px - factor
    anywhere = np.array(
        [[x, y, x + 1.0, y + 1.0] for x in (0.2, width / 2, width - 1.2) for y in (0.3, height - 1.4)]
    )
    answers = np.sum([tile.answers_for(anywhere) for tile in tiles], axis=0)
    assert np.all(answers >= 1)
    assert whole_view(height, width, 1.0).answers_for(anywhere).all()


def test_boxes_that_end_just_inside_the_frames_edge_go_to_it() -> None:
    boxes = np.array(
        [
            (1.5, 30.0, 61.5, 80.0),  # 60 px wide: within 1 + 2 % of it
            (3.0, 30.0, 63.0, 80.0),
            (100.0, 52.2, 190.0, 98.2),  # 46 px high
            (50.0, 96.5, 60.0, 99.0),  # a speck, 1 px from the edge
            (50.0, 40.0, 60.0, 50.0),
        ]
    )
    reach_edges(boxes, 100, 200)
    assert boxes[0].tolist() == [0, 30, 61.5, 80]
    assert boxes[1].tolist() == [3, 30, 63, 80]
    assert boxes[2].tolist() == [100, 52.2, 190, 100]
    assert boxes[3].tolist() == [50, 96.5, 60, 100]
    assert boxes[4].tolist() == [50, 40, 60, 50]
    reach_edges(np.zeros((0, 4)), 100, 200)
