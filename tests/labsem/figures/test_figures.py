"""Pictures hold what they say, and label images read back."""

import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from labsem.figures import draw_overlay, draw_sizes, write_label_tiff, write_thumbnail
from labsem.figures.overlay import CERTAIN_COLOUR, UNCERTAIN_COLOUR, length_label, round_length, stretch
from labsem.segmentation import Segmentation

HEIGHT, WIDTH = 300, 480


@pytest.fixture(scope="module")
def segmentation() -> Segmentation:
    """A certain square of 80 px, an uncertain one of 60 px, and one that overlaps the first."""
    boxes = np.array([(40, 60, 120, 140), (150, 300, 210, 360), (100, 120, 160, 200)], np.int32)
    return Segmentation(
        height_px=HEIGHT,
        width_px=WIDTH,
        boxes=boxes,
        probabilities=tuple(np.full((y1 - y0, x1 - x0), 255, np.uint8) for y0, x0, y1, x1 in boxes),
        objectness=np.full(3, 0.9),
        confidence=np.array([0.9, 0.2, 0.8]),
        mask_quality=np.full(3, 0.9),
    )


def _near(picture: np.ndarray, colour: str) -> np.ndarray:
    rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.abs(picture[..., :3].astype(int) - rgb).max(axis=-1) < 60


def _overlay(tmp_path, segmentation, **more) -> np.ndarray:
    path = tmp_path / "o.png"
    draw_overlay(np.full((HEIGHT, WIDTH), 90, np.uint8), segmentation, more.pop("size", 100.0), path, **more)
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


def test_overlay_outlines_in_two_colours_on_the_frames_own_pixels(tmp_path, segmentation):
    picture = _overlay(tmp_path, segmentation, caption="S1 · a.tif $5")
    assert picture.shape[1] == WIDTH
    assert picture.shape[0] > HEIGHT
    frame = picture[:HEIGHT]
    green, red = _near(frame, CERTAIN_COLOUR), _near(frame, UNCERTAIN_COLOUR)
    # The certain square's left edge is one solid line, the uncertain one's is dashed.
    assert green[50:110, 58:62].any(axis=1).mean() > 0.95
    assert 0.3 < red[152:208, 298:302].any(axis=1).mean() < 0.9
    assert not green[145:215, 290:370].any()
    assert not red[:140, :].any()
    assert np.abs(frame[70:90, 90:110, :3].astype(int) - 90).max() <= 1
    assert picture[HEIGHT:].max() > 200


def test_overlay_of_some_particles_without_a_scale(tmp_path, segmentation):
    picture = _overlay(tmp_path, segmentation, labels={2}, size=None)[:HEIGHT]
    assert not _near(picture, CERTAIN_COLOUR).any()
    assert _near(picture, UNCERTAIN_COLOUR).any()


def test_scale_bar_has_its_length(tmp_path, segmentation):
    strip = _overlay(tmp_path, segmentation)[HEIGHT:]
    # 480 px of 100 nm: a quarter is 12 um, the bar 10 um, 100 px.
    white = (strip[..., :3].min(axis=-1) > 200)[strip.shape[0] // 2 :, : WIDTH // 2]
    longest = max(len(run) for row in white for run in "".join("x" if each else " " for each in row).split())
    assert longest == pytest.approx(100, abs=2)


@pytest.mark.parametrize("width", [29, 30, 113])
def test_frames_of_any_size_and_depth_are_drawn(tmp_path, width):
    empty = Segmentation(20, width, np.empty((0, 4), np.int32), (), np.empty(0), np.empty(0), np.empty(0))
    path = tmp_path / "o.png"
    deep = np.arange(20 * width, dtype=np.uint16).reshape(20, width) * 25
    draw_overlay(deep, empty, 5.0, path)
    picture = imagecodecs.png_decode(path.read_bytes())
    assert picture.shape[1] == width
    np.testing.assert_array_equal(picture[:20], np.repeat(stretch(deep)[..., None], 3, axis=2))


@given(longest=st.floats(1e-6, 1e6))
def test_round_lengths(longest):
    length = round_length(longest)
    assert longest / 2.51 <= length <= longest * (1 + 1e-6)
    assert f"{length:e}"[0] in "125"


def test_labels_of_lengths():
    assert [length_label(value) for value in (0.05, 0.5, 1, 20, 2000)] == [
        "50 nm",
        "500 nm",
        "1 µm",
        "20 µm",
        "2 mm",
    ]
    deep = np.array([[0, 1000, 2000]], np.uint16)
    assert stretch(deep).tolist() == [[0, 127, 255]]


def test_label_tiff_has_labels_and_scale(tmp_path, segmentation):
    path = tmp_path / "l.ome.tif"
    write_label_tiff(segmentation, 206.8, path)
    with tifffile.TiffFile(path) as tiff:
        image = tiff.asarray()
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, segmentation.label_image)
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeYUnit"]) == (pytest.approx(0.2068), "µm")
    write_label_tiff(segmentation, None, path, labels=[1, 3])
    with tifffile.TiffFile(path) as tiff:
        assert np.unique(tiff.asarray()).tolist() == [0, 1, 3]
        assert "PhysicalSizeX" not in tiff.ome_metadata


def test_thumbnail(tmp_path, segmentation):
    path = tmp_path / "t.png"
    write_thumbnail(np.full((HEIGHT, WIDTH), 90, np.uint8), path, width_px=240, segmentation=segmentation)
    picture = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    assert picture.shape == (150, 240, 3)
    assert _near(picture, CERTAIN_COLOUR)[30:40, 30].all()
    assert _near(picture, UNCERTAIN_COLOUR)[80:100, 150].all()
    write_thumbnail(np.full((30, 40), 90, np.uint8), path)
    assert imagecodecs.png_decode(path.read_bytes()).shape == (30, 40, 3)


def test_sizes_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(1, 0.4, 200))
    full, empty = tmp_path / "s.png", tmp_path / "e.png"
    draw_sizes(sizes, rng.random(200) > 0.3, full, title="run", detection_floor=0.5)
    draw_sizes(sizes[:0], np.zeros(0, bool), empty)
    drawn, nothing = (np.asarray(imagecodecs.png_decode(path.read_bytes())) for path in (full, empty))
    assert drawn.shape == nothing.shape
    blue = np.array([0x15, 0x65, 0xC0])
    assert (np.abs(drawn[..., :3].astype(int) - blue).max(axis=-1) < 10).sum() > 10_000
    assert not (np.abs(nothing[..., :3].astype(int) - blue).max(axis=-1) < 10).any()


def test_nothing_heavy_is_imported_before_drawing():
    packages = "labsem.figures, labsem.frames, labsem.morphology"
    code = f"import sys, {packages}; print({{'torch', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
