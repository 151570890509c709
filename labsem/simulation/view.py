"""How a frame is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labsem.simulation.scene import Detector


@dataclass(frozen=True)
class View:
    """Where the stage stands and how the frame is scanned.

    Attributes
    ----------
    x_mm, y_mm
        Place of the image's centre; x grows to the right, y downwards.
    hfw_um
        Horizontal field width.
    defocus_um
        Error of the working distance; 0 has the powder in focus.
    astigmatism_um
        Distance between the foci of the two axes.
    accelerating_voltage_kv
        Sets the width of the probe and how much insulators charge.
    spot
        Width of the source's image in the probe over its usual one; the beam current grows with its square.
    charging
        Share of an insulator's charge that is left, as by gas in the chamber.
    brightness, contrast
        Offset and gain of the amplifier, in units of the range of grey values.
    vibration_nm
        Standard deviation of the displacement of a line.
    drift_x_nm_s, drift_y_nm_s
        Speed at which the sample moves: blurs an average of frames, and shears a frame (x only).
    vignetting
        Share of the signal that is lost in the corners.
    bits
        8 or 16.
    noise_seed
        Two frames with the same seed have the same noise.

    Raises
    ------
    ValueError
        Naming a field that is out of range.
    """

    x_mm: float = 0.0
    y_mm: float = 0.0
    hfw_um: float = 100.0
    width_px: int = 1920
    height_px: int = 1200
    defocus_um: float = 0.0
    astigmatism_um: float = 0.0
    accelerating_voltage_kv: float = 10.0
    spot: float = 1.0
    charging: float = 1.0
    dwell_time_ns: float = 400.0
    frame_averages: int = 4
    brightness: float = 0.0
    contrast: float = 1.0
    detector: Detector = "sed"
    vibration_nm: float = 1.0
    drift_x_nm_s: float = 0.0
    drift_y_nm_s: float = 0.0
    vignetting: float = 0.0
    bits: Literal[8, 16] = 8
    noise_seed: int = 0

    def __post_init__(self) -> None:
        positive = (
            "hfw_um",
            "width_px",
            "height_px",
            "dwell_time_ns",
            "frame_averages",
            "accelerating_voltage_kv",
            "spot",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"view.{name}: {getattr(self, name)} must be over 0")
        if min(self.width_px, self.height_px) < 8:
            raise ValueError(f"view: {self.width_px} x {self.height_px} px; a frame has at least 8 x 8")
        for name in ("vignetting", "charging"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"view.{name}: {getattr(self, name)}; give 0 to 1")
        if self.bits not in (8, 16):
            raise ValueError(f"view.bits: {self.bits}; give 8 or 16")

    @property
    def pixel_um(self) -> float:
        """Edge of a pixel."""
        return self.hfw_um / self.width_px

    @property
    def scan_s(self) -> float:
        """Duration of one scan of the field, without flyback."""
        return self.width_px * self.height_px * self.dwell_time_ns * 1e-9
