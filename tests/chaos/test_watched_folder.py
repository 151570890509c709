"""A folder that fills while its gateway is killed: every file is announced, once."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path

import numpy as np

from labsem.frames import FrameMetadata, write_frame
from labsem.store import Store, journal
from schemas.image import Acquisition, ImageAcquired
from schemas.settings import InstrumentSettings, Settings
from tests.chaos.processes import free_ports, kill, start_gateway

FILES, KILLS = 500, 3
PATIENCE_S = 150.0


def announced(database: str, stream: str) -> list[ImageAcquired]:
    with Store.open(database, upgrade="never") as store, store.read() as session:
        return [
            ImageAcquired.read(message.payload)
            for message in journal.unsent(session, stream, 0, 5000)
            if message.topic.startswith("image-acquired")
        ]


def fill(folder: Path, done: threading.Event) -> None:
    """As an instrument's software does: some files in a while, written in pieces."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32), np.uint8)
    whole = folder.parent / "whole.tif"
    write_frame(whole, pixels, FrameMetadata(acquisition=Acquisition(hfw_um=50.0)))
    content = whole.read_bytes()
    for number in range(FILES):
        sample = folder / f"S{number % 4}"
        sample.mkdir(parents=True, exist_ok=True)
        with (sample / f"{number:03}.tif").open("wb") as file:
            file.write(content[:100])
            file.flush()
            time.sleep(0.005)
            file.write(content[100:])
        time.sleep(0.015)
    done.set()


def test_500_files_are_announced_once_each_whoever_dies(tmp_path: Path):
    folder = tmp_path / "saved"
    folder.mkdir()
    ports = free_ports(4)
    settings = Settings(
        data_dir=tmp_path,
        image_roots={"phenom-1": folder},
        instrument=InstrumentSettings(
            instrument_id="phenom-1",
            image_root="phenom-1",
            driver="folder",
            options={"folder": str(folder), "stable_s": 0.2},
            events=ports[0],
            requests=ports[1],
            daemon_events=ports[2],
            daemon_requests=ports[3],
        ),
    )
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    database = f"sqlite:///{(tmp_path / 'gateway-phenom-1.sqlite').as_posix()}"
    done, chance = threading.Event(), random.Random(3)
    filling = threading.Thread(target=fill, args=(folder, done))
    process = start_gateway(file)
    filling.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(1.0, 2.5))
            kill(process)
            process = start_gateway(file)
        deadline = time.monotonic() + PATIENCE_S
        while len(announced(database, "gateway.phenom-1")) < FILES:
            assert time.monotonic() < deadline, len(announced(database, "gateway.phenom-1"))
            time.sleep(0.5)
        assert done.is_set()
        time.sleep(1.5)
        events = announced(database, "gateway.phenom-1")
    finally:
        kill(process)
        filling.join()
    assert len(events) == FILES
    assert len({event.path for event in events}) == FILES
    assert len({event.frame_id for event in events}) == FILES
    assert {event.sample_id for event in events} == {"S0", "S1", "S2", "S3"}
    assert all((folder / event.path).stat().st_size == event.size_bytes for event in events)
