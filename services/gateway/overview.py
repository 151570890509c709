"""A picture of the holder that somebody asks for: taken between two frames."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from imagecodecs import png_encode

from drivers.base import Microscope, MicroscopeState
from drivers.errors import MicroscopeError
from drivers.targets import restore
from labsem.frames import write_atomically
from labsem.streams import RequestRefusedError
from schemas.base import Schema
from schemas.requests import ErrorCode, OverviewAnswer, TakeOverview

log = structlog.get_logger(__name__)

TIMEOUT_S = 300.0
"""Of each step: the sample leaves the column, and the chamber may be pumped again."""


class OverviewDesk:
    """Takes requests on the sockets' thread; the picture is taken on the gateway's, and the last one is kept.

    Parameters
    ----------
    microscope
        Asked for its capabilities only, until :meth:`take`.
    wake
        Called when a picture is wanted.
    """

    def __init__(self, microscope: Microscope, wake: Callable[[], None]) -> None:
        self._microscope, self._wake = microscope, wake
        self._lock = threading.Lock()
        self._wanted: UUID | None = None
        self._last: tuple[UUID, OverviewAnswer] | None = None

    def handlers(self) -> Mapping[type[Schema], Callable[[Any], Schema]]:
        """For :class:`labsem.streams.RequestServer`."""
        return {TakeOverview: self.ask}

    def ask(self, request: TakeOverview) -> OverviewAnswer:
        """The picture of this request, or that it is waited for.

        Raises
        ------
        RequestRefusedError
            Where the instrument has no navigation camera.
        """
        if not self._microscope.capabilities().navigation_camera:
            raise RequestRefusedError(
                ErrorCode.REFUSED,
                f"{self._microscope.name} has no navigation camera; look at the holder by hand",
            )
        with self._lock:
            if self._last is not None and self._last[0] == request.request_id:
                return self._last[1]
            self._wanted = request.request_id
        self._wake()
        return OverviewAnswer(state="waiting")

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for one."""
        return self._wanted is not None

    def take(self, restore_file: Path) -> MicroscopeError | None:
        """Take the picture that is wanted, bring the sample back and put everything back; the error that ended it."""
        microscope, failure, state = self._microscope, None, None
        try:
            microscope.activate(TIMEOUT_S)
            state = microscope.state()
            write_atomically(restore_file, json.dumps(asdict(state)).encode())
            picture = microscope.overview(TIMEOUT_S)
            self._bring_back(state, restore_file)
            answer = OverviewAnswer(state="taken", png_base64=base64.b64encode(png_encode(picture)).decode())
            log.info("overview_taken", height_px=picture.shape[0], width_px=picture.shape[1])
        except MicroscopeError as error:
            log.warning("overview_failed", error=str(error))
            answer, failure = OverviewAnswer(state="failed", problem=str(error)), error
            if state is not None:
                self._try_to_bring_back(state, restore_file)
        with self._lock:
            if self._wanted is not None:
                self._last, self._wanted = (self._wanted, answer), None
        return failure

    def _bring_back(self, state: MicroscopeState, restore_file: Path) -> None:
        self._microscope.activate(TIMEOUT_S)
        restore(self._microscope, state, TIMEOUT_S)
        restore_file.unlink(missing_ok=True)

    def _try_to_bring_back(self, state: MicroscopeState, restore_file: Path) -> None:
        """After a failure, once; where it fails too, the note of where the instrument stood is left for later."""
        try:
            self._bring_back(state, restore_file)
        except MicroscopeError as error:
            log.warning("sample_not_brought_back", error=str(error), left=str(restore_file))
