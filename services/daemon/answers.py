"""What the daemon answers on its request socket, beside replay and ping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy.orm import Session

from labsem.store import Store, acquisitions, acts, asking, queries
from schemas import requests
from schemas.acts import Act
from schemas.base import Schema
from schemas.settings import Settings
from services.daemon import deciding

log = structlog.get_logger(__name__)


class Answers:
    """Handlers by request; each is one transaction, and a repeat changes nothing.

    Parameters
    ----------
    committed : callable
        Called after each transaction that may have journalled something.
    """

    def __init__(self, store: Store, settings: Settings, committed: Callable[[], None]) -> None:
        self._store = store
        self._settings = settings
        self._committed = committed

    def handlers(self) -> Mapping[type[Schema], Callable[[Any], Schema]]:
        """For :class:`labsem.streams.RequestServer`."""
        return {
            requests.Claim: self._claim,
            requests.Report: self._report,
            requests.Held: self._held,
            requests.RequestRescan: self._request_rescan,
            requests.RequestAcquisition: self._request_acquisition,
            requests.Approve: self._approve,
            requests.Deny: self._deny,
            requests.Cancel: self._cancel,
            requests.Samples: self._samples,
            requests.History: self._history,
            requests.Frame: self._frame,
        }

    def _change(self, request: Schema, change: Callable[[Session], Act | None]) -> requests.ActsAnswer:
        with self._store.write() as session:
            act = change(session)
        self._committed()
        if act is None:
            return requests.ActsAnswer()
        log.info(
            "act_answered", request=type(request).__name__, act_id=str(act.act_id), state=act.state.value
        )
        return requests.ActsAnswer(acts=(act,))

    def _claim(self, request: requests.Claim) -> requests.ActsAnswer:
        running_for_s = self._settings.rescans.running_for_s
        return self._change(
            request,
            lambda session: acts.claim(
                session, request.instrument_id, request.claim_id, running_for_s=running_for_s
            ),
        )

    def _report(self, request: requests.Report) -> requests.ActsAnswer:
        return self._change(request, lambda session: deciding.take_report(session, request, self._settings))

    def _held(self, request: requests.Held) -> requests.ActsAnswer:
        with self._store.read() as session:
            return requests.ActsAnswer(acts=acts.held(session, request.instrument_id))

    def _request_rescan(self, request: requests.RequestRescan) -> requests.ActsAnswer:
        settings = self._settings
        return self._change(
            request,
            lambda session: asking.request_rescan(
                session, request, stream=settings.daemon.stream, settings=settings.rescans
            ),
        )

    def _request_acquisition(self, request: requests.RequestAcquisition) -> requests.ActsAnswer:
        settings = self._settings
        return self._change(
            request,
            lambda session: acquisitions.request_acquisition(
                session, request, stream=settings.daemon.stream, settings=settings.rescans
            ),
        )

    def _approve(self, request: requests.Approve) -> requests.ActsAnswer:
        return self._change(request, lambda session: acts.approve(session, request.act_id))

    def _deny(self, request: requests.Deny) -> requests.ActsAnswer:
        return self._change(request, lambda session: acts.deny(session, request.act_id, request.reason))

    def _cancel(self, request: requests.Cancel) -> requests.ActsAnswer:
        return self._change(request, lambda session: acts.cancel(session, request.act_id, request.reason))

    def _samples(self, request: requests.Samples) -> requests.SamplesAnswer:
        with self._store.read() as session:
            return queries.samples(session, request.limit, request.offset)

    def _history(self, request: requests.History) -> requests.HistoryAnswer:
        with self._store.read() as session:
            return queries.history(session, request.sample_id, request.limit, request.offset)

    def _frame(self, request: requests.Frame) -> requests.FrameAnswer:
        with self._store.read() as session:
            return queries.frame(session, request.frame_id)
