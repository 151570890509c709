"""The scan: charging, vibration, drift, vignetting, noise, amplifier and converter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import lfilter

from labsem.simulation.textures import Image, enlarge
from labsem.simulation.view import View

ELECTRONS_PER_NS = 0.22
"""Detected electrons per nanosecond of dwell at grey level 1."""

MAINS_HZ = 50.0

CHARGING_FROM_KV = 2.5
"""About the voltage under which as many electrons leave an insulator as arrive (Reimer, 2nd ed., section 3.5)."""

DEFLECTS_FROM = 0.5
"""Strength of charging over which it moves the beam as well."""

DEFLECTION = 0.003
"""Standard deviation of that over the frame's width, for each unit of strength."""

JUMPS = 8
"""Mean number of jumps in a frame."""

HALO_SHARE = 0.02
"""Standard deviation of the halo around a charged body over the frame's width."""

COARSE = 8


def charge(
    image: Image, insulating: NDArray[np.bool_], strength: float, voltage_kv: float, rng: np.random.Generator
) -> Image:
    """What insulators do: bright themselves, a dark halo around them, streaks behind them along the scan."""
    strength *= max(1 - CHARGING_FROM_KV / voltage_kv, 0.0)
    if strength <= 0 or not insulating.any():
        return image
    charged = image * insulating
    halo = ndimage.gaussian_filter(charged[::COARSE, ::COARSE], HALO_SHARE * image.shape[1] / COARSE)
    field = np.float32(6 * strength) * enlarge(np.asarray(halo), COARSE, image.shape)
    field = np.where(insulating, 1 + np.float32(0.4) * field, 1 - np.minimum(field, np.float32(0.7)))
    tail = lfilter([0.02], [1, -0.98], np.maximum(charged - np.float32(0.45), 0), axis=1).astype(np.float32)
    gain = ndimage.gaussian_filter1d(rng.standard_normal(len(image)), 1.5)[:, None] * 4.5
    bands = ndimage.gaussian_filter1d(rng.standard_normal(len(image)), 2.0)[:, None] * 0.15
    return np.asarray(image * field + np.float32(strength) * (gain * tail + bands).astype(np.float32))


def charge_deflection_px(
    shape: tuple[int, int], strength: float, voltage_kv: float, rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Displacement of each line by strong charge: it wanders, and jumps where charge breaks through.

    None up to :data:`DEFLECTS_FROM`, under which charge shows in the signal alone.
    """
    excess = strength * max(1 - CHARGING_FROM_KV / voltage_kv, 0.0) - DEFLECTS_FROM
    if excess <= 0:
        return None
    height, width = shape
    wandering = ndimage.gaussian_filter1d(rng.standard_normal(height), 8) * 5.3
    jumps = np.zeros(height)
    where = rng.random(height) < JUMPS / height
    jumps[where] = rng.choice([-2.0, 2.0], np.count_nonzero(where))
    decaying = lfilter([1.0], [1, -np.exp(-JUMPS / height)], jumps)
    return np.asarray(DEFLECTION * width * excess * (wandering + decaying))


def line_vibration_px(view: View, rng: np.random.Generator) -> NDArray[np.float64]:
    """Displacement of each line: half of it at the mains frequency, half at random; averages weaken it."""
    line_s = view.width_px * view.dwell_time_ns * 1e-9
    sigma_px = view.vibration_nm / (1000 * view.pixel_um) / view.frame_averages**0.5
    phase = rng.uniform(0, 2 * np.pi)
    hum = np.sin(2 * np.pi * MAINS_HZ * line_s * np.arange(view.height_px) + phase)
    shaken = ndimage.gaussian_filter1d(rng.standard_normal(view.height_px), 0.8) * 1.5
    return np.asarray(sigma_px * (hum + 0.7 * shaken))


def drift_shear_px(view: View) -> NDArray[np.float64]:
    """Displacement of each line by the drift along x within one scan, 0 in the middle."""
    during_px = view.drift_x_nm_s * view.scan_s / (1000 * view.pixel_um)
    return np.asarray(during_px * (np.arange(view.height_px) / view.height_px - 0.5))


def shift_rows(image: Image, shift_px: NDArray[np.float64]) -> Image:
    """Move each row to the right by a fraction of pixels (linear)."""
    if np.abs(shift_px).max() < 0.05:
        return image
    padded = max(int(np.ceil(np.abs(shift_px).max())), 1)
    wide = np.pad(image, ((0, 0), (padded, padded)), mode="edge")
    whole = np.floor(-shift_px).astype(np.intp)
    share = (-shift_px - whole).astype(np.float32)
    result = np.empty_like(image)
    width = image.shape[1]
    for row, (start, part) in enumerate(zip(whole + padded, share, strict=True)):
        line = wide[row]
        after = line[start + 1 : start + 1 + width]
        np.multiply(line[start : start + width], 1 - part, out=result[row])
        result[row, : len(after)] += part * after
    return result


def shift_labels(labels: NDArray[np.int32], shift_px: NDArray[np.float64]) -> NDArray[np.int32]:
    """Move each row to the right by whole pixels; 0 comes in."""
    whole = np.rint(shift_px).astype(int)
    if not whole.any():
        return labels
    result = np.zeros_like(labels)
    width = labels.shape[1]
    for row, by in enumerate(whole):
        if abs(by) < width:
            result[row, max(by, 0) : width + min(by, 0)] = labels[row, max(-by, 0) : width - max(by, 0)]
    return result


def drift_blur(image: Image, view: View) -> Image:
    """Average of frames between which the sample has moved."""
    steps = view.frame_averages - 1
    span_px = np.array([view.drift_y_nm_s, view.drift_x_nm_s]) * view.scan_s * steps / (1000 * view.pixel_um)
    if np.abs(span_px).max() < 0.3:
        return image
    copies = int(np.clip(np.ceil(np.abs(span_px).max()), 2, 8))
    total = np.zeros_like(image)
    for place in np.linspace(-0.5, 0.5, copies):
        total += ndimage.shift(image, span_px * place, order=1, mode="nearest")
    return total / np.float32(copies)


def vignette(view: View) -> Image | float:
    """Factor that falls with the square of the distance from the centre, to 1 - vignetting in the corners."""
    if view.vignetting == 0:
        return 1.0
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in (view.height_px, view.width_px))
    corner = np.float32(view.width_px**2 + view.height_px**2)
    square = ((view.height_px * y) ** 2)[:, None] + (view.width_px * x) ** 2
    return np.asarray(1 - np.float32(view.vignetting) * square / corner)


def noise_sigma(level: float | Image, dwell_time_ns: float, frame_averages: int) -> float | Image:
    """Standard deviation of shot and amplifier noise at a grey level, for one pixel.

    ``dwell_time_ns`` is that at the usual beam current: twice the current counts as twice the time.
    """
    electrons = ELECTRONS_PER_NS * dwell_time_ns * frame_averages
    result: float | Image = np.sqrt(
        np.maximum(level, 0.02) / np.float32(electrons) + np.float32(0.3 / electrons)
    )
    return result


def digitise(
    image: Image, noise: Image, view: View, rng: np.random.Generator
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Noise, amplifier, clipping, conversion."""
    grey = rng.standard_normal(image.shape, dtype=np.float32)
    grey *= noise
    grey += image
    most = 2**view.bits - 1
    grey *= np.float32(most * view.contrast)
    grey += np.float32(most * view.brightness)
    np.clip(grey, 0, most, out=grey)
    return grey.astype(np.uint8) if view.bits == 8 else grey.astype(np.uint16)
