"""What planners and notebooks import: ``from labsem.client import Labsem``.

It needs neither torch nor a database, only the addresses of the analysis daemon::

    with Labsem(cursor_file="planner.sqlite") as lab:
        for summary in lab.follow(kinds=[SampleMorphology]):
            ...

Every method blocks; those named ``await_…`` and :meth:`Labsem.afollow` are for asyncio and run on any event
loop, Windows' default one too, since sockets live in threads of their own; for the rest there is
``await asyncio.to_thread(lab.approve, act_id)``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

import structlog

from labsem.acting import Acting, uuid_of
from labsem.streams import (
    CursorFileError,
    EndpointError,
    RequestClient,
    RequestRefusedError,
    ServiceUnavailableError,
    SqliteCursors,
    StreamError,
)
from labsem.streams.clock import SKEW_LIMIT_S, clock_skew_s
from labsem.streams.follower import Follower
from labsem.streams.waiting import WaitTimeoutError, wait_until_settled
from schemas import requests as requests_
from schemas.acts import Act, ActKind
from schemas.base import Schema, utc_now
from schemas.morphology import FrameMorphology, SampleMorphology
from schemas.plans import Plan
from schemas.requests import FrameAnswer, HistoryAnswer, SamplesAnswer

__all__ = [
    "CursorFileError",
    "EndpointError",
    "Follower",
    "Labsem",
    "RequestRefusedError",
    "ServiceStatus",
    "ServiceUnavailableError",
    "StreamError",
    "WaitTimeoutError",
]

log = structlog.get_logger(__name__)

SUMMARIES: tuple[type[Schema], ...] = (FrameMorphology, SampleMorphology)

_LOOK_S = 0.2


@dataclass(frozen=True)
class ServiceStatus:
    """Who answered, and how far its clock is ahead of ours, in seconds (negative: behind)."""

    service: str
    version: str
    epochs: dict[str, UUID]
    clock_skew_s: float


class Labsem(Acting):
    """The analysis daemon, seen from a planner.

    Constructing it connects nothing.

    Parameters
    ----------
    events, requests : str
        The daemon's two addresses on loopback; join hosts by an SSH tunnel.
    cursor_file : path, optional
        A SQLite file that keeps how far :meth:`follow` came, so that the next run resumes there; without it
        positions are kept until :meth:`close`.
    timeout_s, attempts
        How long a request waits for its answer, in seconds, and how often it is sent.

    Raises
    ------
    EndpointError
        Where an address is not loopback.
    """

    def __init__(
        self,
        events: str = "tcp://127.0.0.1:5610",
        requests: str = "tcp://127.0.0.1:5611",
        *,
        cursor_file: Path | str | None = None,
        timeout_s: float = 5.0,
        attempts: int = 3,
    ) -> None:
        self.events = events
        self.requests = requests
        super().__init__(RequestClient(requests, timeout_s=timeout_s, attempts=attempts))
        self._cursors = SqliteCursors(":memory:" if cursor_file is None else cursor_file)
        self._followers: list[Follower] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all followers and close the cursor file."""
        for follower in self._followers:
            follower.close()
        self._followers.clear()
        self._cursors.close()

    def follow(
        self,
        samples: Iterable[str] | None = None,
        kinds: Iterable[type[Schema]] = SUMMARIES,
        *,
        start: Literal["first", "now"] = "first",
        timeout_s: float | None = None,
        name: str = "follow",
    ) -> Follower:
        """Follow what the daemon publishes, from this call on, resuming where the cursor stands.

        Each payload is given at least once: the cursor moves past it when the next is asked for. A summary of a
        sample with a lower revision than one given before is left out.

        Parameters
        ----------
        samples
            Ids of the samples; None: all.
        kinds
            Models of :data:`schemas.registry.EVENTS`; by default the summaries of frames and samples.
        start
            Without a cursor: ``first`` begins with what the daemon's journal holds, ``now`` with what comes.
        timeout_s
            The iteration ends when nothing came for so many seconds; None: never.
        name
            Of the cursor: two followers at once need names of their own.

        Raises
        ------
        StreamError
            Where a follower of this name is still open.
        """
        self._followers = [follower for follower in self._followers if not follower.closed]
        if any(follower.name == name for follower in self._followers):
            raise StreamError(f"a follower named {name!r} is open; close it or give this one another name")
        follower = Follower(
            self.events,
            self.requests,
            self._cursors,
            name=name,
            kinds=tuple(kinds),
            samples=None if samples is None else tuple(samples),
            start=start,
            timeout_s=timeout_s,
        )
        self._followers.append(follower)
        return follower

    def afollow(
        self,
        samples: Iterable[str] | None = None,
        kinds: Iterable[type[Schema]] = SUMMARIES,
        *,
        start: Literal["first", "now"] = "first",
        timeout_s: float | None = None,
        name: str = "follow",
    ) -> AsyncGenerator[Schema, None]:
        """As :meth:`follow`, for ``async for``; leaving the loop by ``aclose`` closes the follower."""
        return _asynchronous(self.follow(samples, kinds, start=start, name=name), timeout_s)

    def wait(self, sample_id: str, timeout_s: float, *, after_revision: int = 0) -> SampleMorphology:
        """Wait until a sample is settled: none of its frames waits, none of its acts is open, no more is expected.

        A daemon that is away, or restarts, is waited for too.

        Parameters
        ----------
        sample_id
            It need not be known yet.
        timeout_s
            Seconds.
        after_revision
            Take only a summary with a higher ``sample_revision``: of a sample that was settled before, say.

        Raises
        ------
        WaitTimeoutError
            Where it does not settle in time; carries the last summary.
        RequestRefusedError
            Where the daemon refuses to tell.
        """
        return wait_until_settled(
            self.events, self.requests, sample_id, timeout_s=timeout_s, after_revision=after_revision
        )

    async def await_sample(
        self, sample_id: str, timeout_s: float, *, after_revision: int = 0
    ) -> SampleMorphology:
        """As :meth:`wait`, for asyncio; it may be cancelled."""
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(
                wait_until_settled,
                self.events,
                self.requests,
                sample_id,
                timeout_s=timeout_s,
                after_revision=after_revision,
                given_up=given_up,
            )
        finally:
            given_up.set()

    def history(self, sample_id: str, limit: int = 200, offset: int = 0) -> HistoryAnswer:
        """A sample's latest summary, a page of its frames in order of acquisition, and its acts.

        Raises
        ------
        RequestRefusedError
            ``not_found``: no frame of it came yet.
        ServiceUnavailableError
            Where the daemon does not answer.
        """
        request = requests_.History(sample_id=sample_id, limit=limit, offset=offset)
        return self._client.ask(request, HistoryAnswer)

    async def await_history(self, sample_id: str, limit: int = 200, offset: int = 0) -> HistoryAnswer:
        """As :meth:`history`, for asyncio."""
        return await asyncio.to_thread(self.history, sample_id, limit, offset)

    def samples(self, limit: int = 100, offset: int = 0) -> SamplesAnswer:
        """A page of samples, the newest first."""
        return self._client.ask(requests_.Samples(limit=limit, offset=offset), SamplesAnswer)

    def frame(self, frame_id: UUID | str) -> FrameAnswer:
        """One frame's current analysis and where its file lies; raises as :meth:`history`."""
        return self._client.ask(requests_.Frame(frame_id=uuid_of(frame_id)), FrameAnswer)

    def rescans(self, sample_id: str) -> tuple[Act, ...]:
        """A sample's rescans with their outcomes; raises as :meth:`history`."""
        return tuple(act for act in self.history(sample_id, limit=1).acts if act.kind is ActKind.RESCAN)

    def measure(
        self,
        sample_id: str,
        instrument_id: str,
        plan: Plan,
        *,
        labels: Iterable[str] = (),
        timeout_s: float = 3600.0,
        request_id: UUID | None = None,
    ) -> SampleMorphology:
        """Have a sample measured and wait until it is known: all frames analysed, all its acts ended.

        Gateway and daemon may restart meanwhile.

        Returns
        -------
        SampleMorphology
            Settled. Whether the plan was done to its end, its acts tell (:meth:`history`).

        Raises
        ------
        WaitTimeoutError
            Where it does not settle in time; it goes on being measured.
        RequestRefusedError, ServiceUnavailableError
            As :meth:`request_acquisition`.
        """
        self.request_acquisition(sample_id, instrument_id, plan, labels=labels, request_id=request_id)
        return self.wait(sample_id, timeout_s)

    async def await_measurement(
        self,
        sample_id: str,
        instrument_id: str,
        plan: Plan,
        *,
        labels: Iterable[str] = (),
        timeout_s: float = 3600.0,
        request_id: UUID | None = None,
    ) -> SampleMorphology:
        """As :meth:`measure`, for asyncio; it may be cancelled, which does not cancel the acquisition."""
        await asyncio.to_thread(
            self.request_acquisition,
            sample_id,
            instrument_id,
            plan,
            labels=labels,
            request_id=request_id,
        )
        return await self.await_sample(sample_id, timeout_s)

    def ping(self) -> ServiceStatus:
        """Ask who is there; a clock that differs by more than 2 s is logged as a warning.

        Raises
        ------
        ServiceUnavailableError
            Where the daemon does not answer.
        """
        began = utc_now()
        pong = self._client.ask(requests_.Ping(), requests_.Pong)
        skew_s = clock_skew_s(began, pong.clock, utc_now())
        if abs(skew_s) > SKEW_LIMIT_S:
            log.warning("clocks differ", service=pong.service, clock_skew_s=round(skew_s, 3))
        return ServiceStatus(pong.service, pong.version, pong.epochs, skew_s)


async def _asynchronous(follower: Follower, timeout_s: float | None) -> AsyncGenerator[Schema, None]:
    last = time.monotonic()
    try:
        while timeout_s is None or time.monotonic() - last < timeout_s:
            # In slices, so that a cancelled task leaves no thread waiting.
            payload = await asyncio.to_thread(follower.take, _LOOK_S)
            if payload is not None:
                yield payload
                last = time.monotonic()
    finally:
        await asyncio.to_thread(follower.close)
