"""Frames on disk and their events: sidecar first, then the frame, then the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from pydantic import ValidationError
from sqlalchemy import func, select

from drivers.base import AcquiredFrame
from labsem.frames import (
    FRAME_SUFFIXES,
    FrameMetadata,
    sha256_of_file,
    sidecar_path,
    write_atomically,
    write_frame,
)
from labsem.store import Store, files, journal
from labsem.store.tables import JournalRow
from schemas.image import ImageAcquired

log = structlog.get_logger(__name__)


class FrameShelf:
    """An image root that one gateway writes, with the journal in which each of its frames is announced once.

    Parameters
    ----------
    folder
        The image root; made where it is missing.
    """

    def __init__(
        self, store: Store, stream: str, *, folder: Path, image_root: str, instrument_id: str, device: str
    ) -> None:
        self._store, self._stream = store, stream
        self.folder = folder
        self._image_root = image_root
        self._instrument_id, self._device = instrument_id, device
        folder.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        frame: AcquiredFrame,
        *,
        sample_id: str,
        act_id: UUID | None = None,
        index: int | None = None,
        labels: tuple[str, ...] = (),
    ) -> ImageAcquired:
        """Write a frame and announce it.

        Its sidecar comes first, so that whatever dies afterwards, :meth:`announce_orphans` finds what the frame
        is. The sample's name stands in the file's name behind others, since not every sample id is one.
        """
        frame_id = uuid4()
        at = frame.acquired_at
        path = self.folder / f"{at:%Y-%m-%d}" / f"{at:%H%M%S}-{frame_id.hex[:8]}_{sample_id}.tif"
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        metadata = FrameMetadata(
            acquisition=frame.acquisition,
            instrument=self._device,
            acquired_at=at,
            position_x_mm=frame.position_x_mm,
            position_y_mm=frame.position_y_mm,
            scan_rotation_deg=frame.scan_rotation_deg,
            sample_name=sample_id,
        )
        try:
            write_frame(part, frame.pixels, metadata)
            data = part.read_bytes()
        finally:
            part.unlink(missing_ok=True)
        event = ImageAcquired(
            frame_id=frame_id,
            sample_id=sample_id,
            instrument_id=self._instrument_id,
            image_root=self._image_root,
            path=path.relative_to(self.folder).as_posix(),
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            acquired_at=at,
            position_x_mm=frame.position_x_mm,
            position_y_mm=frame.position_y_mm,
            scan_rotation_deg=frame.scan_rotation_deg,
            acquisition=frame.acquisition,
            act_id=act_id,
            index=index,
            labels=labels,
        )
        write_atomically(sidecar_path(path), event.to_bytes())
        write_atomically(path, data)
        self._announce(event)
        return event

    def announce_orphans(self) -> list[ImageAcquired]:
        """Journal the frames that no event names, oldest first, and clear away what never became one."""
        with self._store.read() as session:
            known = files.known_sizes(session, self._image_root)
        found: list[ImageAcquired] = []
        for path in sorted(self.folder.rglob("*")):
            if path.name.startswith(".") and path.suffix in (".part", ".tmp"):
                path.unlink(missing_ok=True)
            elif path.suffix == ".json" and not path.name.startswith("."):
                self._without_frame(path)
            elif path.suffix in FRAME_SUFFIXES and path.relative_to(self.folder).as_posix() not in known:
                event = self._from_sidecar(path)
                if event is not None:
                    found.append(event)
        found.sort(key=lambda event: event.acquired_at)
        for event in found:
            self._announce(event)
            log.info("orphan_announced", frame_id=str(event.frame_id), path=event.path)
        return found

    def event(self, frame_id: UUID) -> ImageAcquired | None:
        """What was announced of a frame; None where this gateway has not taken it, or the journal is pruned."""
        return self._announced(f'"frame_id":"{frame_id}"', lambda event: event.frame_id == frame_id)

    def answer(self, act_id: UUID) -> ImageAcquired | None:
        """The frame that answers an act, where there is one."""
        return self._announced(f'"act_id":"{act_id}"', lambda event: event.act_id == act_id)

    def answered(self, act_id: UUID) -> set[int]:
        """Indices of an acquisition's frames that were announced."""
        found = self._all_announced(f'"act_id":"{act_id}"')
        return {event.index for event in found if event.act_id == act_id and event.index is not None}

    def _announce(self, event: ImageAcquired) -> None:
        with self._store.write() as session:
            if files.note(session, event):
                journal.append(session, self._stream, event)

    def _announced(self, text: str, fits: Callable[[ImageAcquired], bool]) -> ImageAcquired | None:
        return next((event for event in self._all_announced(text) if fits(event)), None)

    def _all_announced(self, text: str) -> list[ImageAcquired]:
        """Events that hold a text, the newest first."""
        query = (
            select(JournalRow.payload)
            .where(
                JournalRow.stream == self._stream,
                JournalRow.topic.like("image-acquired/%"),
                func.instr(JournalRow.payload, text.encode()) > 0,
            )
            .order_by(JournalRow.sequence.desc())
        )
        with self._store.read() as session:
            return [ImageAcquired.read(payload) for payload in session.scalars(query)]

    def _from_sidecar(self, path: Path) -> ImageAcquired | None:
        relative = path.relative_to(self.folder).as_posix()
        try:
            event = ImageAcquired.read(sidecar_path(path).read_bytes())
        except (OSError, ValidationError) as error:
            log.warning(
                "frame_without_event", path=relative, error=str(error), remedy="publish it as a plain event"
            )
            return None
        if (
            event.path != relative
            or event.size_bytes != path.stat().st_size
            or event.sha256 != sha256_of_file(path)
        ):
            log.warning("sidecar_contradicts_frame", path=relative, remedy="compare both by hand")
            return None
        return event

    def _without_frame(self, sidecar: Path) -> None:
        """Remove a sidecar of this gateway whose frame was never completed."""
        try:
            event = ImageAcquired.read(sidecar.read_bytes())
        except (OSError, ValidationError):
            return
        if event.instrument_id == self._instrument_id and not (self.folder / event.path).exists():
            sidecar.unlink(missing_ok=True)
            log.info("unfinished_frame_removed", path=event.path)
