"""Small real frames, a gateway's journal, and daemons that run in a thread with a real worker process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from labsem.frames import FrameMetadata, sha256_of_file, write_frame
from labsem.store import Store, journal
from labsem.streams import Publisher, RequestServer
from labsem.streams.stored import StoreJournal
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
from schemas.base import Schema, utc_now
from schemas.image import Acquisition, ImageAcquired
from schemas.settings import DaemonSettings, RescanSettings, Settings, SourceSettings
from services.daemon import DaemonReady, run_daemon

ANY_PORT = "tcp://127.0.0.1:0"
INSTRUMENT = "sem-1"
PIXEL_NM = 200.0


class Frames:
    """Writes frames of discs under an image root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        name: str,
        *,
        scene: int = 1,
        blur_px: float = 0.0,
        noise: float = 4.0,
        seed: int = 0,
        scale: int = 1,
        empty: bool = False,
    ) -> Path:
        """A frame of 400 x 300 px (times ``scale``) of the discs of a scene, or of bare ground with a dark corner."""
        rng = np.random.default_rng(scene)
        height, width = 300 * scale, 400 * scale
        y, x = np.mgrid[:height, :width]
        pixels = np.full((height, width), 60.0)
        for row in range(4):
            for column in range(5):
                radius = rng.uniform(9, 20)
                cy = (row + 0.5) * 75 * scale + rng.uniform(-12, 12)
                cx = (column + 0.5) * 80 * scale + rng.uniform(-12, 12)
                pixels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 180.0
        if empty:
            pixels = np.where((x < 40 * scale) & (y < 200 * scale), 10.0, 60.0)
        pixels = gaussian_filter(pixels, 0.7 + blur_px)
        pixels += np.random.default_rng(1000 + seed).normal(0, noise, pixels.shape)
        path = self.folder / name
        write_frame(
            path,
            np.clip(pixels, 0, 255).astype(np.uint8),
            FrameMetadata(acquisition=Acquisition(pixel_size_nm=PIXEL_NM)),
        )
        return path

    def event(self, path: Path, sample_id: str, **changes: Any) -> ImageAcquired:
        """The event of a frame that lies complete under the root."""
        fields: dict[str, Any] = {
            "frame_id": uuid4(),
            "sample_id": sample_id,
            "instrument_id": INSTRUMENT,
            "image_root": "root",
            "path": path.relative_to(self.folder).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": sha256_of_file(path),
            "acquired_at": utc_now(),
            "position_x_mm": 1.0,
            "position_y_mm": 2.0,
            "acquisition": Acquisition(pixel_size_nm=PIXEL_NM, dwell_time_ns=400, frame_averages=4),
        }
        return ImageAcquired(**(fields | changes))


class GatewayJournal:
    """A gateway's end of the stream: a journal of its own, published and replayed over real sockets."""

    def __init__(self, folder: Path) -> None:
        self.stream = f"gateway.{INSTRUMENT}"
        self._store = Store.open(f"sqlite:///{(folder / 'gateway.sqlite').as_posix()}")
        reader = StoreJournal(self._store, self.stream)
        self.publisher = Publisher(reader, ANY_PORT)
        self.server = RequestServer(ANY_PORT, service="gateway", journals=[reader])
        self.publisher.start()
        self.server.start()

    def publish(self, *payloads: Schema) -> None:
        """Journal and send."""
        with self._store.write() as session:
            for payload in payloads:
                journal.append(session, self.stream, payload)
        self.publisher.wake()

    def source(self) -> SourceSettings:
        """How the daemon listens to it."""
        return SourceSettings(name=self.stream, events=self.publisher.endpoint, requests=self.server.endpoint)

    def close(self) -> None:
        """Close sockets and file."""
        self.publisher.stop()
        self.server.stop()
        self._store.close()


