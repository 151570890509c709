"""The stub's surface: texture, and all that is on it and is no particle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from labsem.simulation.scene import Look, Substrate
from labsem.simulation.textures import TILE_TEXELS, Image, fractal_tile, sample
from labsem.simulation.view import View

Axis = NDArray[np.float64]

SIZES_PX: Final = (5.0, 0.125)
"""Features are drawn from a radius of 5 px up to an eighth of the field's width in diameter."""


def render_substrate(
    seed: int, substrate: Substrate, look: Look, view: View, columns_um: Axis, rows_um: Axis
) -> Image:
    """Grey level of the bare substrate, without detector noise.

    Texture and features live in octaves of length in the plane's own coordinates: every field shows some
    of every size, and neighbouring fields of one width continue each other.

    Parameters
    ----------
    columns_um, rows_um
        Places of the pixels, with a margin around the view.

    Returns
    -------
    NDArray
        (rows, columns) float32.
    """
    pixel_um, width_um = view.pixel_um, view.hfw_um
    field_um2 = width_um * pixel_um * view.height_px
    level = np.full((len(rows_um), len(columns_um)), substrate.level_under(view.detector), np.float32)
    if substrate.kind == "tape" and substrate.relief > 0.55:
        _zones(seed, level, columns_um, rows_um, width_um)
    smallest, largest = SIZES_PX[0] * pixel_um, SIZES_PX[1] * width_um / 2
    octaves = range(int(np.floor(np.log2(smallest))), int(np.floor(np.log2(largest))) + 1)
    if substrate.features_per_field > 0:
        density = substrate.features_per_field / max(len(octaves), 1) / field_um2
        for octave in reversed(octaves):
            _features(seed, octave, density, substrate, look, level, columns_um, rows_um, largest)
    _grain(seed, substrate, level, columns_um, rows_um, pixel_um)
    if substrate.dust > 0:
        _dust(seed, substrate, level, columns_um, rows_um, pixel_um, substrate.dust / field_um2)
    return level


def _octave_offset(seed: int, octave: int, purpose: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, purpose, octave % 2**32]).uniform(0, TILE_TEXELS, 2)


def _noise(seed: int, octave: int, purpose: int, columns_um: Axis, rows_um: Axis, exponent: float) -> Image:
    """Noise with one texel for 2**octave um."""
    offset = _octave_offset(seed, octave, purpose)
    texel = 2.0**octave
    tile = fractal_tile(exponent, abs(octave) % 3)
    return sample(tile, columns_um / texel + offset[0], rows_um / texel + offset[1])


def _grain(
    seed: int, substrate: Substrate, level: Image, columns_um: Axis, rows_um: Axis, pixel_um: float
) -> None:
    fine = int(np.ceil(np.log2(pixel_um)))
    total = np.ones_like(level)
    for octave, share in ((fine, 0.5), (fine + 2, 0.6), (fine + 4, 0.5), (fine + 6, 0.5)):
        total += np.float32(substrate.grain * share) * _noise(
            seed, octave, 21, columns_um, rows_um, 0.8 if octave == fine else 1.6
        )
    level *= total


def _zones(seed: int, level: Image, columns_um: Axis, rows_um: Axis, width_um: float) -> None:
    """Large dark regions with soft or sharp banks, as where the adhesive has flowed."""
    octave = int(np.floor(np.log2(width_um / 90)))
    rng = np.random.default_rng([seed, 22, octave % 2**32])
    if rng.random() < 0.5:
        return
    noise = _noise(seed, octave, 23, columns_um, rows_um, 2.0)
    threshold, softness = float(rng.uniform(0.3, 1.3)), float(np.exp(rng.uniform(np.log(0.01), np.log(0.3))))
    dark = np.clip((noise - threshold) / softness, 0, 1)
    bank = np.exp(-(((noise - threshold) / max(softness, 0.04)) ** 2)) * float(rng.choice([0, 0.15, 0.5]))
    level *= (1 - float(rng.uniform(0.2, 0.75)) * dark + bank).astype(np.float32)


