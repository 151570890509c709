"""A gateway over a watched folder: events from files that other software saves."""

from __future__ import annotations

import numpy as np
import pytest

from drivers import BasicMicroscope
from drivers.errors import MicroscopeError, UnsupportedError
from drivers.folder import FolderMicroscope
from labsem.frames import FrameMetadata, sha256_of_file, write_frame
from labsem.streams import RequestClient
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
from schemas.image import Acquisition
from schemas.requests import Hold, InstrumentAnswer


def save(path, seed=0, sample=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64), np.uint8)
    write_frame(path, pixels, FrameMetadata(acquisition=Acquisition(hfw_um=90.0), sample_name=sample))


@pytest.fixture
def folder(settings):
    folder = settings.image_roots["virtual-1"]
    folder.mkdir()
    return folder


def watching(folder, **options):
    return FolderMicroscope(folder=str(folder), **{"stable_s": 0.0, **options})


def test_files_become_events_and_stay_as_they_are(run, folder, until):
    save(folder / "before.tif", sample="Zr Hf")
    with run(watching(folder)) as running:
        until(lambda: len(running.events()) == 1, "the file that lay there")
        save(folder / "S2" / "after.tif")
        until(lambda: len(running.events()) == 2, "the file that came")
        first, second = running.events()
        status = running.events(InstrumentStatus)[-1]
    assert (first.path, first.sample_id, first.sample_name) == ("before.tif", "Zr_Hf", "Zr Hf")
    assert (second.path, second.sample_id) == ("S2/after.tif", "S2")
    assert second.sha256 == sha256_of_file(folder / "S2" / "after.tif")
    assert second.acquisition.hfw_um == pytest.approx(90.0)
    assert (status.state, status.capabilities.can_act) == (InstrumentState.AVAILABLE, False)
    assert sorted(path.name for path in folder.rglob("*.*")) == ["after.tif", "before.tif"]


def test_a_gateway_that_starts_again_announces_what_is_new_or_replaced(run, folder, until):
    save(folder / "a.tif")
    save(folder / "b.tif")
    with run(watching(folder)) as running:
        until(lambda: len(running.events()) == 2, "both")
    save(folder / "c.tif")
    (folder / "b.tif").unlink()
    write_frame(folder / "b.tif", np.zeros((96, 128), np.uint8), FrameMetadata())
    with run(watching(folder)) as running:
        until(lambda: len(running.events()) == 4, "the new one and the replaced one")
        events = running.events()
    assert sorted(event.path for event in events[2:]) == ["b.tif", "c.tif"]
    assert len({event.frame_id for event in events}) == 4


def test_a_folder_that_goes_away_is_a_fault_until_it_is_back(run, folder, until, monkeypatch):
    monkeypatch.setattr("services.gateway.gateway.RECONNECT_EVERY_S", 0.1)
    away = folder.with_name("away")
    with run(watching(folder)) as running:
        folder.rename(away)
        until(lambda: running.events(InstrumentStatus)[-1].state is InstrumentState.FAULT, "the fault")
        assert "mount it" in running.events(InstrumentStatus)[-1].detail
        away.rename(folder)
        until(lambda: running.events(InstrumentStatus)[-1].state is InstrumentState.AVAILABLE, "the folder")
        save(folder / "a.tif")
        until(lambda: len(running.events()) == 1, "the file")


def test_files_are_announced_while_a_person_has_the_instrument(run, folder, settings, until):
    with run(watching(folder)) as running:
        client = RequestClient(settings.instrument.requests, timeout_s=10.0)
        client.ask(Hold(by="Ada"), InstrumentAnswer)
        until(lambda: running.events(InstrumentStatus)[-1].state is InstrumentState.HELD, "the hold")
        save(folder / "by_hand.tif")
        until(lambda: len(running.events()) == 1, "the file that Ada saved")


def test_a_folder_that_is_not_the_image_roots_is_refused(run, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UnsupportedError, match="make them the same"), run(watching(other)):
        pass


def test_a_driver_that_neither_takes_nor_finds_frames_is_refused(run):
    class Idle(BasicMicroscope):
        def capabilities(self) -> Capabilities:
            return Capabilities(can_act=False, cannot=("anything",))

    with pytest.raises(MicroscopeError, match="neither takes frames"), run(Idle()):
        pass
