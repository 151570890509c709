"""A watched folder: whole files, once each, named, and never touched."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import DisconnectedError, NotConnectedError
from drivers.folder import FolderMicroscope
from drivers.testing import MicroscopeConformance
from labsem.frames import FrameMetadata, sha256_of_file, write_frame
from schemas.image import Acquisition

PATIENCE_S = 30.0


class TestFolder(MicroscopeConformance):
    @pytest.fixture(autouse=True)
    def inside(self, tmp_path):
        self.folder = tmp_path

    def make(self):
        return FolderMicroscope(folder=str(self.folder))


def save(path: Path, seed: int = 0, sample: str | None = None) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64), np.uint8)
    metadata = FrameMetadata(acquisition=Acquisition(hfw_um=90.0), sample_name=sample)
    write_frame(path, pixels, metadata)
    return path.read_bytes()


@pytest.fixture
def watching(tmp_path):
    made = []

    def make(**options):
        folder = tmp_path / "saved"
        folder.mkdir(exist_ok=True)
        microscope = FolderMicroscope(folder=str(folder), **{"stable_s": 0.0, **options})
        microscope.connect(5.0)
        made.append(microscope)
        return microscope

    yield make
    for microscope in made:
        microscope.close()


def wait_for(microscope: FolderMicroscope, count: int, known=()):
    found, deadline = [], time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} files were found"
        found += microscope.found(dict(known))
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("polling", [False, True])
def test_files_are_told_of_once_with_what_they_say(watching, polling):
    microscope = watching(polling=polling)
    save(microscope.folder / "Batch 7" / "a.tif", sample="TiO2")
    save(microscope.folder / "Batch 7" / "b.tif")
    save(microscope.folder / ".hidden.tif")
    (microscope.folder / "notes.txt").write_text("no frame")
    found = {frame.path: frame for frame in wait_for(microscope, 2)}
    assert set(found) == {"Batch 7/a.tif", "Batch 7/b.tif"}
    assert [found[path].sample_id for path in sorted(found)] == ["TiO2", "Batch_7"]
    first = found["Batch 7/a.tif"]
    file = microscope.folder / "Batch 7" / "a.tif"
    assert (first.size_bytes, first.sha256) == (file.stat().st_size, sha256_of_file(file))
    assert first.acquisition.hfw_um == pytest.approx(90.0)
    assert first.problem is None
    save(microscope.folder / "c.tif")
    (third,) = wait_for(microscope, 1)
    assert (third.path, third.sample_id) == ("c.tif", "unnamed")


def test_a_file_that_still_grows_is_waited_for(watching):
    microscope = watching(stable_s=0.1)
    whole = save(microscope.folder.parent / "elsewhere.tif", seed=5)
    file = microscope.folder / "slow.tif"
    for share in (0.3, 0.6, 0.9):
        file.write_bytes(whole[: int(share * len(whole))])
        time.sleep(0.15)
        assert microscope.found({}) == []
    file.write_bytes(whole)
    (found,) = wait_for(microscope, 1)
    assert found.sha256 == sha256_of_file(file)


def test_a_file_that_never_gets_readable_is_told_of_with_its_problem(watching):
    microscope = watching(give_up_s=0.2)
    whole = save(microscope.folder.parent / "elsewhere.tif")
    (microscope.folder / "torn.tif").write_bytes(whole[:200])
    assert microscope.found({}) == []
    (found,) = wait_for(microscope, 1)
    assert "torn.tif" in found.problem
    assert microscope.found({}) == []


def test_what_an_earlier_process_told_of_is_known_unless_it_was_replaced(watching):
    microscope = watching()
    for name in ("old.tif", "replaced.tif", "new.tif"):
        save(microscope.folder / name)
    known = {"old.tif": (microscope.folder / "old.tif").stat().st_size, "replaced.tif": 17}
    found = wait_for(microscope, 2, known)
    assert {frame.path for frame in found} == {"replaced.tif", "new.tif"}
    assert microscope.found(known) == []
    save(microscope.folder / "new.tif", seed=9)
    (again,) = wait_for(microscope, 1, known)
    assert again.path == "new.tif"


def test_a_full_folder_comes_in_parts_oldest_first(watching):
    folder = watching().folder
    for number in range(7):
        save(folder / f"{9 - number}.tif")
        time.sleep(0.01)
    microscope = watching()
    parts = []
    while len(parts) < 4 and sum(map(len, parts)) < 7:
        parts.append([frame.path for frame in microscope.found({}, limit=3)])
    assert parts == [["9.tif", "8.tif", "7.tif"], ["6.tif", "5.tif", "4.tif"], ["3.tif"]]


def test_nothing_in_the_folder_is_touched(watching):
    microscope = watching()
    file = microscope.folder / "a.tif"
    content = save(file)
    file.chmod(0o444)
    before = file.stat()
    wait_for(microscope, 1)
    after = file.stat()
    assert (file.read_bytes(), after.st_mtime_ns, after.st_mode) == (
        content,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert [path.name for path in microscope.folder.iterdir()] == ["a.tif"]


def test_a_folder_that_goes_away_says_so_and_can_come_back(watching):
    microscope = watching()
    shutil.rmtree(microscope.folder)
    with pytest.raises(DisconnectedError, match="mount it") as caught:
        microscope.found({})
    assert caught.value.retryable
    with pytest.raises(DisconnectedError):
        microscope.status()
    microscope.folder.mkdir()
    microscope.close()
    microscope.connect(5.0)
    save(microscope.folder / "a.tif")
    assert wait_for(microscope, 1)[0].path == "a.tif"


def test_it_starts_with_a_folder_that_is_there(tmp_path):
    microscope = FolderMicroscope(folder=str(tmp_path / "nowhere"))
    with pytest.raises(DisconnectedError, match="cannot be read"):
        microscope.connect(1.0)
    with pytest.raises(NotConnectedError):
        microscope.status()


@pytest.mark.parametrize("options", [{"folder": ""}, {"folder": "x", "stable_s": 5.0, "give_up_s": 1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"folder|stable_s"):
        FolderMicroscope(**options)
