"""The summary of one frame, ``summaries/NAME.json``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.image import Acquisition
from schemas.morphology import Flag, ModelReference, Regime, Shapes, Sizes, UncertainFraction


class FrameSummary(BaseModel):
    """All numbers of one analysed frame, what it was made from, and the files beside it."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="null")

    name: str
    path: str
    sha256: str
    sidecar_sha256: str | None
    options: dict[str, Any]
    code_version: str
    model: ModelReference
    regime: Regime
    outputs: dict[str, str]
    """Kind of file -> its path under the output folder, with forward slashes."""

    acquisition: Acquisition
    scale_source: str | None
    instrument: str | None
    acquired_at: datetime | None
    sample_name: str | None
    notes: tuple[str, ...]
    databar_rows: int

    width_px: int
    height_px: int
    particle_count: int
    certain_count: int
    uncertain_count: int
    cut_by_edge_count: int
    area_coverage: float
    uncertain_fraction: UncertainFraction
    sizes: Sizes
    shapes: Shapes
    focus: float | None
    signal_to_noise: float | None
    saturated_fraction: float
    detection_floor_px: float | None
    detection_floor_um: float | None
    scale_relative_uncertainty: float | None
    flags: tuple[Flag, ...]
    seconds: dict[str, float]

    def row(self) -> dict[str, Any]:
        """One line of ``images.csv`` and one item of ``--json``: flat, without times."""
        number = self.sizes.number
        return {
            "pixel_size_nm": self.acquisition.pixel_size_nm,
            "hfw_um": self.acquisition.hfw_um,
            "magnification": self.acquisition.magnification,
            "regime": self.regime.value,
            "accelerating_voltage_kv": self.acquisition.accelerating_voltage_kv,
            "working_distance_mm": self.acquisition.working_distance_mm,
            "instrument": self.instrument,
            "scale_source": self.scale_source,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "databar_rows": self.databar_rows,
            "particle_count": self.particle_count,
            "certain_count": self.certain_count,
            "uncertain_count": self.uncertain_count,
            "cut_by_edge_count": self.cut_by_edge_count,
            "uncertain_fraction": self.uncertain_fraction.value,
            "area_coverage": self.area_coverage,
            "d10_number_all_um": number.all.d10_um,
            "d50_number_all_um": number.all.d50_um,
            "d90_number_all_um": number.all.d90_um,
            "d50_number_certain_um": number.certain.d50_um,
            "d50_volume_all_um": self.sizes.volume.all.d50_um,
            "d50_number_all_px": number.all.d50_px,
            "focus": self.focus,
            "signal_to_noise": self.signal_to_noise,
            "saturated_fraction": self.saturated_fraction,
            "detection_floor_um": self.detection_floor_um,
            "flags": [flag.value for flag in self.flags],
            "model": f"{self.model.name} {self.model.version}",
            "model_sha256": self.model.sha256,
            "sha256": self.sha256,
        }
