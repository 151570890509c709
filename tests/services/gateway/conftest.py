"""A gateway on free ports with a virtual microscope that loses no time, and an analysis side that answers it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.errors import MicroscopeError
from drivers.virtual import VirtualMicroscope
from labsem.store import Store, StoreError, journal
from labsem.streams import RequestServer, StreamError
from labsem.streams.stored import StoreJournal
from schemas.image import ImageAcquired
from schemas.settings import DaemonSettings, InstrumentSettings, Settings
from services.daemon.answers import Answers
from services.gateway import AcquisitionPlan, Gateway

PATIENCE_S = 60.0


class CountingMicroscope(VirtualMicroscope):
    """Notes each command that touches the instrument."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"latency": 0.0, "width_px": 192, "height_px": 128, **options})
        self.moves: list[tuple[float, float]] = []
        self.touched: list[str] = []

    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        self.moves.append((x_mm, y_mm))
        self.touched.append("move_to")
        return super().move_to(x_mm, y_mm, timeout_s)

    def set_hfw(self, hfw_um: float) -> float:
        self.touched.append("set_hfw")
        return super().set_hfw(hfw_um)

    def autofocus(self, timeout_s: float) -> float:
        self.touched.append("autofocus")
        return super().autofocus(timeout_s)

    def acquire(self, timeout_s: float):
        self.touched.append("acquire")
        return super().acquire(timeout_s)


class AnalysisSide:
    """The daemon's request socket over a real store, and the instrument's row."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.stream = store, settings.daemon.stream
        self.journal = StoreJournal(store, self.stream)
        handlers = Answers(store, settings, lambda: None).handlers()
        self.server = RequestServer(
            settings.daemon.requests, service="analysis", journals=[self.journal], handlers=handlers
        )


class Running:
    """A gateway at work, and what it has journalled."""

    def __init__(self, gateway: Gateway, settings: Settings, microscope: CountingMicroscope) -> None:
        self.gateway, self.microscope = gateway, microscope
        self.folder = settings.data_dir
        self.stream = f"gateway.{settings.instrument.instrument_id}"
        self.url = f"sqlite:///{(self.folder / 'gateway-virtual-1.sqlite').as_posix()}"

    def events(self, kind: type = ImageAcquired) -> list:
        name = "image-acquired" if kind is ImageAcquired else "instrument-status"
        with Store.open(self.url, upgrade="never") as store, store.read() as session:
            messages = journal.unsent(session, self.stream, 0, 5000)
        return [kind.read(m.payload) for m in messages if m.topic.startswith(name)]


def wait_until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not met():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)


@pytest.fixture
def until() -> Callable[[Callable[[], bool], str], None]:
    return wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    import socket

    sockets = [socket.socket() for _ in range(4)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return Settings(
        data_dir=tmp_path,
        image_roots={"virtual-1": tmp_path / "images"},
        daemon=DaemonSettings(events=ports[0], requests=ports[1]),
        instrument=InstrumentSettings(
            events=ports[2], requests=ports[3], daemon_events=ports[0], daemon_requests=ports[1]
        ),
    )


@pytest.fixture
def microscope() -> CountingMicroscope:
    return CountingMicroscope(seed=7)


@pytest.fixture
def analysis(tmp_path: Path, settings: Settings) -> Iterator[AnalysisSide]:
    with Store.open(f"sqlite:///{(tmp_path / 'labsem.sqlite').as_posix()}") as store:
        side = AnalysisSide(store, settings)
        with side.server:
            yield side


@pytest.fixture
def run(settings: Settings):
    """Run a gateway inside ``with``; an error of its thread is raised at the end."""

    @contextmanager
    def running(microscope: CountingMicroscope, plan: AcquisitionPlan | None = None) -> Iterator[Running]:
        gateway = Gateway(settings, microscope, plan)
        stop, ready, errors = threading.Event(), threading.Event(), []

        def work() -> None:
            try:
                gateway.run(stop, ready.set)
            except (MicroscopeError, StoreError, StreamError, OSError) as error:
                errors.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert ready.wait(PATIENCE_S), "the gateway did not start"
            if errors:
                raise errors[0]
            yield Running(gateway, settings, microscope)
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert errors == []

    return running