def _dust(
    seed: int,
    substrate: Substrate,
    level: Image,
    columns_um: Axis,
    rows_um: Axis,
    pixel_um: float,
    specks_per_um2: float,
) -> None:
    """Specks of about 1 to 3 px, in drifts: too small to be counted."""
    octave = int(np.floor(np.log2(pixel_um * 256)))
    for size in (octave, octave + 1):
        cell = 2.0**size
        share = specks_per_um2 * cell**2 / 2
        for ix, iy in _cells(columns_um, rows_um, cell):
            rng = np.random.default_rng([seed, 24, size % 2**32, ix % 2**32, iy % 2**32])
            count = int(rng.poisson(share * rng.gamma(0.6, 1 / 0.6)))
            x, y = (rng.random((count, 2)) + np.array([ix, iy])).T * cell
            gain = rng.uniform(0.2, 1.2, count) * substrate.relief
            j = np.rint((x - columns_um[0]) / pixel_um).astype(int)
            i = np.rint((y - rows_um[0]) / pixel_um).astype(int)
            big = rng.random(count) < 0.4
            for di, dj, only_big in ((0, 0, False), (0, 1, True), (1, 0, True), (1, 1, True)):
                seen = (i + di >= 0) & (i + di < len(rows_um)) & (j + dj >= 0) & (j + dj < len(columns_um))
                seen &= big | (not only_big)
                level[i[seen] + di, j[seen] + dj] += (0.6 * gain[seen]).astype(np.float32)


def _cells(columns_um: Axis, rows_um: Axis, cell_um: float, margin_um: float = 0.0) -> list[tuple[int, int]]:
    margin = np.array([-margin_um, margin_um])
    x0, x1 = np.floor((columns_um[[0, -1]] + margin) / cell_um)
    y0, y1 = np.floor((rows_um[[0, -1]] + margin) / cell_um)
    return [(ix, iy) for iy in range(int(y0), int(y1) + 1) for ix in range(int(x0), int(x1) + 1)]


def _features(
    seed: int,
    octave: int,
    density: float,
    substrate: Substrate,
    look: Look,
    level: Image,
    columns_um: Axis,
    rows_um: Axis,
    largest_um: float,
) -> None:
    cell = 20 * 2.0**octave
    for ix, iy in _cells(columns_um, rows_um, cell, 2.5 * 2.0 ** (octave + 1)):
        rng = np.random.default_rng([seed, 25, octave % 2**32, ix % 2**32, iy % 2**32])
        for _ in range(int(rng.poisson(density * cell**2))):
            x, y = (np.array([ix, iy]) + rng.random(2)) * cell
            radius = min(2.0 ** (octave + rng.random()), largest_um)
            kind = _KINDS[int(np.searchsorted(_CUMULATED, rng.random()))]
            own = np.random.default_rng(int(rng.integers(2**62)))
            j0, j1 = np.searchsorted(columns_um, (x - 2.5 * radius, x + 2.5 * radius))
            i0, i1 = np.searchsorted(rows_um, (y - 2.5 * radius, y + 2.5 * radius))
            if i1 - i0 < 2 or j1 - j0 < 2:
                continue
            factor = _feature(
                own, kind, (columns_um[j0:j1] - x) / radius, (rows_um[i0:i1] - y) / radius, look
            )
            level[i0:i1, j0:j1] *= 1 + np.float32(substrate.relief) * (factor - 1)
    np.maximum(level, 0.0, out=level)


def _feature(
    rng: np.random.Generator, kind: Callable[..., Image], columns: Axis, rows: Axis, look: Look
) -> Image:
    u, v = columns.astype(np.float32)[None, :], rows.astype(np.float32)[:, None]
    warp = np.float32(rng.choice([0.0, 0.04, 0.15]))
    if warp > 0:
        offset = rng.uniform(0, TILE_TEXELS, 2)
        noise = sample(fractal_tile(1.9, 1), columns * 70 + offset[0], rows * 70 + offset[1])
        u, v = u + warp * noise, v - warp * noise
    stretch = np.float32(np.exp(rng.normal(0, 0.2)))
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    light = look.azimuth_rad - angle
    return np.maximum(kind(rng, (c * u + s * v) * stretch, (c * v - s * u) / stretch, light), 0).astype(
        np.float32
    )


