"""What a planner asks of an instrument: rescans and acquisitions, and what becomes of those that were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal
from uuid import UUID, uuid4

from labsem.streams import RequestClient
from schemas import requests as requests_
from schemas.acts import Act, RescanParameters
from schemas.base import Schema
from schemas.plans import Plan


class Acting:
    """The part of :class:`labsem.client.Labsem` that changes something.

    Parameters
    ----------
    client
        Of the daemon's request socket.
    """

    def __init__(self, client: RequestClient) -> None:
        self._client = client

    def request_rescan(
        self,
        frame_id: UUID | str,
        parameters: RescanParameters | None = None,
        *,
        labels: Iterable[str] = (),
        request_id: UUID | None = None,
        requested_by: Literal["planner", "person"] = "planner",
    ) -> Act:
        """Ask for a rescan of a frame's place.

        Parameters
        ----------
        frame_id
            The frame whose place is meant.
        parameters
            What to change; what is None stays as that frame had it.
        labels
            Found again on every summary that follows.
        request_id
            The same id asked again gives the same act; by default a new one.
        requested_by
            Who wants it.

        Raises
        ------
        RequestRefusedError
            ``not_found``, ``conflict``, or ``refused`` with the reason.
        ServiceUnavailableError
            Where the daemon does not answer.
        """
        return self._act(
            requests_.RequestRescan(
                request_id=request_id or uuid4(),
                frame_id=uuid_of(frame_id),
                parameters=parameters or RescanParameters(),
                requested_by=requested_by,
                labels=tuple(labels),
            )
        )

    async def await_rescan(
        self,
        frame_id: UUID | str,
        parameters: RescanParameters | None = None,
        *,
        labels: Iterable[str] = (),
        request_id: UUID | None = None,
    ) -> Act:
        """As :meth:`request_rescan`, for asyncio."""
        return await asyncio.to_thread(
            self.request_rescan, frame_id, parameters, labels=labels, request_id=request_id
        )

    def request_acquisition(
        self,
        sample_id: str,
        instrument_id: str,
        plan: Plan,
        *,
        sample_name: str | None = None,
        labels: Iterable[str] = (),
        request_id: UUID | None = None,
        requested_by: Literal["planner", "person"] = "planner",
    ) -> Act:
        """Ask an instrument to take a plan's frames of a sample.

        Parameters
        ----------
        plan
            Places and field widths, and when to end early; :func:`schemas.plans.grid` makes places.
        labels, request_id, requested_by
            As of :meth:`request_rescan`.

        Raises
        ------
        RequestRefusedError
            ``refused`` with the reason: the instrument cannot act, or a place is out of its reach.
        ServiceUnavailableError
            Where the daemon does not answer.
        """
        return self._act(
            requests_.RequestAcquisition(
                request_id=request_id or uuid4(),
                sample_id=sample_id,
                sample_name=sample_name,
                instrument_id=instrument_id,
                plan=plan,
                requested_by=requested_by,
                labels=tuple(labels),
            )
        )

    def approve(self, act_id: UUID | str) -> Act:
        """Approve a requested act; raises as :meth:`request_rescan`."""
        return self._act(requests_.Approve(act_id=uuid_of(act_id)))

    def deny(self, act_id: UUID | str, reason: str = "") -> Act:
        """Deny a requested act; raises as :meth:`request_rescan`."""
        return self._act(requests_.Deny(act_id=uuid_of(act_id), reason=reason))

    def cancel(self, act_id: UUID | str, reason: str = "") -> Act:
        """Cancel a rescan that does not run yet, or an acquisition; raises as :meth:`request_rescan`."""
        return self._act(requests_.Cancel(act_id=uuid_of(act_id), reason=reason))

    def _act(self, request: Schema) -> Act:
        (act,) = self._client.ask(request, requests_.ActsAnswer).acts
        return act


def uuid_of(value: UUID | str) -> UUID:
    """The id itself, or read from its text."""
    return value if isinstance(value, UUID) else UUID(value)
