"""The daemon is killed in the middle of frames and started again: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sqlalchemy import func, select

from labsem.client import Labsem
from labsem.frames import FrameMetadata, sha256_of_file, write_frame
from labsem.store import Store, journal
from labsem.store.tables import AnalysisRow, FrameRow, InboxRow, ParticleRow
from labsem.streams import Publisher, RequestServer
from labsem.streams.stored import StoreJournal
from schemas.base import utc_now
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import FrameMorphology, SampleState

FRAMES = 6
KILLED_AFTER = (2,)
PATIENCE_S = 90
STREAM = "gateway.sem-1"


def free_endpoint() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


class Daemon:
    """The process, which may be killed and started again on the same addresses."""

    def __init__(self, folder: Path, settings: dict) -> None:
        self.settings = settings
        self._file = folder / "settings.json"
        self._file.write_text(json.dumps(settings))
        self._log = (folder / "daemon.log").open("w")
        self.workers: list[int] = []

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("daemon_process.py")), str(self._file)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        line = self.process.stdout.readline()
        assert line, Path(self._log.name).read_text()
        self.workers = json.loads(line)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while any(runs(pid) for pid in self.workers):
            assert time.monotonic() < deadline, "a worker outlives its daemon"
            time.sleep(0.05)

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        self._log.close()
        return code


def runs(pid: int) -> bool:
    """Whether a process that is not our child still does anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Store, Publisher, RequestServer]]:
    store = Store.open(f"sqlite:///{(tmp_path / 'gateway.sqlite').as_posix()}")
    reader = StoreJournal(store, STREAM)
    with (
        Publisher(reader, "tcp://127.0.0.1:0") as publisher,
        RequestServer("tcp://127.0.0.1:0", service="gateway", journals=[reader]) as server,
    ):
        yield store, publisher, server
    store.close()


def acquire(folder: Path, number: int) -> ImageAcquired:
    rng = np.random.default_rng(number)
    pixels = np.full((720, 960), 60.0)
    y, x = np.mgrid[:720, :960]
    for cell in range(20):
        cy, cx = 72 + 144 * (cell // 5), 96 + 192 * (cell % 5)
        pixels[(y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(14, 40) ** 2] = 180
    pixels = gaussian_filter(pixels, 0.8) + rng.normal(0, 4, pixels.shape)
    path = folder / f"{number}.tif"
    acquisition = Acquisition(pixel_size_nm=100)
    write_frame(path, np.clip(pixels, 0, 255).astype(np.uint8), FrameMetadata(acquisition=acquisition))
    return ImageAcquired(
        frame_id=uuid4(),
        sample_id="chaos",
        instrument_id="sem-1",
        image_root="root",
        path=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        acquired_at=utc_now(),
        position_x_mm=float(number),
        position_y_mm=0.0,
        acquisition=acquisition,
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_every_frame_is_there_once_and_the_planner_has_every_summary(tmp_path, database_url, gateway) -> None:
    journal_store, publisher, server = gateway
    images = tmp_path / "images"
    images.mkdir()
    events, requests = free_endpoint(), free_endpoint()
    daemon = Daemon(
        tmp_path,
        {
            "data_dir": str(tmp_path),
            "database_url": database_url,
            "image_roots": {"root": str(images)},
            "sources": [{"name": STREAM, "events": publisher.endpoint, "requests": server.endpoint}],
            "daemon": {
                "stream": "analysis.chaos",
                "events": events,
                "requests": requests,
                "settle_after_s": 1,
            },
            "log_level": "info",
        },
    )
    sent = [acquire(images, number) for number in range(FRAMES)]
    expected = {event.frame_id for event in sent}
    received: list[UUID] = []
    kills = list(KILLED_AFTER)
    daemon.start()
    try:
        with Labsem(events, requests, cursor_file=tmp_path / "planner.sqlite") as lab:
            with lab.follow(kinds=[FrameMorphology], timeout_s=PATIENCE_S) as follower:
                with journal_store.write() as session:
                    for event in sent:
                        journal.append(session, STREAM, event)
                publisher.wake()
                for morphology in follower:
                    received.append(morphology.frame_id)
                    if kills and len(received) >= kills[0]:
                        kills.pop(0)
                        daemon.kill()
                        daemon.start()
                    if set(received) == expected:
                        break
            assert lab.wait("chaos", PATIENCE_S).state is SampleState.SETTLED
            history = lab.history("chaos")
        assert kills == []
        assert len(received) == FRAMES
        assert history.frames_total == history.sample.frames == FRAMES
        assert {frame.morphology.frame_id for frame in history.frames} == expected
    finally:
        code = daemon.end()
    assert code == 0
    with Store.open(database_url) as store, store.read() as session:
        assert session.scalar(select(func.count()).select_from(FrameRow)) == FRAMES
        assert session.scalar(select(func.count()).select_from(AnalysisRow)) == FRAMES
        particles = session.scalar(select(func.count()).select_from(ParticleRow))
        assert particles == sum(frame.morphology.particle_count for frame in history.frames)
        states = session.scalars(select(InboxRow.state)).all()
    assert list(states) == ["done"] * FRAMES
