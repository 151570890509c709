"""The virtual microscope's holder: one stub for each sample, and how high its surface lies."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from labsem.simulation import World

PITCH_MM: Final = 15.0
"""Distance between the centres of neighbouring stubs, along x."""

RADIUS_MM: Final = 6.0
NOMINAL_FOCUS_MM: Final = 6.0
BUMP_MM: Final = 0.8
"""Edge of the cells of the tape of which some have come loose."""

RAISED_UM: Final = (350.0, 600.0)
RAISED_SHARE: Final = 0.25


class StubHolder:
    """Where the samples lie, and their surfaces.

    The tape of a stub is nearly flat, but about a quarter of it, in patches, has come loose and stands a few
    hundred micrometres higher: a frame there is out of focus until the instrument refocuses.

    Parameters
    ----------
    samples
        Sample ids in the order of their stubs.

    Raises
    ------
    ValueError
        Where there is none, or one comes twice.
    """

    def __init__(self, seed: int, samples: tuple[str, ...]) -> None:
        if not samples or len(set(samples)) != len(samples):
            raise ValueError(f"samples: {', '.join(samples) or 'none'}; give one or more different ids")
        self.samples = samples
        self._seed = seed
        self._worlds = {name: World(_seed_of(seed, name)) for name in samples}

    @property
    def range_mm(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Range of the stage in x and in y."""
        last = PITCH_MM * (len(self.samples) - 1)
        return (-RADIUS_MM, last + RADIUS_MM), (-RADIUS_MM, RADIUS_MM)

    def centre_mm(self, sample: str) -> tuple[float, float]:
        """Stage position of a sample's stub.

        Raises
        ------
        KeyError
            Naming the samples on the holder.
        """
        if sample not in self.samples:
            raise KeyError(f"sample {sample!r} is not on the holder: {', '.join(self.samples)}")
        return PITCH_MM * self.samples.index(sample), 0.0

    def sample_at(self, x_mm: float) -> str:
        """The sample of the stub nearest to a stage position."""
        index = int(np.clip(round(x_mm / PITCH_MM), 0, len(self.samples) - 1))
        return self.samples[index]

    def world_at(self, x_mm: float, y_mm: float) -> tuple[World, float, float]:
        """The powder at a stage position, and that position in the powder's own coordinates."""
        sample = self.sample_at(x_mm)
        centre_x_mm, centre_y_mm = self.centre_mm(sample)
        return self._worlds[sample], x_mm - centre_x_mm, y_mm - centre_y_mm

    def raised_um(self, x_mm: float, y_mm: float) -> float:
        """How far the tape stands above the stub: the same over a patch of :data:`BUMP_MM`."""
        ix, iy = int(np.floor(x_mm / BUMP_MM)), int(np.floor(y_mm / BUMP_MM))
        rng = np.random.default_rng([self._seed, 81, ix % 2**32, iy % 2**32])
        height_um = float(rng.uniform(*RAISED_UM)) if rng.random() < RAISED_SHARE else 0.0
        return 0.0 if (ix, iy) == (0, 0) else height_um

    def focus_mm(self, x_mm: float, y_mm: float) -> float:
        """Working distance at which the surface there is in focus."""
        return NOMINAL_FOCUS_MM - self.raised_um(x_mm, y_mm) / 1000


def _seed_of(seed: int, sample: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample}".encode()).digest()[:6], "big")
