"""The beam: its probe, and the blur of what lies out of focus."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from labsem.simulation.textures import Image, enlarge

CONVERGENCE_RAD = 4e-3
"""Half angle of the beam; a point out of focus by d becomes a disc of radius d x angle."""

SOURCE_NM = 8.0
"""Full width of the source's image in the probe, at a desktop instrument's usual probe current (a spot of 1)."""

ENERGY_SPREAD_EV = 1.0
CHROMATIC_MM = 20.0
SPHERICAL_MM = 20.0

APERTURE_PX = 0.65
"""Standard deviation of the sharpest blur, in pixels: what the detector and the scan leave of a point."""

GAUSSIAN_OF_DISC = 0.5
"""Standard deviation of a uniform disc of radius 1 along one axis."""

FWHM = 2.355
"""Full width at half maximum of a Gaussian over its standard deviation."""

PLANES = 4


def probe_nm(accelerating_voltage_kv: float, spot: float = 1.0) -> float:
    """Full width of the probe in focus: source, diffraction and both aberrations, added in quadrature.

    Reimer, *Scanning Electron Microscopy*, 2nd ed., equation 2.23 with 2.14 to 2.20.
    """
    wavelength_nm = 1.226 / (1000 * accelerating_voltage_kv) ** 0.5
    diffraction = 0.61 * wavelength_nm / CONVERGENCE_RAD
    spherical = 0.5e6 * SPHERICAL_MM * CONVERGENCE_RAD**3
    chromatic = 1e6 * CHROMATIC_MM * CONVERGENCE_RAD * ENERGY_SPREAD_EV / (1000 * accelerating_voltage_kv)
    return float(np.sqrt((spot * SOURCE_NM) ** 2 + diffraction**2 + spherical**2 + chromatic**2))


def blur_sigma_px(
    distance_um: float, pixel_um: float, accelerating_voltage_kv: float, spot: float = 1.0
) -> float:
    """Standard deviation of the blur of what is ``distance_um`` out of focus."""
    disc = GAUSSIAN_OF_DISC * CONVERGENCE_RAD * abs(distance_um) / pixel_um
    probe = probe_nm(accelerating_voltage_kv, spot) / FWHM / (1000 * pixel_um)
    return float(np.sqrt(disc**2 + probe**2 + APERTURE_PX**2))


def blur(
    image: Image,
    height_px: Image,
    pixel_um: float,
    top_um: float,
    defocus_um: float,
    astigmatism_um: float,
    accelerating_voltage_kv: float,
    spot: float = 1.0,
) -> tuple[Image, Image | float]:
    """Blur that follows height (depth of field); also the standard deviation of the blur, in pixels.

    ``defocus_um`` is the height above the stub at which the beam's waist lies; astigmatism parts the foci of
    the two axes of the image. ``top_um`` is the height of the highest of :data:`PLANES` planes; it belongs to
    the powder, not to the view, so that neighbouring frames are blurred alike.
    """
    planes = np.linspace(0, top_um, PLANES)
    sigmas = [
        (
            blur_sigma_px(h - defocus_um + astigmatism_um / 2, pixel_um, accelerating_voltage_kv, spot),
            blur_sigma_px(h - defocus_um - astigmatism_um / 2, pixel_um, accelerating_voltage_kv, spot),
        )
        for h in planes
    ]
    if max(np.ptp(axis) for axis in zip(*sigmas, strict=True)) < 0.4:
        sigma_x, sigma_y = (float(np.mean(axis)) for axis in zip(*sigmas, strict=True))
        return _gaussian(image, sigma_y, sigma_x), (sigma_x + sigma_y) / 2
    # Weights follow the height seen through a slight blur, so that planes join without a seam.
    place = ndimage.gaussian_filter(height_px, 1.0, truncate=2)
    place *= np.float32(pixel_um * (PLANES - 1) / top_um)
    np.minimum(place, np.float32(PLANES - 1), out=place)
    result, sigma = np.zeros_like(image), np.zeros_like(image)
    for k, (x, y) in enumerate(sigmas):
        weight = np.maximum(1 - np.abs(place - np.float32(k)), 0)
        if weight.any():
            result += weight * _gaussian(image, y, x)
            sigma += weight * np.float32((x + y) / 2)
    return result, sigma


def _gaussian(image: Image, sigma_y: float, sigma_x: float) -> Image:
    if min(sigma_x, sigma_y) < 5:
        return np.asarray(ndimage.gaussian_filter(image, (sigma_y, sigma_x), truncate=3, mode="nearest"))
    coarse = ndimage.gaussian_filter(image, 1.5, truncate=3, mode="nearest")[::3, ::3]
    rest = [(max(s**2 - 1.5**2, 0.01)) ** 0.5 / 3 for s in (sigma_y, sigma_x)]
    coarse = ndimage.gaussian_filter(coarse, rest, truncate=3, mode="nearest")
    return enlarge(np.asarray(coarse), 3, image.shape)
