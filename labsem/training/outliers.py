"""Frames that are no micrographs of particles, made for fitting: :func:`outlier_frames`.

A few drawn families, and images of the training taken apart so that what they show is lost but their grey values, their
patches or their spectrum are not. What tells such frames from the domain's tells frames of other kinds too (outlier
exposure; Hendrycks et al., ICLR 2019). The families are others than those by which ``out_of_distribution`` is judged
(:mod:`labsem.evaluation.foreign`); static and speckle are noise, as one of those is, drawn in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, spatial

Grey = NDArray[np.float64]
"""(H, W), 0 to 1."""

Draw = Callable[[np.random.Generator, int, int], Grey]
TakeApart = Callable[[Grey, np.random.Generator], Grey]

OUTLIERS_EACH: Final = 24
OUTLIER_SEED: Final = 31
SIZES_PX: Final = ((480, 640), (600, 600), (768, 1024))
"""Heights and widths of drawn frames."""


def outlier_frames(
    images: Sequence[NDArray[np.uint8]], each: int = OUTLIERS_EACH, seed: int = OUTLIER_SEED
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Family and frame (H, W), ``each`` of every family in turn.

    Parameters
    ----------
    images
        Of the training, some of which are taken apart; without any, only drawn families come.
    """
    for index in range(each):
        for number, family in enumerate(FAMILIES):
            rng = np.random.default_rng([seed, index, number])
            if family in DRAWN:
                height, width = SIZES_PX[rng.integers(len(SIZES_PX))]
                yield family, _expose(DRAWN[family](rng, height, width), rng)
            elif images:
                grey = images[int(rng.integers(len(images)))].astype(float) / 255
                yield family, _to_pixels(TAKEN_APART[family](grey, rng))


