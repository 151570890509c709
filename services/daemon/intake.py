"""Intake: every source's messages go to the inbox, in the transaction that moves the source's cursor."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from pydantic import ValidationError
from sqlalchemy import event as sql_event
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from labsem.frames import ReadLimits, sha256_of_file
from labsem.store import Store, acquisitions, acts, inbox, instruments, rejected, samples
from labsem.streams import PlainSubscriber, Subscriber
from labsem.streams.server import complaints
from labsem.streams.stored import StoreCursors
from schemas.acts import InstrumentState, InstrumentStatus
from schemas.envelope import Envelope
from schemas.image import ImageAcquired, PlainImage
from schemas.settings import InstrumentSettings, Settings, SourceSettings
from services.daemon.errors import TRANSIENT
from services.daemon.places import frame_path, image_folder, modified_at, sources_of
from services.daemon.worker import RETRY

log = structlog.get_logger(__name__)

NOT_STORED = "not_stored"
MEND_PUBLISHER = "correct the publisher; the message is kept as it came"


class Intake:
    """Subscribers of all sources.

    Parameters
    ----------
    arrived : callable
        Called after each commit that brought a frame.
    committed : callable
        Called after each commit that may have journalled something.
    """

    def __init__(
        self, store: Store, settings: Settings, *, arrived: Callable[[], None], committed: Callable[[], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._arrived = arrived
        self._committed = committed
        self._subscribers: list[Subscriber[Session] | PlainSubscriber] = [
            self._plain(source) if source.plain else self._journalled(source)
            for source in sources_of(settings)
        ]

    def start(self) -> None:
        """Open all sockets.

        Raises
        ------
        EndpointError
            Where an address is refused or taken.
        """
        for subscriber in self._subscribers:
            subscriber.start()

    def stop(self) -> None:
        """Close all sockets."""
        for subscriber in self._subscribers:
            subscriber.stop()

    @property
    def failure(self) -> Exception | None:
        """What ended a subscriber, where one has ended."""
        return next((each.failure for each in self._subscribers if each.failure is not None), None)

    @property
    def endpoints(self) -> dict[str, str]:
        """Address of each plain source, ports resolved."""
        return {
            source.name: subscriber.endpoint
            for source, subscriber in zip(sources_of(self._settings), self._subscribers, strict=True)
            if isinstance(subscriber, PlainSubscriber)
        }

    def _journalled(self, source: SourceSettings) -> Subscriber[Session]:
        if source.requests is None:
            raise ValueError(f"source {source.name!r} needs its requests endpoint, or plain = true")

        def garbage(parts: list[bytes], reason: str) -> None:
            self._garbage(source.name, parts, reason)

        return Subscriber(
            source.name,
            source.events,
            source.requests,
            StoreCursors(self._store),
            self._take,
            on_garbage=garbage,
        )

    def _plain(self, source: SourceSettings) -> PlainSubscriber:
        def message(raw: bytes) -> None:
            self.take_plain(source.name, raw)

        def garbage(parts: list[bytes], reason: str) -> None:
            self._garbage(source.name, parts, reason)

        return PlainSubscriber(
            source.name,
            source.events,
            message,
            bind=source.bind,
            on_garbage=garbage,
            transient=TRANSIENT,
        )

    def _take(self, session: Session, envelope: Envelope, topic: str, payload: bytes) -> None:  # noqa: ARG002
        with structlog.contextvars.bound_contextvars(
            event_id=str(envelope.event_id), stream=envelope.stream, sequence=envelope.sequence
        ):
            try:
                with session.begin_nested():
                    self._store_event(session, envelope, payload)
            except StatementError as error:
                if isinstance(error, TRANSIENT):
                    raise
                # What this database cannot hold must not be asked for again and again.
                log.exception("event_not_stored")
                rejected.reject_message(
                    session,
                    source=envelope.stream,
                    raw=payload,
                    code=NOT_STORED,
                    message=_not_stored(error),
                    remedy=MEND_PUBLISHER,
                )

    def _store_event(self, session: Session, envelope: Envelope, payload: bytes) -> None:
        taken = inbox.take(session, envelope, payload)
        if taken.outcome == "rejected":
            log.warning("event_rejected", reason=taken.reason)
        if taken.outcome != "new":
            return
        if isinstance(taken.payload, ImageAcquired):
            self._frame_came(session, taken.payload)
        elif isinstance(taken.payload, InstrumentStatus):
            self._status_came(session, taken.payload)
            log.info(
                "instrument_status",
                instrument_id=taken.payload.instrument_id,
                state=taken.payload.state.value,
            )

    def _status_came(self, session: Session, status: InstrumentStatus) -> None:
        before = instruments.get(session, status.instrument_id)
        was_held = before is not None and before.state == InstrumentState.HELD.value
        instruments.update(session, status)
        if was_held and status.state is not InstrumentState.HELD:
            limits = self._settings.rescans
            acquisitions.prolong(
                session,
                status.instrument_id,
                running_for_s=limits.running_for_s,
                analysis_within_s=limits.analysis_within_s,
            )

    def _frame_came(self, session: Session, event: ImageAcquired) -> None:
        log.info("frame_came", frame_id=str(event.frame_id), sample_id=event.sample_id, path=event.path)
        own = self._settings.instrument
        if own.instrument_id != event.instrument_id:
            own = InstrumentSettings()
        instruments.ensure(
            session, event.instrument_id, scale_relative_uncertainty=own.scale_relative_uncertainty
        )
        samples.frame_came(
            session,
            event.sample_id,
            settle_after_s=self._settings.daemon.settle_after_s,
            sample_name=event.sample_name,
            labels=event.labels,
        )
        if event.act_id is not None:
            limits = self._settings.rescans
            acts.frame_arrived(
                session,
                event,
                analysis_within_s=limits.analysis_within_s,
                running_for_s=limits.running_for_s,
            )

        def told(_: Session) -> None:
            self._arrived()
            self._committed()

        sql_event.listen(session, "after_commit", told, once=True)

    def take_plain(self, source: str, raw: bytes) -> int | None:
        """Take a plain message; gives the id of the rejected item where it was not taken."""
        try:
            message = PlainImage.read(raw)
        except ValidationError as error:
            return self._reject(
                source, raw, "malformed", f"not a plain image event: {complaints(error)}", MEND_PUBLISHER
            )
        event = self._completed(source, raw, message)
        if not isinstance(event, ImageAcquired):
            code, reason, remedy = event
            return self._reject(source, raw, code, reason, remedy, message)
        try:
            with self._store.write() as session:
                taken = inbox.take_plain(session, source=source, raw=raw, event=event)
                if taken.outcome == "new":
                    self._frame_came(session, event)
        except StatementError as error:
            if isinstance(error, TRANSIENT):
                raise
            log.exception("event_not_stored", source=source)
            return self._reject(source, raw, NOT_STORED, _not_stored(error), MEND_PUBLISHER)
        return None

    def _completed(
        self, source: str, raw: bytes, message: PlainImage
    ) -> ImageAcquired | tuple[str, str, str]:
        """The event that a plain message stands for, or code, reason and remedy where its file does not fit."""
        named = f"{message.image_root}:{message.path}"
        folder = image_folder(self._settings, message.image_root)
        if folder is None:
            return (
                "unknown_root",
                f"image root {message.image_root!r} of {named} has no folder on this host",
                f"set image_roots.{message.image_root} in the settings, restart labsem serve, then {RETRY}",
            )
        path = frame_path(folder, message.path)
        if path is None:
            return (
                "outside_root",
                f"{named} leads out of its image root",
                "put the file itself under the image root",
            )
        try:
            size_bytes, acquired_at = path.stat().st_size, modified_at(path)
            limit = ReadLimits.from_settings(self._settings.reading).max_file_bytes
            if size_bytes > limit:
                return (
                    "too_large",
                    f"{named} has {size_bytes} bytes, over the {limit} allowed",
                    f"raise reading.max_file_mib, then {RETRY}",
                )
            sha256 = sha256_of_file(path)
        except OSError as error:
            return "missing", f"{named} cannot be read: {error}", f"put the file there, then {RETRY}"
        for code, told, found in (
            ("wrong_size", message.size_bytes, size_bytes),
            ("wrong_hash", message.sha256, sha256),
        ):
            if told is not None and told != found:
                return (
                    code,
                    f"{named} is {found}, its message says {told}",
                    f"copy the whole file, then {RETRY}",
                )
        return ImageAcquired(
            frame_id=inbox.plain_frame_id(source, raw, sha256),
            instrument_id=message.instrument_id or source,
            size_bytes=size_bytes,
            sha256=sha256,
            acquired_at=message.acquired_at or acquired_at,
            **message.model_dump(
                include={
                    "sample_id",
                    "sample_name",
                    "image_root",
                    "path",
                    "position_x_mm",
                    "position_y_mm",
                    "scan_rotation_deg",
                    "labels",
                }
            ),
            acquisition=message.acquisition,
        )

    def retry_plain(self) -> None:
        """Read again the plain messages that a person wants tried again."""
        with self._store.read() as session:
            waiting = rejected.plain_retries(session)
        for item in waiting:
            again = self.take_plain(item.source, item.raw)
            if again != item.rejected_id:
                with self._store.write() as session:
                    rejected.close_rejected(session, item.rejected_id)

    def _garbage(self, source: str, parts: list[bytes], reason: str) -> None:
        self._reject(source, b"\n".join(parts), "garbage", reason, MEND_PUBLISHER, retryable=False)

    def _reject(
        self,
        source: str,
        raw: bytes,
        code: str,
        reason: str,
        remedy: str,
        message: PlainImage | None = None,
        *,
        retryable: bool = True,
    ) -> int:
        log.warning("message_rejected", source=source, code=code, reason=reason)
        with self._store.write() as session:
            return rejected.reject_message(
                session,
                source=source,
                raw=raw,
                code=code,
                message=reason,
                remedy=remedy,
                sample_id=message.sample_id if message else None,
                image_root=message.image_root if message else None,
                path=message.path if message else None,
                plain=retryable,
            )


def _not_stored(error: StatementError) -> str:
    return f"the database refuses it: {str(error.orig).splitlines()[0]}"
