"""Frames a minute through a real daemon: file, event over a socket, inbox, worker, database."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel

from labsem.bench.frames import frame_of
from labsem.bench.machine import available_cores, cpu_name, versions
from labsem.frames import FrameMetadata, sha256_of_file, write_frame
from labsem.store import Store, StoreError, inbox, journal, queries
from labsem.streams import Publisher, RequestServer, StreamError
from labsem.streams.stored import StoreJournal
from schemas.base import utc_now
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import ModelReference
from schemas.settings import DaemonSettings, ModelSettings, Settings, SourceSettings
from services import segmenters
from services.daemon import DaemonError, DaemonReady, run_daemon

PAPER_FRAMES_A_MINUTE = 96
"""Rettenberger et al. 2024, on 16 cores."""

DISTINCT = 12
"""Frames are copies of so many different ones, under names of their own."""

FRAMES_A_SAMPLE = 24
_ANY_PORT = "tcp://127.0.0.1:0"
_ROOT = "bench"
_STREAM = "gateway.bench"
_LOOK_S = 0.1
_START_S = 300.0


class ThroughputBench(BaseModel):
    """What was measured, and on what.

    Attributes
    ----------
    seconds
        From the first event to the last frame's commit; models were loaded before.
    stages
        Medians for a frame: what the worker took, and ``rest``, the frame's share of the whole time that no worker
        worked on it (events, inbox, storing), for one worker.
    """

    frames: int
    distinct_frames: int
    particles: int
    width_px: int
    height_px: int
    seconds: float
    frames_a_minute: float
    paper_frames_a_minute: int = PAPER_FRAMES_A_MINUTE
    stages: dict[str, float]
    workers: int
    threads: int
    cores: int
    cpu: str
    versions: dict[str, str]
    model: ModelReference


def bench_throughput(
    frames: int,
    *,
    models: ModelSettings | None = None,
    segmenter: str = segmenters.DEFAULT,
    workers: int = 1,
    particles: int = 100,
    width_px: int = 1920,
    height_px: int = 1200,
    seed: int = 0,
    progress: Callable[[str, int, int], None],
) -> ThroughputBench:
    """Render frames, then time a daemon from their events to its database. Spawns processes.

    Parameters
    ----------
    particles
        About so many in each frame.
    progress
        Called with what is done, how many, and of how many.

    Raises
    ------
    DaemonError
        Where the daemon does not start, ends, or rejects a frame.
    """
    models = models or ModelSettings()
    with tempfile.TemporaryDirectory(prefix="labsem-bench-") as place:
        folder = Path(place)
        events = _write_frames(folder / "images", frames, particles, (width_px, height_px), seed, progress)
        with ExitStack() as stack:
            gateway = stack.enter_context(_Gateway(folder))
            settings = Settings(
                data_dir=folder,
                image_roots={_ROOT: folder / "images"},
                sources=(gateway.source,),
                models=models,
                daemon=DaemonSettings(
                    stream="analysis.bench", events=_ANY_PORT, requests=_ANY_PORT, workers=workers
                ),
                log_level="warning",
            )
            daemon = stack.enter_context(_running(settings, segmenter))
            store = stack.enter_context(Store.open(settings.url))
            begun = time.perf_counter()
            gateway.publish(events)
            _wait(store, daemon, frames, progress)
            seconds = time.perf_counter() - begun
            stages, model = _stages(store, frames)
    cores = available_cores()
    stages["rest"] = round(max(seconds * workers / frames - sum(stages.values()), 0.0), 4)
    return ThroughputBench(
        frames=frames,
        distinct_frames=min(frames, DISTINCT),
        particles=particles,
        width_px=width_px,
        height_px=height_px,
        seconds=round(seconds, 3),
        frames_a_minute=round(60 * frames / seconds, 2),
        stages=stages,
        workers=workers,
        threads=models.threads or max(1, cores // workers),
        cores=cores,
        cpu=cpu_name(),
        versions=versions(),
        model=model,
    )


def _write_frames(
    folder: Path,
    frames: int,
    particles: int,
    size_px: tuple[int, int],
    seed: int,
    tell: Callable[[str, int, int], None],
) -> list[ImageAcquired]:
    folder.mkdir(parents=True)
    events: list[ImageAcquired] = []
    acquisitions: list[Acquisition] = []
    for number in range(frames):
        path = folder / f"{number:05d}.tif"
        if number < DISTINCT:
            frame = frame_of(particles, seed + number, *size_px)
            acquisitions.append(Acquisition(pixel_size_nm=frame.pixel_size_nm))
            write_frame(path, frame.pixels, FrameMetadata(acquisition=acquisitions[-1]))
            tell("rendering", number + 1, min(frames, DISTINCT))
        else:
            shutil.copyfile(folder / f"{number % DISTINCT:05d}.tif", path)
        events.append(
            ImageAcquired(
                frame_id=uuid4(),
                sample_id=f"bench-{number // FRAMES_A_SAMPLE}",
                instrument_id="bench",
                image_root=_ROOT,
                path=path.name,
                size_bytes=path.stat().st_size,
                sha256=sha256_of_file(path),
                acquired_at=utc_now(),
                position_x_mm=number / 10,
                position_y_mm=0.0,
                acquisition=acquisitions[number % DISTINCT],
            )
        )
    return events


class _Gateway:
    """A journal of frames, published over real sockets."""

    def __init__(self, folder: Path) -> None:
        self._store = Store.open(f"sqlite:///{(folder / 'gateway.sqlite').as_posix()}")
        reader = StoreJournal(self._store, _STREAM)
        self._publisher = Publisher(reader, _ANY_PORT)
        self._server = RequestServer(_ANY_PORT, service="gateway", journals=[reader])

    def __enter__(self) -> _Gateway:
        self._publisher.start()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.stop()
        self._server.stop()
        self._store.close()

    @property
    def source(self) -> SourceSettings:
        """How a daemon listens to it."""
        return SourceSettings(name=_STREAM, events=self._publisher.endpoint, requests=self._server.endpoint)

    def publish(self, events: list[ImageAcquired]) -> None:
        """Journal and send."""
        with self._store.write() as session:
            for event in events:
                journal.append(session, _STREAM, event)
        self._publisher.wake()


class _Daemon(threading.Thread):
    def __init__(self, settings: Settings, segmenter: str) -> None:
        super().__init__(name="bench-daemon", daemon=True)
        self.settings, self.segmenter = settings, segmenter
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Run the daemon until ``ended`` is set; what ends it before is kept."""
        try:
            run_daemon(self.settings, self.ended, ready=self._told, segmenter=self.segmenter)
        except (DaemonError, StoreError, StreamError) as error:
            self.failure = error
        finally:
            self.ready.set()

    def _told(self, ready: DaemonReady) -> None:  # noqa: ARG002
        self.ready.set()


