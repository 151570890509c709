"""Files on disk: finding frames, writing whole files, hashing."""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from labsem.frames.errors import MissingFrameError

FRAME_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def sidecar_path(path: Path) -> Path:
    """``NAME.json`` beside a frame."""
    return path.with_suffix(".json")


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a whole file or none: temporary name in the same folder, fsync, rename over the target."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power; Windows cannot open folders and needs none of it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find_frames(items: Iterable[str | Path], *, recursive: bool = False) -> list[Path]:
    """Frame files named by files, folders and patterns (``*``, ``?``, ``[]``, ``**``), sorted, each once.

    A file that is named is taken whatever its suffix; folders and patterns give files with one of
    ``FRAME_SUFFIXES``, none of them hidden.

    Raises
    ------
    MissingFrameError
        Where an item is no file, no folder, and a pattern that nothing fits.
    """
    found: set[Path] = set()
    for item in items:
        path = Path(item)
        if path.is_file():
            found.add(path)
        elif path.is_dir():
            found.update(_in_folder(path, recursive))
        else:
            matches = [Path(match) for match in glob.glob(str(item), recursive=True)]  # noqa: PTH207 - absolute patterns
            if not matches:
                raise MissingFrameError(
                    path, "is no file and no folder, and fits none as a pattern", "check its spelling"
                )
            found.update(match for match in matches if _is_frame(match))
            if recursive:
                found.update(
                    frame for match in matches if match.is_dir() for frame in _in_folder(match, True)
                )
    return sorted(found)


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    return [path for path in (folder.rglob("*") if recursive else folder.iterdir()) if _is_frame(path)]


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and path.is_file()
