"""The data bar is found where there is one and never where there is none."""

import imagecodecs
import numpy as np
import pytest
from skimage.draw import disk

from labsem.frames import read_frame
from labsem.frames.databar import detect_databar


def _field(seed: int, background: int, height: int = 480, width: int = 640) -> np.ndarray:
    """Bright discs on a noisy, shaded ground; a ground of 0 is clipped flat, as real dark frames are."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), float(background)) + np.linspace(0, 10, height)[:, None]
    for y, x, radius in zip(
        rng.integers(0, height, 30), rng.integers(0, width, 30), rng.integers(8, 50, 30), strict=True
    ):
        image[disk((y, x), radius, shape=image.shape)] = rng.uniform(90, 220)
    noise = rng.normal(0, 6, image.shape)
    return np.clip(image + noise - (40 if background == 0 else 0), 0, 255).astype(np.uint8)


def _bar(rows: int, width: int, fill: int, ink: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bar = np.full((rows, width), fill, np.uint8)
    inner = slice(rows // 4, -(rows // 4))
    glyphs = rng.random((bar[inner].shape[0], width // 2)) < 0.4
    glyphs[:, rng.random(width // 2) < 0.4] = False
    bar[inner, : width // 2][glyphs] = ink
    bar[rows // 2, width * 3 // 4 : width * 7 // 8] = ink
    return bar


@pytest.mark.parametrize(("fill", "ink"), [(0, 255), (255, 0), (30, 230)])
@pytest.mark.parametrize("background", [0, 60])
@pytest.mark.parametrize("rows", [24, 60])
def test_a_printed_bar_is_found_to_the_row(fill, ink, background, rows):
    field = _field(rows + fill, background)
    image = np.vstack([field, _bar(rows, 640, fill, ink, rows)])
    found = detect_databar(image)
    # Against a ground clipped to the fill's own level the upper edge cannot be told: none is cropped then.
    assert found in ((0, rows) if background == fill else (rows,))
    assert detect_databar(image.astype(np.uint16) * 257) == found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("background", [0, 20, 120])
def test_a_frame_without_a_bar_keeps_its_rows(seed, background):
    assert detect_databar(_field(seed, background)) == 0


def test_a_strip_without_text_is_no_bar():
    field = _field(1, 60)
    assert detect_databar(np.vstack([field, np.zeros((40, 640), np.uint8)])) == 0
    assert detect_databar(np.zeros((200, 200), np.uint8)) == 0
    assert detect_databar(np.zeros((10, 10), np.uint8)) == 0


def test_it_is_cropped_through_a_jpeg(tmp_path):
    field = _field(5, 60)
    path = tmp_path / "a.jpg"
    path.write_bytes(imagecodecs.jpeg_encode(np.vstack([field, _bar(48, 640, 0, 255, 3)]), level=90))
    frame = read_frame(path)
    assert abs(frame.databar_rows - 48) <= 2
    assert frame.height_px + frame.databar_rows == 528
    assert read_frame(path, databar="none").height_px == 528


def test_no_real_frame_without_a_bar_is_cropped(shared):
    folders = ("phenom", "ampis/images", "powders/images")
    paths = [path for folder in folders for path in sorted((shared / "data" / folder).glob("*.*"))[:25]]
    assert len(paths) >= 30
    assert {path.name: read_frame(path).databar_rows for path in paths if read_frame(path).databar_rows} == {}


def test_printed_bars_of_published_figures_are_found(shared):
    images = shared / "data" / "emps" / "images"
    rows = {"427ebc9e15": 64, "4628753cd8": 47, "31f17306c8": 32, "8e1269eba3": 34}
    for name, expected in rows.items():
        assert read_frame(images / f"{name}.png").databar_rows == expected
