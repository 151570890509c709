"""Finding frames, hashing, and errors that cross processes."""

import hashlib
import pickle
from pathlib import Path

import pytest

from labsem.frames import (
    FRAME_SUFFIXES,
    FrameError,
    MissingFrameError,
    TruncatedFrameError,
    find_frames,
    sha256_of_file,
    sidecar_path,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("b.tif", "a.PNG", "c.txt", ".d.tif", "sub/e.jpeg", "odd[1].tif", "f.json"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def _names(folder: Path, found: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


def test_folders_files_and_patterns(folder):
    assert _names(folder, find_frames([folder])) == ["a.PNG", "b.tif", "odd[1].tif"]
    assert "sub/e.jpeg" in _names(folder, find_frames([str(folder)], recursive=True))
    assert _names(folder, find_frames([folder / "c.txt"])) == ["c.txt"]
    assert _names(folder, find_frames([folder / "*.t*"])) == ["b.tif", "odd[1].tif"]
    assert _names(folder, find_frames([folder / "**" / "*.jpeg"])) == ["sub/e.jpeg"]
    assert _names(folder, find_frames([folder / "odd[1].tif", folder / "odd*.tif"])) == ["odd[1].tif"]
    assert _names(folder, find_frames([folder / "s*"], recursive=True)) == ["sub/e.jpeg"]


@pytest.mark.parametrize("item", ["none.tif", "*.bmp"])
def test_what_is_not_there_is_named(folder, item):
    with pytest.raises(MissingFrameError, match=r"none\.tif|\*\.bmp"):
        find_frames([folder / item])


def test_hash_and_sidecar(folder):
    assert sha256_of_file(folder / "b.tif") == hashlib.sha256(b"x").hexdigest()
    assert sidecar_path(Path("x/y.tiff")) == Path("x/y.json")
    assert ".tiff" in FRAME_SUFFIXES


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(TruncatedFrameError(Path("a.tif"), "ends", "again")))
    assert isinstance(error, FrameError)
    assert (error.code, error.path, str(error)) == ("truncated", Path("a.tif"), "a.tif: ends; again")
