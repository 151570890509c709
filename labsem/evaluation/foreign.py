"""Frames unlike anything that a particle network learns from: :func:`foreign_frames`.

They measure how often ``out_of_distribution`` is raised; nothing is fitted to them and no limit is chosen on them.
Pictures and textures come from the files inside the installed scikit-image; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.transform import resize

Grey = NDArray[np.float64]
"""(H, W), 0 to 1."""

FOREIGN_FRAMES: Final = 200
SIZES_PX: Final = ((512, 512), (512, 768), (768, 1024), (960, 1280))
"""Heights and widths."""

TEXTURES: Final = ("brick", "grass", "gravel")
PICTURES: Final = ("camera", "clock_motion", "moon", "page", "text")
_TEXT: Final = (
    "the quick brown fox jumps over a lazy dog; report of the meeting, table and figure, 1234567890 "
    "(see appendix B) total amount due: 42.50 Abstract Introduction Conclusions Subject: Re: order"
)


@dataclass(frozen=True)
class ForeignFrame:
    """One frame: its name, the family it is of, and (H, W) grey values."""

    name: str
    family: str
    pixels: NDArray[np.uint8]


def foreign_frames(count: int = FOREIGN_FRAMES, seed: int = 0) -> Iterator[ForeignFrame]:
    """Frames of all families in turn; frame k does not depend on ``count``."""
    families = list(FAMILIES)
    for index in range(count):
        family = families[index % len(families)]
        rng = np.random.default_rng([seed, index, 97])
        height, width = SIZES_PX[rng.integers(len(SIZES_PX))]
        grey = FAMILIES[family](rng, height, width)
        yield ForeignFrame(f"{family}-{seed}-{index:03d}", family, _to_pixels(grey, rng))


def _to_pixels(grey: Grey, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Any contrast, either polarity, sometimes the grain of a camera."""
    if rng.random() < 0.5:
        grey = 1 - grey
    low = rng.uniform(0, 0.3)
    grey = low + (rng.uniform(0.6, 1) - low) * grey
    if rng.random() < 0.3:
        grey = grey + rng.normal(0, rng.uniform(0.01, 0.06), grey.shape)
    pixels: NDArray[np.uint8] = np.rint(grey.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _text(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Lines of words in one size, level or turned."""
    page = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(page)
    size = int(np.exp(rng.uniform(np.log(12), np.log(90))))
    font = ImageFont.load_default(size)
    y = float(rng.uniform(-size, size))
    while y < height:
        draw.text((rng.uniform(-size, size), y), " ".join(rng.choice(_TEXT.split(), 40)), fill=0, font=font)
        y += size * rng.uniform(1.1, 1.8)
    if rng.random() < 0.4:
        page = page.rotate(float(rng.uniform(-30, 30)), Image.Resampling.BILINEAR, fillcolor=255)
    return np.asarray(page, float) / 255


def _noise(rng: np.random.Generator, height: int, width: int) -> Grey:
    """White, coarse, 1/f, in blocks, or black and white grains."""
    kind = rng.choice(["white", "coarse", "pink", "blocks", "grains"])
    if kind == "blocks":
        side = int(rng.integers(4, 48))
        return _filled(rng.random((height // side + 1, width // side + 1)), side, height, width)
    white = rng.normal(0, 1, (height, width))
    if kind == "grains":
        share = rng.uniform(0.02, 0.5)
        return np.where(rng.random((height, width)) < share, rng.random((height, width)) < 0.5, 0.5).astype(
            float
        )
    if kind == "coarse":
        white = ndimage.gaussian_filter(white, rng.uniform(0.8, 6))
    if kind == "pink":
        y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
        frequency = np.maximum(np.hypot(y, x), 1 / max(height, width))
        white = np.fft.irfft2(np.fft.rfft2(white) * frequency ** -rng.uniform(0.7, 1.6), s=(height, width))
    return _stretched(white)


def _gradient(rng: np.random.Generator, height: int, width: int) -> Grey:
    """A ramp, a spot or a sweep around a point."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    kind = rng.choice(["ramp", "spot", "sweep"])
    angle = rng.uniform(0, 2 * np.pi)
    y0, x0 = rng.uniform(-0.5, 0.5, 2)
    if kind == "ramp":
        value = np.cos(angle) * x + np.sin(angle) * y
    elif kind == "spot":
        value = np.hypot(y - y0, x - x0)
    else:
        value = np.mod(np.arctan2(y - y0, x - x0) + angle, 2 * np.pi)
    return _stretched(value) ** rng.uniform(0.6, 1.6)


def _stripes(rng: np.random.Generator, height: int, width: int) -> Grey:
    """Bars, sines, checkers or rings of one period."""
    y, x = np.mgrid[:height, :width].astype(float)
    period = np.exp(rng.uniform(np.log(8), np.log(160)))
    angle = rng.uniform(0, np.pi)
    u = (np.cos(angle) * x + np.sin(angle) * y) / period
    v = (np.cos(angle) * y - np.sin(angle) * x) / period
    kind = rng.choice(["bars", "sine", "checkers", "rings"])
    value: Grey
    if kind == "bars":
        value = (np.mod(u, 1) < rng.uniform(0.2, 0.8)).astype(float)
    elif kind == "sine":
        value = 0.5 + 0.5 * np.sin(2 * np.pi * u)
    elif kind == "checkers":
        value = ((np.floor(u) + np.floor(v)) % 2).astype(float)
    else:
        y0, x0 = rng.uniform(0, height), rng.uniform(0, width)
        value = 0.5 + 0.5 * np.sin(2 * np.pi * np.hypot(y - y0, x - x0) / period)
    return value


def _texture(rng: np.random.Generator, height: int, width: int) -> Grey:
    return _part_of(str(rng.choice(TEXTURES)), rng, height, width)


def _picture(rng: np.random.Generator, height: int, width: int) -> Grey:
    return _part_of(str(rng.choice(PICTURES)), rng, height, width)


def _part_of(name: str, rng: np.random.Generator, height: int, width: int) -> Grey:
    """A crop of a bundled picture, turned and brought to the frame's size."""
    source = np.rot90(bundled_picture(name), int(rng.integers(4)))
    scale = np.exp(rng.uniform(np.log(0.7), np.log(2.5)))  # frame pixels for one of the picture
    rows, columns = max(32, round(height / scale)), max(32, round(width / scale))
    more = (max(0, rows - source.shape[0]), max(0, columns - source.shape[1]))
    source = np.pad(source, ((0, more[0]), (0, more[1])), mode="reflect")
    y, x = rng.integers(source.shape[0] - rows + 1), rng.integers(source.shape[1] - columns + 1)
    crop = source[y : y + rows, x : x + columns]
    scaled: Grey = resize(crop, (height, width), order=1, anti_aliasing=scale < 1)  # type: ignore[no-untyped-call]
    return _stretched(scaled)


@cache
def bundled_picture(name: str) -> Grey:
    """(H, W) a grey picture of the installed scikit-image, 0 to 1."""
    raw = files("skimage.data").joinpath(f"{name}.png").read_bytes()
    return np.asarray(imagecodecs.png_decode(raw), float) / 255


def _filled(cells: Grey, side: int, height: int, width: int) -> Grey:
    return np.repeat(np.repeat(cells, side, axis=0), side, axis=1)[:height, :width]


def _stretched(value: Grey) -> Grey:
    low, high = np.percentile(value, [0.1, 99.9])
    stretched: Grey = ((value - low) / max(high - low, 1e-9)).clip(0, 1)
    return stretched


FAMILIES: Final[dict[str, Callable[[np.random.Generator, int, int], Grey]]] = {
    "text": _text,
    "noise": _noise,
    "gradient": _gradient,
    "stripes": _stripes,
    "texture": _texture,
    "picture": _picture,
}
