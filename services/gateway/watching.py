"""Frames that other software saves under an image root: announced once each, never touched."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import structlog

from drivers.base import FoundFrame, FrameSource, Microscope
from drivers.errors import MicroscopeError, UnsupportedError
from labsem.store import Store, files, journal
from schemas.image import ImageAcquired
from schemas.settings import Settings
from services.gateway.holder import HolderShelf

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0


class WatchedShelf:
    """The files of a driver that finds frames, with the journal in which each is announced once.

    What is known of them are rows beside the journal, so that a gateway that starts again announces none twice.

    Raises
    ------
    UnsupportedError
        Where the image root's folder is not the one that the driver watches.
    """

    def __init__(
        self, store: Store, stream: str, settings: Settings, source: FrameSource, holder: HolderShelf
    ) -> None:
        own = settings.instrument
        self._holder = holder
        self._store, self._stream, self._source = store, stream, source
        self._image_root, self._instrument_id = own.image_root, own.instrument_id
        mapped = settings.image_roots.get(own.image_root)
        if mapped is not None and mapped.expanduser().resolve() != source.folder.resolve():
            raise UnsupportedError(
                own.driver,
                "watch",
                f"image_roots.{own.image_root} is {mapped}, but {source.folder} is watched; make them the same folder",
            )
        self._look_at_s = 0.0
        with store.read() as session:
            self._known = files.known_sizes(session, own.image_root)

    @property
    def folder(self) -> Path:
        """The image root's folder."""
        return self._source.folder

    def announce_found(self) -> list[ImageAcquired]:
        """Announce what has been completed since the last time; soon after one that found nothing, look at nothing.

        Raises
        ------
        MicroscopeError
            Where the folder cannot be read.
        """
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return []
        complete = self._source.found(self._known)
        if not complete:
            self._look_at_s = now_s + LOOK_EVERY_S
            return []
        events = [(found, self._event(found)) for found in complete]
        with self._store.write() as session:
            new = [
                (found, event)
                for found, event in events
                if files.note(session, event, replaced=found.path in self._known)
            ]
            for _, event in new:
                journal.append(session, self._stream, event)
        for found, event in new:
            self._tell(found, event)
        self._known.update({found.path: found.size_bytes for found in complete})
        return [event for _, event in new]

    def _event(self, found: FoundFrame) -> ImageAcquired:
        slot = self._holder.slot_at(found.position_x_mm, found.position_y_mm)
        return ImageAcquired(
            frame_id=uuid4(),
            sample_id=found.sample_id if slot is None else slot.sample_id,
            sample_name=found.sample_name if slot is None else slot.sample_name,
            instrument_id=self._instrument_id,
            image_root=self._image_root,
            path=found.path,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            acquired_at=found.acquired_at,
            position_x_mm=found.position_x_mm,
            position_y_mm=found.position_y_mm,
            scan_rotation_deg=found.scan_rotation_deg,
            acquisition=found.acquisition,
        )

    def _tell(self, found: FoundFrame, event: ImageAcquired) -> None:
        log.info("frame_found", frame_id=str(event.frame_id), path=found.path, sample_id=event.sample_id)
        if found.path in self._known:
            log.warning("file_replaced", path=found.path, remedy="let the instrument number its files")
        if found.problem is not None:
            log.warning(
                "unreadable_file_announced",
                path=found.path,
                error=found.problem,
                remedy="see frames rejected",
            )


def watched_shelf(
    store: Store, stream: str, settings: Settings, microscope: Microscope, holder: HolderShelf
) -> WatchedShelf | None:
    """The shelf of a driver that finds frames; None of one that takes them.

    Raises
    ------
    MicroscopeError
        Where the driver neither takes nor finds frames, or its folder is not the image root's.
    """
    if isinstance(microscope, FrameSource):
        return WatchedShelf(store, stream, settings, microscope, holder)
    if not microscope.capabilities().can_act:
        raise MicroscopeError(microscope.name, "start", "this driver neither takes frames nor finds any")
    return None
