"""Frames that a vendor's software saves into a folder: watched, never touched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from drivers.base import BasicMicroscope, FoundFrame, MicroscopeState, MicroscopeStatus, Mode
from drivers.errors import DisconnectedError, NotConnectedError
from drivers.naming import SampleNaming
from labsem.frames import FRAME_SUFFIXES, FrameError, ReadLimits, read_frame, sha256_of_file
from schemas.acts import Capabilities
from schemas.image import Acquisition

log = structlog.get_logger(__name__)

SCAN_EVERY_S: Final = 30.0
"""A watcher may miss an event (a full queue, a share): the whole folder is looked through as often as this."""


@dataclass(frozen=True)
class _Seen:
    size_bytes: int
    modified_ns: int
    since_s: float


class FolderMicroscope(BasicMicroscope):
    """Watches a folder; it can take no frame itself.

    Parameters
    ----------
    folder
        Into which the vendor's software saves; with all its subfolders.
    polling
        Look through the folder instead of asking the operating system to tell: needed on most network shares.
    stable_s
        A file is complete when neither its size nor its time has changed for so long and it can be decoded.
    give_up_s
        A file that rests for so long and cannot be decoded is told of all the same, with its problem.
    sample_from, sample_pattern, sample_otherwise
        As of :class:`drivers.naming.SampleNaming`.

    Raises
    ------
    ValueError
        Where an option cannot be used.
    """

    def __init__(
        self,
        *,
        folder: str,
        polling: bool = False,
        stable_s: float = 2.0,
        give_up_s: float = 120.0,
        sample_from: str = "pattern,databar,folder",
        sample_pattern: str = "",
        sample_otherwise: str = "unnamed",
    ) -> None:
        if not folder:
            raise ValueError("folder: name the folder into which the instrument's software saves")
        if not 0 <= stable_s <= give_up_s:
            raise ValueError("give 0 <= stable_s <= give_up_s")
        self._folder = Path(folder).expanduser().absolute()
        self._naming = SampleNaming(sample_from, sample_pattern, sample_otherwise)
        self._polling, self._stable_s, self._give_up_s = polling, stable_s, give_up_s
        self._observer: Any = None
        self._noticed: set[str] = set()
        self._noticing = Lock()
        self._waiting: dict[str, _Seen] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._scanned_s = -SCAN_EVERY_S

    @property
    def folder(self) -> Path:
        """The watched folder."""
        return self._folder

    @property
    def name(self) -> str:
        """With the folder."""
        return f"folder {self.folder}"

    def capabilities(self) -> Capabilities:
        """It only reads."""
        return Capabilities(
            can_act=False,
            autofocus=False,
            cannot=("take frames: it watches the folder into which the instrument's own software saves",),
        )

    def connect(self, timeout_s: float) -> None:  # noqa: ARG002
        """Begin to watch."""
        if self._observer is not None:
            return
        self._present("connect")
        observer = PollingObserver() if self._polling else Observer()
        observer.schedule(_Notice(self), str(self.folder), recursive=True)
        try:
            observer.start()
        except OSError as error:
            # Such as inotify's limit of watches: the folder is still looked through.
            log.warning("watching_by_looking", folder=str(self.folder), error=str(error))
        self._observer = observer
        self._scanned_s = -SCAN_EVERY_S

    def close(self) -> None:
        """End watching."""
        observer, self._observer = self._observer, None
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(5.0)

    def status(self) -> MicroscopeStatus:
        """Whether the folder can be read."""
        if self._observer is None:
            raise NotConnectedError(self.name, "status", "not connected; call connect first")
        self._present("status")
        return MicroscopeStatus(mode=Mode.SEM, ready=False, detail="it only watches a folder")

    def state(self) -> MicroscopeState:
        """Refused: a folder stands nowhere."""
        self._refuse("state", "a watched folder tells of no instrument's state")

    def set_hfw(self, hfw_um: float) -> float:  # noqa: ARG002
        """Refused."""
        self._refuse("set_hfw", "use the instrument's own software")

    def set_scan(self, dwell_time_ns: float | None, frame_averages: int) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse("set_scan", "use the instrument's own software")

    def acquire(self, timeout_s: float) -> Any:  # noqa: ARG002
        """Refused."""
        self._refuse("acquire", "use the instrument's own software")

    def stop(self) -> None:
        """Nothing runs that could be stopped."""

    def found(self, known: Mapping[str, int], limit: int = 50) -> list[FoundFrame]:
        """Files that are complete and not yet told of, oldest first.

        Parameters
        ----------
        known
            Files told of before this process began, with their sizes: one of another size has been replaced.
        limit
            Most files at once, so that a full folder does not keep the caller away.

        Raises
        ------
        DisconnectedError
            Where the folder cannot be read.
        """
        self._present("found")
        now_s = time.monotonic()
        if now_s - self._scanned_s >= SCAN_EVERY_S:
            self._scanned_s = now_s
            candidates: Iterable[str] = [*self._waiting, *self._all()]
        else:
            with self._noticing:
                candidates, self._noticed = [*self._waiting, *self._noticed], set()
        ready: list[tuple[int, str]] = []
        for path in dict.fromkeys(candidates):
            seen = self._look(path, known, now_s)
            if seen is not None and now_s - seen.since_s >= self._stable_s:
                ready.append((seen.modified_ns, path))
        told: list[FoundFrame] = []
        for _, path in sorted(ready):
            if len(told) == limit:
                break
            frame = self._read(path, now_s)
            if frame is not None:
                told.append(frame)
        return told

    def notice(self, path: str) -> None:
        """Look at a file at the next occasion; called by the watcher's thread."""
        place = Path(path)
        if _is_frame(place.name) and place.is_relative_to(self.folder):
            with self._noticing:
                self._noticed.add(place.relative_to(self.folder).as_posix())

    def _all(self) -> list[str]:
        return [
            (Path(folder) / name).relative_to(self.folder).as_posix()
            for folder, _, names in os.walk(self.folder)
            for name in names
            if _is_frame(name)
        ]

    def _look(self, path: str, known: Mapping[str, int], now_s: float) -> _Seen | None:
        """What was seen of a file that is still to be told of."""
        try:
            told = (self.folder / path).stat()
        except OSError:
            self._waiting.pop(path, None)
            return None
        size, modified_ns = told.st_size, told.st_mtime_ns
        if self._told.get(path) == (size, modified_ns):
            return None
        if path not in self._told and known.get(path) == size:
            self._told[path] = (size, modified_ns)
            return None
        before = self._waiting.get(path)
        if before is None or (before.size_bytes, before.modified_ns) != (size, modified_ns):
            before = self._waiting[path] = _Seen(size, modified_ns, now_s)
        return before

    def _read(self, path: str, now_s: float) -> FoundFrame | None:
        """The file as a frame; None where it may still be on its way."""
        file, seen = self.folder / path, self._waiting[path]
        problem: str | None = None
        try:
            frame = read_frame(file, limits=ReadLimits())
            metadata = frame.metadata
            sha256 = sha256_of_file(file)
            after = file.stat()
        except FrameError as error:
            if now_s - seen.since_s < self._give_up_s:
                return None
            problem, metadata = str(error), None
            sha256, after = sha256_of_file(file), file.stat()
        except OSError as error:
            log.info("file_not_readable_yet", path=path, error=str(error))
            return None
        if (after.st_size, after.st_mtime_ns) != (seen.size_bytes, seen.modified_ns):
            return None
        del self._waiting[path]
        self._told[path] = (seen.size_bytes, seen.modified_ns)
        sample = self._naming.name(path, metadata.sample_name if metadata else None)
        modified = datetime.fromtimestamp(seen.modified_ns / 1e9, UTC)
        if metadata is None:
            return FoundFrame(
                path,
                seen.size_bytes,
                sha256,
                modified,
                sample.sample_id,
                sample.name,
                Acquisition(),
                problem=problem,
            )
        return FoundFrame(
            path,
            seen.size_bytes,
            sha256,
            metadata.acquired_at or modified,
            sample.sample_id,
            sample.name,
            metadata.acquisition,
            metadata.position_x_mm,
            metadata.position_y_mm,
            metadata.scan_rotation_deg,
        )

    def _present(self, command: str) -> None:
        try:
            with os.scandir(self.folder):
                pass
        except OSError as error:
            raise DisconnectedError(
                self.name,
                command,
                f"the folder cannot be read: {error.strerror}; mount it or correct the setting",
            ) from error


class _Notice(FileSystemEventHandler):
    """Hands the paths of a watcher's events on."""

    def __init__(self, microscope: FolderMicroscope) -> None:
        self._microscope = microscope

    def on_any_event(self, event: FileSystemEvent) -> None:
        """A file was made, changed, closed or moved here."""
        if not event.is_directory:
            self._microscope.notice(os.fsdecode(event.dest_path or event.src_path))


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(FRAME_SUFFIXES)