def _edge(rho: Image, softness: float) -> Image:
    """1 inside the unit circle, 0 outside, over ``softness`` of the radius."""
    return np.asarray(np.clip((1 - rho) / np.float32(softness) + 0.5, 0, 1))


def _hole(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """Dark inside, often with a bright rim; any contrast, any sharpness."""
    rho = np.hypot(u, v)
    softness, depth = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5)))), float(rng.uniform(0.2, 0.97))
    inside = _edge(rho, softness)
    side = (u * np.cos(light) + v * np.sin(light)) * float(rng.uniform(-0.5, 0.5))
    rim = float(rng.choice([0.0, 0.15, 0.5, 1.0])) * np.exp(
        -(((rho - 1 - softness / 2) / float(rng.uniform(0.03, 0.16))) ** 2)
    )
    rim = rim * (1 + 0.6 * np.sign(side) * np.minimum(np.abs(side), 1))
    return np.asarray(1 - depth * inside * (1 - 0.6 * np.clip(side, 0, 1)) + rim)


def _bubble(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """A dome under a skin: one side lit, a thin outline, no other substance."""
    rho = np.hypot(u, v)
    slope = np.where(rho < 1, rho * np.sqrt(np.clip(1 - rho**2, 0, 1)), 0) * 2
    side = (u * np.cos(light) + v * np.sin(light)) / np.maximum(rho, 0.05)
    ring = np.exp(-(((rho - 1) / float(rng.uniform(0.02, 0.1))) ** 2)) * float(rng.uniform(0.0, 0.7))
    return np.asarray(1 + float(rng.uniform(0.05, 0.5)) * slope * side + ring * (0.6 + 0.4 * side))


def _crater(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """A shallow hollow: lit on the far side, no sharp edge."""
    rho2 = u * u + v * v
    bell = np.exp(-rho2 / 0.5)
    side = u * np.cos(light) + v * np.sin(light)
    return np.asarray(1 - float(rng.uniform(0.1, 0.6)) * bell - float(rng.uniform(0.1, 0.7)) * bell * side)


def _ridge(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """A smooth fold: a bright line, an arc or a ring piece, dark on its lee side."""
    across = v - float(rng.normal(0, 0.5)) * u * u + float(rng.uniform(-0.2, 0.2))
    width = float(np.exp(rng.uniform(np.log(0.04), np.log(0.3))))
    along = np.exp(-((u / float(rng.uniform(0.8, 1.8))) ** 4))
    line = np.exp(-((across / width) ** 2))
    lee = np.exp(-(((across - 1.8 * width) / (1.5 * width)) ** 2)) * float(rng.uniform(0.0, 0.5))
    return np.asarray(1 + along * (float(rng.uniform(0.1, 0.9)) * line - lee) * (0.8 + 0.2 * np.sin(light)))


def _hollow(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """A flake-like flat dark place with straight sides."""
    sides = int(rng.integers(4, 8))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) / sides
    rho: Image = np.max(
        [
            (np.float32(np.cos(a)) * u + np.float32(np.sin(a)) * v) / np.float32(d)
            for a, d in zip(angles, rng.uniform(0.6, 1.1, sides), strict=True)
        ],
        axis=0,
    )
    inside = _edge(rho, float(rng.uniform(0.03, 0.2)))
    edge = np.exp(-(((rho - 1.03) / 0.06) ** 2)) * float(rng.choice([0.0, 0.2, 0.6]))
    tilt = 0.3 * (u * np.cos(light) + v * np.sin(light))
    return np.asarray(1 - float(rng.uniform(0.15, 0.8)) * inside * (1 - tilt) + edge)


def _smudge(rng: np.random.Generator, u: Image, v: Image, light: float) -> Image:
    """Faint residue without an edge, lighter or darker."""
    strength = float(rng.uniform(-0.35, 0.35)) * (1 + 0.1 * np.sin(light))
    return np.asarray(1 + np.float32(strength) * np.exp(-(u * u + 2.5 * v * v) / 0.7))


_KINDS: Final = (_hole, _bubble, _crater, _ridge, _hollow, _smudge)
_CUMULATED: Final = np.array([0.34, 0.48, 0.60, 0.74, 0.86])
"""Shares of the kinds, added up; the rest is the last one's."""
