"""An inference worker: a process of its own, the only one that imports torch.

It ignores the keyboard's interrupt (the daemon decides when it ends) and ends by itself where the daemon is gone.
"""

from __future__ import annotations

import io
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from labsem.frames import Frame, FrameError, ReadLimits, read_frame, sha256_of_file
from labsem.morphology import measure_particles, summarize_frame
from labsem.morphology.registration import Registration, register_frames
from labsem.regimes import route
from schemas.image import Acquisition
from services.daemon.places import frame_path, modified_at
from services.daemon.work import FrameBefore, FrameJob, FrameProblem, FrameResult, Ready, WorkerOptions
from services.logs import configure_logging
from services.policy import thresholds
from services.segmenters import Segmenter, load_segmenter

log = structlog.get_logger(__name__)

RETRY = "labsem frames retry"


class _FileProblemError(Exception):
    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = FrameProblem(code, message, remedy)


class DaemonStderr(io.TextIOBase):
    """A worker's stderr: whole lines go to the daemon, which writes them where its own go."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._line = ""

    def write(self, text: str) -> int:
        """Send the lines that are complete."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._connection.send(line)
        return len(text)


def main(connection: Connection, options: WorkerOptions) -> None:
    """Load the models, say so, and answer one job after another until the daemon closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    sys.stderr = DaemonStderr(connection)
    configure_logging(level=options.log_level, json=options.log_json)
    try:
        segmenter = load_segmenter(options.segmenter, options.models)
    except Exception as error:
        log.exception("segmenter_not_loaded", segmenter=options.segmenter)
        connection.send(Ready(f"{type(error).__name__}: {error}"))
        return
    try:
        connection.send(Ready())
        while True:
            job: FrameJob = connection.recv()
            connection.send(answer(segmenter, job, options))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def answer(segmenter: Segmenter, job: FrameJob, options: WorkerOptions) -> FrameResult | FrameProblem:
    """The result of a job, or why there is none; raises nothing of a frame's own."""
    with structlog.contextvars.bound_contextvars(
        event_id=job.event_id, frame_id=str(job.event.frame_id), sample_id=job.event.sample_id
    ):
        try:
            return analyse(segmenter, job, options)
        except FrameError as error:
            return FrameProblem(
                error.code, f"{job.event.path}: {error.reason}", f"{error.remedy}, then {RETRY}"
            )
        except _FileProblemError as error:
            return error.problem
        except Exception as error:
            # Whatever a network or a decoder raises on one frame must not end the loop.
            log.exception("analysis_failed")
            return FrameProblem(
                "analysis_failed",
                f"{job.event.path}: {type(error).__name__}: {error}",
                f"see the daemon's log; {RETRY} tries again",
                passing=True,
            )


def analyse(segmenter: Segmenter, job: FrameJob, options: WorkerOptions) -> FrameResult:
    """Verify, read, segment and measure one frame, and register it with the one that it is to better.

    Raises
    ------
    FrameError
        Where the file is no frame.
    """
    seconds: dict[str, float] = {}
    event, models = job.event, options.models
    with _timed(seconds, "reading"):
        path, size_bytes, sha256 = _verified(job, options)
        frame = _read(path, event.acquisition, options)
    regime = route(
        frame.acquisition, display_width_m=models.display_width_m, split=models.magnification_split
    )
    with _timed(seconds, "segmentation"):
        segmentation = segmenter.segment(frame.pixels, regime)
    with _timed(seconds, "measurement"):
        limits = thresholds(options.rescans, regime)
        particles = measure_particles(segmentation, frame.pixel_size_nm)
        numbers = summarize_frame(
            particles,
            frame.pixels,
            detection_floor_px=segmenter.detection_floor_px(regime),
            out_of_distribution=segmentation.out_of_distribution,
            focus_min=limits.focus_min,
            signal_to_noise_min=limits.signal_to_noise_min,
            charging_max=limits.charging_max,
            area_coverage_max=limits.area_coverage_max,
            size_share_max=limits.size_share_max,
            covered=segmentation.label_image > 0,
            scale_relative_uncertainty=job.scale_relative_uncertainty,
            scale_verified=job.scale_verified,
        )
    registration = None
    if job.before is not None:
        with _timed(seconds, "registration"):
            registration = _register(job.before, frame, event.scan_rotation_deg, options)
    told, found = event, frame.metadata
    undated = job.plain and told.acquired_at == modified_at(path)
    return FrameResult(
        acquisition=frame.acquisition,
        acquired_at=(found.acquired_at or told.acquired_at) if undated else told.acquired_at,
        position_x_mm=_first(told.position_x_mm, found.position_x_mm),
        position_y_mm=_first(told.position_y_mm, found.position_y_mm),
        scan_rotation_deg=_first(told.scan_rotation_deg, found.scan_rotation_deg),
        size_bytes=size_bytes,
        sha256=sha256,
        databar_rows=frame.databar_rows,
        regime=regime,
        model=segmenter.model(regime),
        segmentation=segmentation,
        particles=particles,
        numbers=numbers,
        registration=registration,
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
    )


def _verified(job: FrameJob, options: WorkerOptions) -> tuple[Path, int, str]:
    """Path, size and hash of the file, where it is the one that the event names."""
    event = job.event
    named = f"{event.image_root}:{event.path}"
    path = frame_path(Path(job.folder), event.path)
    if path is None:
        raise _FileProblemError(
            "outside_root", f"{named} leads out of its image root", "put the file itself under the image root"
        )
    if not path.is_file():
        raise _FileProblemError(
            "missing",
            f"{named}: there is no file {path}",
            f"put it there or correct image_roots.{event.image_root} in the settings, then {RETRY}",
        )
    size_bytes = path.stat().st_size
    limit = ReadLimits.from_settings(options.reading).max_file_bytes
    if size_bytes > limit:
        raise _FileProblemError(
            "too_large",
            f"{named} has {size_bytes} bytes, over the {limit} allowed",
            f"raise reading.max_file_mib, then {RETRY}",
        )
    if not job.plain and size_bytes != event.size_bytes:
        raise _FileProblemError(
            "wrong_size",
            f"{named} has {size_bytes} bytes, its event names {event.size_bytes}",
            f"copy the whole file, then {RETRY}",
        )
    sha256 = sha256_of_file(path)
    if not job.plain and sha256 != event.sha256:
        raise _FileProblemError(
            "wrong_hash",
            f"{named} has SHA-256 {sha256}, its event names {event.sha256}",
            f"put the file back as it was acquired, then {RETRY}",
        )
    return path, size_bytes, sha256


def _read(path: Path, acquisition: Acquisition, options: WorkerOptions) -> Frame:
    return read_frame(
        path,
        limits=ReadLimits.from_settings(options.reading),
        acquisition=acquisition,
        display_width_m=options.models.display_width_m,
    )


def _register(
    before: FrameBefore, after: Frame, rotation_deg: float | None, options: WorkerOptions
) -> Registration | None:
    try:
        first = _read(Path(before.path), before.acquisition, options)
    except FrameError as error:
        log.warning("frame_before_unreadable", reason=str(error))
        return None
    if first.pixel_size_nm is None or after.pixel_size_nm is None:
        return None
    turned = (rotation_deg or 0.0) - (before.scan_rotation_deg or 0.0)
    return register_frames(first.pixels, after.pixels, first.pixel_size_nm, after.pixel_size_nm, turned)


def _first(told: float | None, found: float | None) -> float | None:
    return found if told is None else told


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begun