def _expose(grey: Grey, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Of some contrast and either polarity; often unevenly lit, a little blurred or grainy."""
    if rng.random() < 0.5:
        grey = 1 - grey
    if rng.random() < 0.3:
        darkest = rng.uniform(0.1, 0.6)
        light = _fractal(rng, grey.shape[0], grey.shape[1], rng.uniform(2.0, 3.5))
        grey = grey * (darkest + (1 - darkest) * light)
    if rng.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, rng.uniform(0.5, 2.0))
    low, high = rng.uniform(0, 0.35), rng.uniform(0.55, 1)
    grey = low + (high - low) * grey
    if rng.random() < 0.4:
        grey = grey + rng.normal(0, rng.uniform(0.005, 0.06), grey.shape)
    return _to_pixels(grey)


def _to_pixels(grey: Grey) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.rint(grey.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _cells(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Voronoi cells in flat greys, or only the lines between them."""
    count = int(np.exp(rng.uniform(np.log(8), np.log(600))))
    seeds = rng.random((count, 2)) * (height, width)
    places = np.indices((height, width)).reshape(2, -1).T
    distance, nearest = spatial.cKDTree(seeds).query(places, k=2)
    value: Grey
    if rng.random() < 0.5:
        value = rng.random(count)[nearest[:, 0]]
    else:
        value = (distance[:, 1] - distance[:, 0] > rng.uniform(1.5, 6)).astype(float)
    return value.reshape(height, width)


def _sheets(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Polygons that hide each other, flat or each with a ramp, of sizes by a power law (as dead leaves; Lee, Mumford
    and Huang, Int. J. Comput. Vis. 41, 35, 2001).
    """
    image = Image.new("F", (width, height), 0.5)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(40, 400))):
        radius = 8 * rng.random() ** (-1 / rng.uniform(1.0, 2.0))
        corners = int(rng.integers(3, 6))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        y0, x0 = rng.random(2) * (height, width)
        points = [(x0 + radius * np.cos(a), y0 + radius * np.sin(a)) for a in angles]
        draw.polygon(points, fill=float(rng.random()))
    grey = np.asarray(image, float)
    if rng.random() < 0.5:
        grey = 0.6 * grey + 0.4 * _fractal(rng, height, width, rng.uniform(1.0, 2.0))
    return grey


def _view(rng: np.random.Generator, height: int, width: int) -> Grey:
    """As of a camera: a sky or wall with a shade, dim things out of focus before it, and some in focus before those."""
    ramp = np.linspace(rng.random(), rng.random(), height)[:, None]
    value = ramp + rng.uniform(0, 0.2) * _fractal(rng, height, width, 2.5)
    horizon = rng.uniform(0, 0.9) * height
    for blur_px in (rng.uniform(8, 30), rng.uniform(1.5, 8), 0.0):
        image, mask = Image.new("F", (width, height)), Image.new("F", (width, height))
        for _ in range(int(rng.integers(2, 14))):
            tall, wide = np.exp(rng.uniform(np.log(20), np.log(500), 2))
            y, x = rng.uniform(horizon, height), rng.random() * width
            corners = rng.normal(0, 0.4, (int(rng.integers(3, 9)), 2)) * (wide, tall) + (x, y)
            outline = [(float(a), float(b)) for a, b in corners]
            ImageDraw.Draw(image).polygon(outline, fill=float(rng.random()))
            ImageDraw.Draw(mask).polygon(outline, fill=1.0)
        shaded = np.asarray(image, float) * (0.6 + 0.4 * _fractal(rng, height, width, rng.uniform(1.0, 2.5)))
        cover = ndimage.gaussian_filter(np.asarray(mask, float), blur_px)
        value = value * (1 - cover) + ndimage.gaussian_filter(shaded, blur_px)
    return _stretched(value)


def _handwriting(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Rows of looped strokes of one pen."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    size, pen = rng.uniform(8, 60), int(rng.integers(1, 7))
    y = size
    while y < height + size:
        x = rng.uniform(0, 3 * size)
        while x < width:
            steps = int(rng.integers(20, 80))
            turn = np.cumsum(rng.normal(0.35, 0.5, steps))
            along = x + np.linspace(0, steps / 12, steps) * size + 0.5 * size * np.cos(turn)
            draw.line(list(zip(along, y + 0.5 * size * np.sin(turn), strict=True)), fill=0, width=pen)
            x = float(along[-1]) + size * rng.uniform(0.5, 1.5)
        y += size * rng.uniform(1.6, 3.0)
    return np.asarray(image, float) / 255


def _schematic(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Boxes, bars and lines, as of a screen, a diagram or a chart."""
    image = Image.new("L", (width, height), int(rng.integers(200, 256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(8, 80))):
        y, x = rng.random(2) * (height, width)
        tall, wide = np.exp(rng.uniform(np.log(6), np.log(400), 2))
        fill = None if rng.random() < 0.4 else int(rng.integers(0, 256))
        draw.rectangle((x, y, x + wide, y + tall), fill, outline=0, width=int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(0, 60))):
        y, x = rng.random(2) * (height, width)
        end = (rng.random() * width, y) if rng.random() < 0.5 else (x, rng.random() * height)
        draw.line((x, y, *end), fill=int(rng.integers(0, 150)), width=int(rng.integers(1, 5)))
    return np.asarray(image, float) / 255


def _labyrinth(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Passages of a maze: of every block, the pillar and one wall."""
    side = int(rng.integers(4, 28))
    rows, columns = height // side // 2 + 1, width // side // 2 + 1
    maze = np.zeros((2 * rows, 2 * columns))
    maze[::2, ::2] = 1
    to_right = rng.random((rows, columns)) < 0.5
    maze[::2, 1::2] = to_right
    maze[1::2, ::2] = ~to_right
    return _enlarged(maze, side, height, width)


def _barcode(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Bars of irregular width, along one side of the frame."""
    along, across = (height, width) if rng.random() < 0.5 else (width, height)
    widths = rng.integers(1, 9, across) * int(rng.integers(1, 8))
    row = np.repeat(np.arange(across) % 2, widths)[:across].astype(float)
    bars = np.broadcast_to(row, (along, across))
    return np.array(bars if along == height else bars.T)


def _automaton(rng: np.random.Generator, height: int, width: int) -> Grey:
    """History of an elementary cellular automaton of a lively rule."""
    side = int(rng.integers(2, 14))
    rows, columns = height // side + 1, width // side + 1
    rule = (int(rng.choice([22, 30, 45, 54, 60, 73, 90, 105, 110, 126, 150])) >> np.arange(8)) & 1
    cells = np.empty((rows, columns), np.int64)
    cells[0] = rng.random(columns) < rng.uniform(0.05, 0.6)
    for row in range(1, rows):
        above = cells[row - 1]
        cells[row] = rule[4 * np.roll(above, 1) + 2 * above + np.roll(above, -1)]
    return _enlarged(cells.astype(float), side, height, width)


def _plasma(rng: np.random.Generator, height: int, width: int) -> Grey:
    """A sum of a few plane waves, some bent by another; often long ones, so that only shades remain."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    longest = np.exp(rng.uniform(np.log(1), np.log(60)))
    value = np.zeros((height, width))
    for _ in range(int(rng.integers(2, 7))):
        ky, kx = rng.uniform(-1, 1, 2) * longest
        bend = rng.uniform(0, 1.5) * np.sin(2 * np.pi * (kx * y - ky * x) + rng.uniform(0, 6))
        value += rng.random() * np.sin(2 * np.pi * (ky * y + kx * x) + bend + rng.uniform(0, 6))
    return _stretched(value)


def _terrain(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Fractal land: its height in steps, its ridges, or lit from a side."""
    land = _fractal(rng, height, width, rng.uniform(1.5, 2.4))
    kind = rng.choice(["steps", "ridges", "lit"])
    if kind == "steps":
        return _stretched(np.floor(land * rng.integers(3, 16)))
    if kind == "ridges":
        return _stretched(-np.abs(land - np.median(land)))
    slope_y, slope_x = np.gradient(land)
    angle = rng.uniform(0, 2 * np.pi)
    return _stretched(np.cos(angle) * slope_x + np.sin(angle) * slope_y)


def _turing(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Spots and worms of one width, as a reaction that diffuses leaves them: noise sharpened again and again."""
    width_px, level = np.exp(rng.uniform(np.log(1.5), np.log(10))), rng.uniform(-0.3, 0.3)
    value = rng.normal(0, 1, (height, width))
    for _ in range(6):
        value = ndimage.gaussian_filter(value, width_px) - ndimage.gaussian_filter(value, 1.6 * width_px)
        value = np.tanh(4 * (value / value.std() + level))
    return _stretched(value)


def _weave(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Threads that go over and under each other, turned and uneven."""
    y, x = np.mgrid[:height, :width].astype(float)
    bend = 8 * rng.random() * (_fractal(rng, height, width, 2.0) - 0.5)
    angle, pitch = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(6), np.log(60)))
    u = (np.cos(angle) * x + np.sin(angle) * y) / pitch + bend
    v = (np.cos(angle) * y - np.sin(angle) * x) / pitch + bend
    over = np.mod(np.floor(u) + rng.integers(1, 3) * np.floor(v), rng.integers(2, 5)) == 0
    threads: Grey = np.where(over, np.abs(np.sin(np.pi * u)), 0.7 * np.abs(np.sin(np.pi * v)))
    return threads


def _patches(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Blocks of greys as of a colour chart, each with a pattern of its own."""
    side = int(rng.integers(24, 160))
    rows, columns = height // side + 1, width // side + 1
    ground = _enlarged(rng.random((rows, columns)), side, height, width)
    mark = _enlarged(rng.random((rows, columns)), side, height, width)
    y, x = np.mgrid[:height, :width]
    inside = np.maximum(abs(y % side - side / 2), abs(x % side - side / 2)) < rng.uniform(0.2, 0.5) * side
    return np.where(inside, mark, ground)


def _static(rng: np.random.Generator, height: int, width: int) -> Grey:
    """What a detector gives without a beam: noise of several grain sizes at once, sometimes by lines."""
    value = np.zeros((height, width))
    for side in (1, 2, 4, 8, 16, 32)[: int(rng.integers(1, 7))]:
        grains = rng.gamma(np.exp(rng.uniform(-2, 3)), 1, (height // side + 1, width // side + 1))
        grains = (grains - grains.mean()) / (grains.std() + 1e-9)
        value += rng.random() * _enlarged(grains, side, height, width)
    if rng.random() < 0.25:
        value += rng.random() * rng.normal(0, 1, (height, 1))
    return _stretched(value)


def _speckle(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Dots, dashes and holes of single pixels, strewn over one grey or over a slow shade."""
    ground = _fractal(rng, height, width, rng.uniform(2.0, 3.0)) * rng.uniform(0, 0.5)
    length = int(rng.integers(1, 4))
    for level in rng.uniform(0, 1, int(rng.integers(1, 4))):
        dots = rng.random((height, width)) < np.exp(rng.uniform(np.log(0.003), np.log(0.3)))
        ground = np.where(ndimage.maximum_filter1d(dots, length, axis=int(rng.integers(2))), level, ground)
    return ground


def _shuffle_tiles(grey: Grey, rng: np.random.Generator) -> Grey:
    """Square tiles in another order, each turned."""
    side = min(int(rng.integers(6, max(7, min(grey.shape) // 5))), *grey.shape)
    rows, columns = grey.shape[0] // side, grey.shape[1] // side
    tiles = [
        np.rot90(grey[y * side : (y + 1) * side, x * side : (x + 1) * side], int(rng.integers(4)))
        for y in range(rows)
        for x in range(columns)
    ]
    order = rng.permutation(len(tiles))
    return np.block([[tiles[order[y * columns + x]] for x in range(columns)] for y in range(rows)])


def _randomise_phase(grey: Grey, rng: np.random.Generator) -> Grey:
    """The same spectrum of amplitudes with the phases of noise."""
    noise = np.fft.rfft2(rng.normal(0, 1, grey.shape))
    phase = noise / np.maximum(np.abs(noise), 1e-12)
    value = np.fft.irfft2(np.abs(np.fft.rfft2(grey - grey.mean())) * phase, s=grey.shape)
    scaled: Grey = grey.mean() + value * (grey.std() / max(float(value.std()), 1e-12))
    return scaled


def _shuffle_lines(grey: Grey, rng: np.random.Generator) -> Grey:
    """Rows or columns in another order, or each shifted along itself."""
    turned = grey if rng.random() < 0.5 else grey.T
    if rng.random() < 0.5:
        shuffled = turned[rng.permutation(len(turned))]
    else:
        shuffled = np.stack([np.roll(row, int(rng.integers(len(row)))) for row in turned])
    return shuffled if turned is grey else shuffled.T


def _fractal(rng: np.random.Generator, height: int, width: int, slope: float) -> Grey:
    """Noise whose amplitude falls with frequency by a power."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(y, x), 1 / max(height, width))
    white = np.fft.rfft2(rng.normal(0, 1, (height, width)))
    return _stretched(np.fft.irfft2(white * frequency**-slope, s=(height, width)))


def _enlarged(cells: Grey, side: int, height: int, width: int) -> Grey:
    return np.repeat(np.repeat(cells, side, axis=0), side, axis=1)[:height, :width]


def _stretched(value: Grey) -> Grey:
    low, high = np.percentile(value, [0.2, 99.8])
    stretched: Grey = ((value - low) / max(high - low, 1e-9)).clip(0, 1)
    return stretched


DRAWN: Final[dict[str, Draw]] = {
    "cells": _cells,
    "sheets": _sheets,
    "view": _view,
    "handwriting": _handwriting,
    "schematic": _schematic,
    "labyrinth": _labyrinth,
    "barcode": _barcode,
    "automaton": _automaton,
    "plasma": _plasma,
    "terrain": _terrain,
    "turing": _turing,
    "weave": _weave,
    "patches": _patches,
    "static": _static,
    "speckle": _speckle,
}
TAKEN_APART: Final[dict[str, TakeApart]] = {
    "shuffled tiles": _shuffle_tiles,
    "random phase": _randomise_phase,
    "shuffled lines": _shuffle_lines,
}
FAMILIES: Final = (*DRAWN, *TAKEN_APART)
