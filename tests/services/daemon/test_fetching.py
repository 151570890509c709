"""Gateway and daemon with no folder in common: frames are fetched in parts, checked and kept."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from drivers.virtual import VirtualMicroscope
from labsem.client import Labsem
from labsem.frames import sha256_of_file
from labsem.streams import RequestServer
from schemas.base import utc_now
from schemas.image import ImageAcquired
from schemas.requests import FRAME_PART_BYTES, ReadFrame
from schemas.settings import InstrumentSettings, Settings, SourceSettings
from services.daemon.fetching import FetchError, FrameFetcher
from services.daemon.places import fetched_folder
from services.gateway import AcquisitionPlan, Gateway, PlannedFrame
from services.gateway.reading import FrameReader
from tests.chaos.processes import free_ports

FRAMES = 20
ANY_PORT = "tcp://127.0.0.1:0"
PATIENCE_S = 120.0


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "gateway" / "images"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def served(shelf):
    """A gateway's request socket, counting the parts that are asked for."""
    asked = []
    reader = FrameReader(shelf, "far")

    def answer(request):
        asked.append(request)
        return reader(request)

    with RequestServer(ANY_PORT, service="gateway.far", handlers={ReadFrame: answer}) as server:
        server.asked = asked
        yield server


@pytest.fixture
def settings(tmp_path, served):
    sources = (
        SourceSettings(name="gateway.other", events=ANY_PORT, requests="tcp://127.0.0.1:9"),
        SourceSettings(name="gateway.far", events=ANY_PORT, requests=served.endpoint),
    )
    return Settings(data_dir=tmp_path / "daemon", sources=sources)


def event_of(shelf: Path, name: str, data: bytes, **changes) -> ImageAcquired:
    path = shelf / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    fields = {
        "frame_id": uuid4(),
        "sample_id": "s",
        "instrument_id": "far",
        "image_root": "far",
        "path": name,
        "size_bytes": len(data),
        "sha256": sha256_of_file(path),
        "acquired_at": utc_now(),
    }
    return ImageAcquired(**(fields | changes))


@pytest.mark.parametrize("size", [0, 17, FRAME_PART_BYTES, 2 * FRAME_PART_BYTES + 1])
def test_a_file_comes_whole_in_parts_and_is_kept(settings, served, shelf, size):
    data = np.random.default_rng(size).bytes(size)
    event = event_of(shelf, "day/a.tif", data)
    renewed = []
    folder = FrameFetcher(settings).fetch(event, "gateway.far", lambda: renewed.append(1))
    assert (folder / "day" / "a.tif").read_bytes() == data
    assert folder == fetched_folder(settings, "far")
    assert len(served.asked) == len(renewed) == size // FRAME_PART_BYTES + 1
    FrameFetcher(settings).fetch(event, "gateway.far", lambda: None)
    assert len(served.asked) == len(renewed), "what lies there already is not fetched again"


def test_a_file_that_was_replaced_is_fetched_again_or_refused(settings, shelf):
    fetcher = FrameFetcher(settings)
    first = event_of(shelf, "a.tif", b"first")
    fetcher.fetch(first, "gateway.far", lambda: None)
    second = event_of(shelf, "a.tif", b"second")
    folder = fetcher.fetch(second, "gateway.far", lambda: None)
    assert (folder / "a.tif").read_bytes() == b"second"
    with pytest.raises(FetchError, match="not those its event names") as caught:
        fetcher.fetch(first, "gateway.far", lambda: None)
    assert (caught.value.problem.code, caught.value.problem.passing) == ("wrong_hash", False)
    assert (folder / "a.tif").read_bytes() == b"second"


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"path": "gone.tif"}, "not_fetched", "No such file"),
        ({"image_root": "nowhere"}, "not_fetched", "has the image root far"),
        ({"size_bytes": 2**40}, "too_large", "over the"),
    ],
)
def test_what_cannot_be_had_says_why(settings, shelf, changes, code, why, monkeypatch):
    monkeypatch.setattr("services.daemon.fetching.PART_TIMEOUT_S", 0.1)
    event = event_of(shelf, "a.tif", b"x", **changes)
    with pytest.raises(FetchError, match=why) as caught:
        FrameFetcher(settings).fetch(event, "gateway.far", lambda: None)
    assert caught.value.problem.code == code


def test_a_gateway_that_does_not_answer_is_worth_another_attempt(settings, shelf, served, monkeypatch):
    monkeypatch.setattr("services.daemon.fetching.PART_TIMEOUT_S", 0.1)
    event = event_of(shelf, "a.tif", b"x")
    served.stop()
    with pytest.raises(FetchError, match="no answer") as caught:
        FrameFetcher(settings).fetch(event, "gateway.far", lambda: None)
    assert caught.value.problem.passing
    assert "start its gateway" in caught.value.problem.remedy


def test_nothing_outside_the_image_root_is_read(settings, shelf):
    (shelf.parent / "secret").write_bytes(b"secret")
    event = event_of(shelf, "a.tif", b"x")
    (shelf / "a.tif").unlink()
    (shelf / "a.tif").symlink_to(shelf.parent / "secret")
    with pytest.raises(FetchError, match="leads out of its image root"):
        FrameFetcher(settings).fetch(event, "gateway.far", lambda: None)


@contextmanager
def a_gateway(folder: Path, ports: list[str], plan: AcquisitionPlan):
    settings = Settings(
        data_dir=folder,
        image_roots={"far": folder / "images"},
        instrument=InstrumentSettings(
            instrument_id="far",
            image_root="far",
            events=ports[0],
            requests=ports[1],
            daemon_events=ports[2],
            daemon_requests=ports[3],
        ),
    )
    microscope = VirtualMicroscope(latency=0.0, width_px=192, height_px=128)
    stop, ready = threading.Event(), threading.Event()
    gateway = Gateway(settings, microscope, plan)
    thread = threading.Thread(target=gateway.run, args=(stop, ready.set))
    thread.start()
    assert ready.wait(60)
    yield settings
    stop.set()
    thread.join(60)


def test_twenty_frames_reach_a_daemon_that_shares_no_folder(tmp_path, make_settings, running):
    events, requests, daemon_events, daemon_requests = free_ports(4)
    there, here = tmp_path / "gateway", tmp_path / "daemon"
    for folder in (there, here):
        folder.mkdir()
    frames = [PlannedFrame("far-1", 0.02 * index, 0.1, 250.0) for index in range(FRAMES)]
    source = SourceSettings(name="gateway.far", events=events, requests=requests)
    settings = make_settings(
        source,
        database_url=f"sqlite:///{(here / 'labsem.sqlite').as_posix()}",
        data_dir=here,
        daemon={"events": daemon_events, "requests": daemon_requests},
    )
    ports = [events, requests, daemon_events, daemon_requests]
    with (
        a_gateway(there, ports, AcquisitionPlan(tuple(frames))),
        running(settings),
        Labsem(daemon_events, daemon_requests) as lab,
    ):
        deadline = time.monotonic() + PATIENCE_S
        while (history := _history(lab)) is None or len(history.frames) < FRAMES:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        found = [lab.frame(frame.morphology.frame_id) for frame in history.frames]
    assert history.rejected == 0
    for frame in found:
        copy = fetched_folder(settings, "far") / frame.path
        original = there / "images" / frame.path
        assert sha256_of_file(copy) == sha256_of_file(original) == frame.sha256
    assert not (here / "images").exists()


def _history(lab):
    from labsem.client import RequestRefusedError

    try:
        return lab.history("far-1")
    except RequestRefusedError:
        return None
