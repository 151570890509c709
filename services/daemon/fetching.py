"""Frames from gateways with which this host shares no folder: fetched in parts, checked, kept."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from labsem.frames import sha256_of_file, write_atomically
from labsem.streams import RequestClient, RequestRefusedError, ServiceUnavailableError
from schemas.image import ImageAcquired
from schemas.requests import FRAME_PART_BYTES, ErrorCode, ReadFrame, ReadFrameAnswer
from schemas.settings import Settings
from services.daemon.places import fetched_folder, frame_path, sources_of
from services.daemon.work import FrameProblem
from services.daemon.worker import RETRY

log = structlog.get_logger(__name__)

PART_TIMEOUT_S = 10.0
PART_ATTEMPTS = 3


class FetchError(Exception):
    """A frame's file was not had.

    Attributes
    ----------
    problem
        Why; passing where the gateway did not answer.
    """

    def __init__(self, problem: FrameProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class FrameFetcher:
    """Fetches files into :func:`services.daemon.places.fetched_folder`.

    The gateways asked are the sources that answer requests, that of the frame's own stream first.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fetch(self, event: ImageAcquired, stream: str, renew: Callable[[], None]) -> Path:
        """The folder under which the event's file now lies, whole and as its event says.

        Parameters
        ----------
        stream
            Of the event.
        renew
            Called before each part.

        Raises
        ------
        FetchError
            Where no gateway has it or answers, or what came is not the file that the event names.
        """
        folder = fetched_folder(self._settings, event.image_root)
        folder.mkdir(parents=True, exist_ok=True)
        path = frame_path(folder, event.path)
        named = f"{event.image_root}:{event.path}"
        if path is None:
            raise FetchError(
                FrameProblem("outside_root", f"{named} leads out of its image root", "correct the publisher")
            )
        if path.is_file() and sha256_of_file(path) == event.sha256:
            return folder
        limit = int(self._settings.reading.max_file_mib * 2**20)
        if event.size_bytes > limit:
            raise FetchError(
                FrameProblem(
                    "too_large",
                    f"{named} has {event.size_bytes} bytes, over the {limit} allowed",
                    f"raise reading.max_file_mib, then {RETRY}",
                )
            )
        data = self._read(event, named, stream, renew)
        if hashlib.sha256(data).hexdigest() != event.sha256:
            raise FetchError(
                FrameProblem(
                    "wrong_hash",
                    f"{named} came from its gateway with {len(data)} bytes that are not those its event names",
                    f"put the file back there as it was acquired, then {RETRY}",
                )
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        log.info("frame_fetched", path=event.path, image_root=event.image_root, bytes=len(data))
        return folder

    def _read(self, event: ImageAcquired, named: str, stream: str, renew: Callable[[], None]) -> bytes:
        sources = [source for source in sources_of(self._settings) if source.requests is not None]
        sources.sort(key=lambda source: source.name != stream)
        refusals: list[str] = []
        unanswered = False
        for source in sources:
            client = RequestClient(source.requests or "", timeout_s=PART_TIMEOUT_S, attempts=PART_ATTEMPTS)
            try:
                return _all_parts(client, event, renew)
            except ServiceUnavailableError as error:
                unanswered = True
                refusals.append(f"{source.name}: {error}")
            except RequestRefusedError as error:
                unanswered = unanswered or error.code is ErrorCode.BUSY
                refusals.append(f"{source.name}: {error.message}")
                if error.code is ErrorCode.REFUSED:
                    break
        raise FetchError(
            FrameProblem(
                "not_fetched",
                f"{named} has no folder on this host and was not had from a gateway ("
                + ("; ".join(refusals) or "no source answers requests")
                + ")",
                f"set image_roots.{event.image_root} in the settings or start its gateway, then {RETRY}",
                passing=unanswered,
            )
        )


def _all_parts(client: RequestClient, event: ImageAcquired, renew: Callable[[], None]) -> bytes:
    """The file's bytes; at most one part over the size that the event names."""
    data = bytearray()
    while True:
        renew()
        request = ReadFrame(
            image_root=event.image_root, path=event.path, offset=len(data), length=FRAME_PART_BYTES
        )
        answer = client.ask(request, ReadFrameAnswer)
        try:
            part = base64.b64decode(answer.data_base64, validate=True)
        except binascii.Error as error:
            raise RequestRefusedError(
                ErrorCode.MALFORMED, f"the part at {len(data)} is not base64: {error}"
            ) from None
        data += part
        if len(part) < FRAME_PART_BYTES or len(data) > event.size_bytes:
            return bytes(data)
