"""The acts of the analysis side, as a gateway asks for them, and what an act has the microscope do."""

from __future__ import annotations

import time
from collections import deque
from uuid import UUID, uuid4

import structlog

from drivers.base import MicroscopeState
from drivers.targets import Target
from labsem.streams import RequestClient, RequestRefusedError, ServiceUnavailableError, StreamError
from schemas.acts import Act, ActKind, RescanParameters
from schemas.base import Schema
from schemas.image import Acquisition, ImageAcquired
from schemas.plans import Place
from schemas.requests import ActsAnswer, Claim, ErrorCode, Held, Report
from services.gateway.holder import HolderShelf

log = structlog.get_logger(__name__)

ASK_TIMEOUT_S = 2.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 10.0
NO_MOVE_MM = 5e-4
"""A stage nearer than this to a place is left where it is."""

SAME_VOLTAGE_KV = 0.05


class ActsClient:
    """Claims and reports; where nobody answers it asks again later, and never waits long.

    A claim whose answer was lost is asked again under its id, and a report until it is answered.
    """

    def __init__(self, endpoint: str, instrument_id: str) -> None:
        self._client = RequestClient(endpoint, timeout_s=ASK_TIMEOUT_S, attempts=1)
        self._instrument_id = instrument_id
        self._claim_id = uuid4()
        self._reports: deque[Report] = deque()
        self._pause_s = PAUSE_MIN_S
        self._ask_at_s = 0.0

    def held(self) -> tuple[Act, ...] | None:
        """Acts that the analysis side takes for running here; None where it does not answer."""
        answer = self._ask(Held(instrument_id=self._instrument_id))
        return None if answer is None else answer.acts

    def claim(self) -> Act | None:
        """The next act, which is now running; None where there is none or nobody answers."""
        self._send_reports()
        answer = self._ask(Claim(instrument_id=self._instrument_id, claim_id=self._claim_id))
        if answer is None:
            return None
        self._claim_id = uuid4()
        return answer.acts[0] if answer.acts else None

    def report(self, act_id: UUID, reason: str) -> None:
        """Say that an act has failed."""
        log.warning("act_failed", act_id=str(act_id), reason=reason)
        self._reports.append(Report(act_id=act_id, instrument_id=self._instrument_id, reason=reason[:500]))
        self._send_reports()

    @property
    def due_in_s(self) -> float:
        """Time until it is worth asking again."""
        return max(self._ask_at_s - time.monotonic(), 0.0)

    def _send_reports(self) -> None:
        while self._reports and self._ask(self._reports[0]) is not None:
            self._reports.popleft()

    def _ask(self, request: Schema) -> ActsAnswer | None:
        if self.due_in_s > 0:
            return None
        try:
            answer = self._client.ask(request, ActsAnswer)
        except ServiceUnavailableError as error:
            self._later(error)
            return None
        except RequestRefusedError as error:
            if error.code in (ErrorCode.BUSY, ErrorCode.INTERNAL):
                self._later(error)
                return None
            # The row has moved on (expired, cancelled): an answer like any other.
            log.warning("request_refused", request=type(request).__name__, error=str(error))
            answer = ActsAnswer()
        self._pause_s = PAUSE_MIN_S
        return answer

    def _later(self, error: StreamError) -> None:
        self._ask_at_s = time.monotonic() + self._pause_s
        log.info("not_answered", error=str(error), again_in_s=self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)


class UnclearActError(ValueError):
    """An act from which no target follows; the message says what is missing."""


def target_of(
    act: Act, before: ImageAcquired | None, state: MicroscopeState, holder: HolderShelf | None = None
) -> Target:
    """What a rescan has the microscope do.

    What the act leaves open is as the frame before had it, and what that did not record as it stands. A
    place where the stage already is needs no move. Another place is kept on its sample's slot.

    Raises
    ------
    UnclearActError
        Where the act is no rescan, neither it nor the frame before names a place, or the place is off the slot.
    """
    if act.kind is not ActKind.RESCAN:
        raise UnclearActError(
            f"this gateway does rescans, not an {act.kind.value}; upgrade labsem on its host"
        )
    x_mm, y_mm = act.parameters.position_x_mm, act.parameters.position_y_mm
    if before is not None:
        x_mm = before.position_x_mm if x_mm is None else x_mm
        y_mm = before.position_y_mm if y_mm is None else y_mm
    if x_mm is None or y_mm is None:
        raise UnclearActError(
            f"neither the act nor the frame before it ({act.frame_before}) names a place; ask for one with its place"
        )
    if holder is not None:
        try:
            place = holder.kept(act.sample_id, Place(x_mm=x_mm, y_mm=y_mm), _place_of(before))
        except ValueError as error:
            raise UnclearActError(str(error)) from error
        x_mm, y_mm = place.x_mm, place.y_mm
    was = before.acquisition if before is not None else Acquisition()
    return target_at(x_mm, y_mm, act.parameters, was, state)


def target_at(
    x_mm: float, y_mm: float, wanted: RescanParameters, was: Acquisition, state: MicroscopeState
) -> Target:
    """What parameters mean at a place, after a frame that was taken so, for an instrument that stands so."""
    there = abs(x_mm - state.x_mm) < NO_MOVE_MM and abs(y_mm - state.y_mm) < NO_MOVE_MM
    return Target(
        x_mm=None if there else x_mm,
        y_mm=None if there else y_mm,
        hfw_um=wanted.hfw_um or was.hfw_um,
        detector=wanted.detector or was.detector,
        dwell_time_ns=wanted.dwell_time_ns or was.dwell_time_ns,
        frame_averages=wanted.frame_averages or was.frame_averages,
        voltage_kv=wanted.accelerating_voltage_kv or _other_voltage_kv(was, state),
        charge_reduction=wanted.charge_reduction,
        working_distance_mm=None if wanted.autofocus else was.working_distance_mm,
        autofocus=wanted.autofocus,
        autostigmation=wanted.autostigmation,
    )


def _place_of(frame: ImageAcquired | None) -> Place | None:
    if frame is None or frame.position_x_mm is None or frame.position_y_mm is None:
        return None
    return Place(x_mm=frame.position_x_mm, y_mm=frame.position_y_mm)


def _other_voltage_kv(was: Acquisition, state: MicroscopeState) -> float | None:
    """The voltage of the frame before, where the instrument stands at another."""
    before_kv = was.accelerating_voltage_kv
    if before_kv is None or abs(before_kv - state.voltage_kv) < SAME_VOLTAGE_KV:
        return None
    return before_kv
