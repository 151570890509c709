"""A frame as it is analysed, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from schemas.image import Acquisition
from schemas.settings import ReadSettings

DISPLAY_WIDTH_M = 0.5
"""Display width behind a magnification where the instrument gives none (PyPhenom's convention)."""


@dataclass(frozen=True)
class ReadLimits:
    """What a file must keep to before it is decoded."""

    max_file_bytes: int = 1024 * 2**20
    max_pixels: int = 120_000_000

    @classmethod
    def from_settings(cls, settings: ReadSettings) -> Self:
        """The limits that the settings name."""
        return cls(int(settings.max_file_mib * 2**20), settings.max_pixels)


@dataclass(frozen=True)
class FrameMetadata:
    """What header, sidecar, event and caller say of a frame.

    Attributes
    ----------
    acquisition
        Scale, working distance, voltage, detector, dwell time, averages.
    instrument, instrument_serial
        Type and serial number as the header gives them.
    acquired_at
        With a zone, in UTC. A header's time without a zone is taken as UTC.
    position_x_mm, position_y_mm, scan_rotation_deg
        As reported by the instrument.
    sample_name
        The header's own label of the sample (a Phenom's data bar label).
    scale_source
        Who gave the scale: ``argument``, ``event``, ``sidecar`` or ``header``; none without a scale.
    """

    acquisition: Acquisition = field(default_factory=Acquisition)
    instrument: str | None = None
    instrument_serial: str | None = None
    acquired_at: datetime | None = None
    position_x_mm: float | None = None
    position_y_mm: float | None = None
    scan_rotation_deg: float | None = None
    sample_name: str | None = None
    scale_source: str | None = None


@dataclass(frozen=True)
class Frame:
    """One grey image, data bar removed.

    Attributes
    ----------
    pixels
        (H, W) uint8 or uint16.
    databar_rows
        Rows cropped from the bottom.
    notes
        Treatments that the file needed: ``colour``, ``alpha``, ``palette``, ``inverted``, ``float``, ``signed``,
        ``thumbnail``, ``extension``, ``constant``, ``header``.
    """

    pixels: NDArray[Any]
    metadata: FrameMetadata
    databar_rows: int
    path: Path
    notes: tuple[str, ...] = ()

    @property
    def height_px(self) -> int:
        """Rows that are analysed."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def acquisition(self) -> Acquisition:
        """How the frame was taken."""
        return self.metadata.acquisition

    @property
    def pixel_size_nm(self) -> float | None:
        """Edge of a pixel, nm."""
        return self.metadata.acquisition.pixel_size_nm

    @property
    def hfw_um(self) -> float | None:
        """Horizontal field width, um."""
        return self.metadata.acquisition.hfw_um

    @property
    def magnification(self) -> float | None:
        """The instrument's own, else display width / HFW."""
        return self.metadata.acquisition.magnification
