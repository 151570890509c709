"""What passes between the daemon and its inference workers; all of it pickles, none of it needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from labsem.morphology import FrameNumbers, ParticleTable
from labsem.morphology.registration import Registration
from labsem.segmentation import Segmentation
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import ModelReference, Regime
from schemas.settings import ModelSettings, ReadSettings, RescanSettings


@dataclass(frozen=True)
class WorkerOptions:
    """Given to a worker when it starts."""

    segmenter: str
    models: ModelSettings
    reading: ReadSettings
    rescans: RescanSettings
    log_level: str
    log_json: bool


@dataclass(frozen=True)
class FrameBefore:
    """The frame that a rescan is to better; the new one is registered with it."""

    path: str
    acquisition: Acquisition
    scan_rotation_deg: float | None


@dataclass(frozen=True)
class FrameJob:
    """One frame to analyse.

    Attributes
    ----------
    event_id
        Of the envelope, for logs.
    folder
        Of the image root on this host.
    plain
        Best effort: the file may have been replaced since its message came, and its header may fill in the
        time and place that the message left out.
    """

    event: ImageAcquired
    event_id: str | None
    folder: str
    plain: bool
    before: FrameBefore | None
    scale_relative_uncertainty: float | None
    scale_verified: bool


@dataclass(frozen=True)
class FrameResult:
    """An analysed frame.

    Attributes
    ----------
    acquired_at, position_x_mm, position_y_mm, scan_rotation_deg, size_bytes, sha256
        The event's, completed from the file where a plain event left them out.
    registration
        With the frame before; None where there is none, or where fields or scales do not allow it.
    seconds
        By stage.
    """

    acquisition: Acquisition
    acquired_at: datetime
    position_x_mm: float | None
    position_y_mm: float | None
    scan_rotation_deg: float | None
    size_bytes: int
    sha256: str
    databar_rows: int
    regime: Regime
    model: ModelReference
    segmentation: Segmentation
    particles: ParticleTable
    numbers: FrameNumbers
    registration: Registration | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class FrameProblem:
    """Why a frame was not analysed; a ``passing`` problem is worth another attempt."""

    code: str
    message: str
    remedy: str
    passing: bool = False


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its models, or why it has not."""

    problem: str | None = None
