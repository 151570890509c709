"""Who has the instrument, and what its gateway tells of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from drivers.base import Microscope
from labsem.frames import write_atomically
from labsem.store import Store, journal
from schemas.acts import InstrumentState, InstrumentStatus
from schemas.base import Schema, UtcTime, utc_now
from schemas.requests import Hold, InstrumentAnswer, Release, Stop

log = structlog.get_logger(__name__)

STATUS_EVERY_S = 60.0


class HeldBy(Schema):
    """A person who has the instrument; kept on disk, so that a gateway that starts again still knows."""

    by: str
    until: UtcTime | None = None


class Desk:
    """State of one instrument: available, asked for, held by a person, or in fault.

    Requests come on the thread of the request socket, everything else on the gateway's own.

    Parameters
    ----------
    folder
        Where a hold is kept.
    wake
        Called when a request has changed something.
    """

    def __init__(
        self,
        instrument_id: str,
        microscope: Microscope,
        folder: Path,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._instrument_id, self._microscope, self._wake = instrument_id, microscope, wake
        self._file = folder / f"gateway-{instrument_id}.held.json"
        self._lock = threading.RLock()
        self._hold = self._kept()
        self._state = InstrumentState.FAULT
        self._detail = "not connected"
        self._told_at_s = 0.0
        self._tell: Callable[[InstrumentStatus], None] | None = None

    def open(self, store: Store, stream: str, sent: Callable[[], None]) -> None:
        """Begin to tell: into a stream's journal, ``sent`` being called after each."""

        def tell(status: InstrumentStatus) -> None:
            with store.write() as session:
                journal.append(session, stream, status)
            sent()

        self._tell = tell

    def handlers(self) -> Mapping[type[Schema], Callable[[Any], Schema]]:
        """For :class:`labsem.streams.RequestServer`."""
        return {Hold: self.hold, Release: self.release, Stop: self.stop}

    @property
    def state(self) -> InstrumentState:
        """As last told."""
        return self._state

    @property
    def wanted(self) -> HeldBy | None:
        """The person who has the instrument or asks for it."""
        with self._lock:
            if self._hold is not None and self._hold.until is not None and self._hold.until <= utc_now():
                log.info("hold_ended", by=self._hold.by)
                self._set(None)
            return self._hold

    def change(self, state: InstrumentState, detail: str = "") -> None:
        """Move to a state, and tell of it where it is another."""
        with self._lock:
            if (state, detail) != (self._state, self._detail):
                self._state, self._detail = state, detail
                self.tell()

    def tell_now_and_then(self) -> None:
        """Tell again where the last time is long ago."""
        if time.monotonic() - self._told_at_s > STATUS_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Journal the status."""
        with self._lock:
            self._told_at_s = time.monotonic()
            if self._tell is not None:
                self._tell(self._status())

    def hold(self, request: Hold) -> InstrumentAnswer:
        """Take the instrument for a person: the frame in hand finishes, then nothing moves."""
        with self._lock:
            until: datetime | None = None
            if request.for_s is not None:
                until = utc_now() + timedelta(seconds=request.for_s)
            self._set(HeldBy(by=request.by, until=until))
            log.info("hold_requested", by=request.by, until=until)
            if self._state is InstrumentState.AVAILABLE:
                self.change(InstrumentState.HOLD_REQUESTED, f"{request.by} asks for it")
            else:
                self.tell()
            answer = self._answer()
        self._wake()
        return answer

    def release(self, request: Release) -> InstrumentAnswer:
        """Give it back; who it was held by does not matter."""
        with self._lock:
            self._set(None)
            log.info("hold_released", by=request.by)
            answer = self._answer()
        self._wake()
        return answer

    def stop(self, request: Stop) -> InstrumentAnswer:
        """Cancel what runs, blank the beam, and hold the instrument, since what was stopped would begin again.

        Raises
        ------
        MicroscopeError
            Where the instrument does not take it; it is held all the same.
        """
        log.warning("stopped_by_person", by=request.by)
        answer = self.hold(Hold(by=request.by))
        self._microscope.stop()
        return answer

    def _answer(self) -> InstrumentAnswer:
        return InstrumentAnswer(status=self._status())

    def _status(self) -> InstrumentStatus:
        hold = self._hold
        return InstrumentStatus(
            instrument_id=self._instrument_id,
            state=self._state,
            driver=self._microscope.name,
            capabilities=self._microscope.capabilities(),
            held_by=None if hold is None else hold.by,
            held_until=None if hold is None else hold.until,
            detail=self._detail,
        )

    def _set(self, hold: HeldBy | None) -> None:
        self._hold = hold
        if hold is None:
            self._file.unlink(missing_ok=True)
        else:
            write_atomically(self._file, hold.to_bytes())

    def _kept(self) -> HeldBy | None:
        try:
            return HeldBy.read(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("hold_unreadable", path=str(self._file), error=str(error))
            return HeldBy(by="unknown (the file of the hold cannot be read)")