class RunningDaemon:
    """A daemon in a thread."""

    def __init__(self, settings: Settings, segmenter: str) -> None:
        self.settings = settings
        self.ready: DaemonReady
        self.failure: BaseException | None = None
        self._segmenter = segmenter
        self._stop = threading.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="daemon-under-test")

    def _run(self) -> None:
        try:
            run_daemon(self.settings, self._stop, ready=self._told, segmenter=self._segmenter)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._is_ready.set()

    def _told(self, ready: DaemonReady) -> None:
        self.ready = ready
        self._is_ready.set()

    def __enter__(self) -> RunningDaemon:
        self._thread.start()
        assert self._is_ready.wait(120)
        if self.failure is not None:
            raise self.failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


class MakeSettings(Protocol):
    def __call__(
        self, *sources: SourceSettings, database_url: str, data_dir: Path, **changes: Any
    ) -> Settings: ...


@pytest.fixture(scope="session")
def make_settings() -> MakeSettings:
    """Settings with free ports and short deadlines; image root ``root`` is ``data_dir/images``."""

    def make(*sources: SourceSettings, database_url: str, data_dir: Path, **changes: Any) -> Settings:
        daemon = {"events": ANY_PORT, "requests": ANY_PORT, "settle_after_s": 1.0} | changes.pop("daemon", {})
        return Settings(
            data_dir=data_dir,
            database_url=database_url,
            image_roots={"root": data_dir / "images"},
            sources=sources,
            daemon=DaemonSettings(stream="analysis.test", **daemon),
            rescans=changes.pop("rescans", RescanSettings()),
            log_level="warning",
            **changes,
        )

    return make


@pytest.fixture(scope="session")
def running() -> Callable[..., AbstractContextManager[RunningDaemon]]:
    """``with running(settings) as daemon``: ready, and stopped at the end."""

    @contextmanager
    def run(settings: Settings, segmenter: str = "otsu") -> Iterator[RunningDaemon]:
        with RunningDaemon(settings, segmenter) as daemon:
            yield daemon

    return run


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    """Frames under ``tmp_path/images``."""
    return Frames(tmp_path / "images")


@pytest.fixture
def gateway_journal(tmp_path: Path) -> Iterator[GatewayJournal]:
    """A gateway's end of the stream."""
    gateway = GatewayJournal(tmp_path)
    yield gateway
    gateway.close()


@pytest.fixture
def status() -> InstrumentStatus:
    """An instrument that can act."""
    return InstrumentStatus(
        instrument_id=INSTRUMENT,
        state=InstrumentState.AVAILABLE,
        driver="test",
        capabilities=Capabilities(
            can_act=True,
            stage_x_range_mm=(-20.0, 20.0),
            stage_y_range_mm=(-20.0, 20.0),
            dwell_times_ns=(400, 800, 1600, 3200),
            frame_averages_max=16,
        ),
    )


class Loop:
    """A running daemon with a journalled and a plain source, shared by the tests of a module."""

    def __init__(self, folder: Path, daemon: RunningDaemon, gateway: GatewayJournal) -> None:
        self.folder, self.daemon, self.gateway = folder, daemon, gateway
        self.frames = Frames(folder / "images")
        self.ready = daemon.ready
        self.plain = daemon.ready.plain["lab"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def loop(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_settings: MakeSettings,
    running: Callable[..., AbstractContextManager[RunningDaemon]],
) -> Iterator[Loop]:
    """A daemon on each database."""
    folder = tmp_path_factory.mktemp("loop")
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "labsem.sqlite")
        url = f"sqlite:///{(folder / 'labsem.sqlite').as_posix()}"
        drop: Callable[[], None] = lambda: None  # noqa: E731
    else:
        server = request.getfixturevalue("postgres")
        name = server.create(request.getfixturevalue("postgres_template"))
        url = server.url(name)
        drop = lambda: server.drop(name)  # noqa: E731
    gateway = GatewayJournal(folder)
    plain = SourceSettings(name="lab", events=ANY_PORT, plain=True, bind=True)
    settings = make_settings(gateway.source(), plain, database_url=url, data_dir=folder)
    with running(settings) as daemon:
        yield Loop(folder, daemon, gateway)
    gateway.close()
    drop()