@contextmanager
def _running(settings: Settings, segmenter: str) -> Iterator[_Daemon]:
    daemon = _Daemon(settings, segmenter)
    daemon.start()
    try:
        if not daemon.ready.wait(_START_S):
            raise DaemonError(f"the daemon was not ready within {_START_S:g} s; see labsem doctor")
        if daemon.failure is not None:
            raise daemon.failure
        yield daemon
    finally:
        daemon.ended.set()
        daemon.join()


def _wait(store: Store, daemon: _Daemon, frames: int, tell: Callable[[str, int, int], None]) -> None:
    while True:
        with store.read() as session:
            counts = inbox.counts(session)
        tell("analysing", counts.done, frames)
        if counts.rejected:
            raise DaemonError(f"the daemon rejected {counts.rejected} frames; see its warnings above")
        if counts.done == frames:
            return
        if not daemon.is_alive():
            raise daemon.failure or DaemonError("the daemon ended")
        time.sleep(_LOOK_S)


def _stages(store: Store, frames: int) -> tuple[dict[str, float], ModelReference]:
    with store.read() as session:
        lines = queries.frames(session, limit=frames)
        found = [queries.frame(session, line.frame_id).morphology for line in lines]
    stages = {
        name: round(statistics.median(each.seconds.get(name, 0.0) for each in found), 4)
        for name in found[0].seconds
    }
    return stages, found[0].model
