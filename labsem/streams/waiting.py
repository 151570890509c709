"""Waiting until a sample is settled, across restarts of the daemon."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from labsem.streams.asking import RequestClient
from labsem.streams.cursors import SqliteCursors
from labsem.streams.errors import RequestRefusedError, ServiceUnavailableError, StreamError
from labsem.streams.follower import Follower
from schemas.base import Schema
from schemas.morphology import SampleMorphology, SampleState
from schemas.requests import ErrorCode, History, HistoryAnswer

_ASK_AGAIN_S = 2.0
_ASK_S = 1.0
_LOOK_S = 0.2


class WaitTimeoutError(StreamError, TimeoutError):
    """A sample that did not settle in time.

    Attributes
    ----------
    summary : SampleMorphology or None
        Its last known summary.
    """

    def __init__(self, sample_id: str, timeout_s: float, summary: SampleMorphology | None, why: str) -> None:
        self.summary = summary
        state = "nothing is known of it"
        if summary is not None:
            state = (
                f"it is {summary.state.value} with {summary.frames} frames analysed, "
                f"{summary.frames_pending} pending and {summary.acts_open} acts open"
            )
        super().__init__(
            f"sample {sample_id!r} did not settle within {timeout_s:g} s: {state}{why}; "
            "wait longer, or see what holds it with: labsem history " + sample_id
        )


def wait_until_settled(
    events: str,
    requests: str,
    sample_id: str,
    *,
    timeout_s: float,
    after_revision: int = 0,
    given_up: threading.Event | None = None,
) -> SampleMorphology:
    """Follow a sample's summaries, and ask for its state besides, until it is settled.

    Parameters
    ----------
    events, requests : str
        The daemon's two addresses on loopback.
    sample_id : str
        It need not be known yet.
    timeout_s : float
        Seconds.
    after_revision : int
        Take only a summary with a higher ``sample_revision``.
    given_up : threading.Event, optional
        Set by another thread to end the wait.

    Raises
    ------
    WaitTimeoutError
        Where it does not settle in time.
    RequestRefusedError
        Where the daemon refuses to tell.
    """
    given_up = given_up or threading.Event()
    client = RequestClient(requests, timeout_s=_ASK_S, attempts=1)
    deadline = time.monotonic() + timeout_s
    latest: SampleMorphology | None = None
    why = ""
    with (
        closing(SqliteCursors(":memory:")) as cursors,
        Follower(
            events,
            requests,
            cursors,
            name=f"wait-{sample_id}",
            kinds=(SampleMorphology,),
            samples=(sample_id,),
            start="now",
        ) as follower,
    ):
        ask_at = 0.0
        while (left_s := deadline - time.monotonic()) > 0 and not given_up.is_set():
            summary: Schema | None = None
            if time.monotonic() >= ask_at:
                try:
                    summary = client.ask(
                        History(sample_id=sample_id, limit=1), HistoryAnswer, timeout_s=min(_ASK_S, left_s)
                    ).sample
                    why = ""
                except ServiceUnavailableError as error:
                    why = f" ({error})"
                except RequestRefusedError as error:
                    if error.code not in (ErrorCode.NOT_FOUND, ErrorCode.BUSY):
                        raise
                    why = f" ({error.message})"
                ask_at = time.monotonic() + _ASK_AGAIN_S
            else:
                summary = follower.take(min(_LOOK_S, left_s))
            if not isinstance(summary, SampleMorphology):
                continue
            if latest is None or summary.sample_revision >= latest.sample_revision:
                latest = summary
            if latest.state is SampleState.SETTLED and latest.sample_revision > after_revision:
                return latest
    raise WaitTimeoutError(sample_id, timeout_s, latest, why)
