"""Schema ids and the models behind them."""

from __future__ import annotations

from schemas import requests
from schemas.acts import Act, ActChanged, InstrumentStatus
from schemas.base import Schema
from schemas.envelope import Envelope, Heartbeat
from schemas.image import ImageAcquired, PlainImage
from schemas.morphology import FrameMorphology, SampleMorphology

EVENTS: dict[str, type[Schema]] = {
    "labsem.image-acquired/1": ImageAcquired,
    "labsem.frame-morphology/1": FrameMorphology,
    "labsem.sample-morphology/1": SampleMorphology,
    "labsem.act-changed/1": ActChanged,
    "labsem.instrument-status/1": InstrumentStatus,
}
"""Payloads that travel behind an envelope."""

OTHERS: dict[str, type[Schema]] = {
    "labsem.envelope/1": Envelope,
    "labsem.heartbeat/1": Heartbeat,
    "labsem.plain-image/1": PlainImage,
    "labsem.act/1": Act,
    **{
        f"labsem.request-{model.model_fields['request'].default.replace('_', '-')}/1": model
        for model in (
            requests.Replay,
            requests.Ping,
            requests.Claim,
            requests.Report,
            requests.Held,
            requests.RequestRescan,
            requests.RequestAcquisition,
            requests.Approve,
            requests.Deny,
            requests.Cancel,
            requests.Samples,
            requests.History,
            requests.Frame,
            requests.ReadFrame,
            requests.Hold,
            requests.Release,
            requests.Stop,
            requests.SetHolder,
            requests.GetHolder,
            requests.TakeOverview,
        )
    },
    "labsem.answer/1": requests.Answer,
    "labsem.replay-answer/1": requests.ReplayAnswer,
    "labsem.pong/1": requests.Pong,
    "labsem.acts-answer/1": requests.ActsAnswer,
    "labsem.samples-answer/1": requests.SamplesAnswer,
    "labsem.history-answer/1": requests.HistoryAnswer,
    "labsem.frame-answer/1": requests.FrameAnswer,
    "labsem.read-frame-answer/1": requests.ReadFrameAnswer,
    "labsem.instrument-answer/1": requests.InstrumentAnswer,
    "labsem.holder-answer/1": requests.HolderAnswer,
    "labsem.overview-answer/1": requests.OverviewAnswer,
}
"""Everything else that crosses a boundary."""


class UnsupportedSchemaError(ValueError):
    """A message with a schema id that this version does not know."""


def event_model(schema_id: str) -> type[Schema]:
    """Model of an event's payload.

    Raises
    ------
    UnsupportedSchemaError
        Where the name or its major version is unknown; an upgrade of labsem may know it.
    """
    try:
        return EVENTS[schema_id]
    except KeyError:
        raise UnsupportedSchemaError(
            f"schema {schema_id!r} is not among {', '.join(sorted(EVENTS))}; upgrade labsem and retry the message"
        ) from None


def schema_id(payload: Schema) -> str:
    """Schema id of an event's payload.

    Raises
    ------
    KeyError
        Where the payload is no event.
    """
    return {model: name for name, model in EVENTS.items()}[type(payload)]


def event_name(payload: Schema) -> str:
    """The NAME of the topic: ``image-acquired`` for :class:`ImageAcquired`."""
    return schema_id(payload).removeprefix("labsem.").split("/")[0]
