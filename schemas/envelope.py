"""The wire: ``[topic, envelope JSON, payload JSON]``, and the heartbeat."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from schemas.base import Schema, SourceId, UtcTime

SchemaId = Annotated[str, StringConstraints(pattern=r"^labsem\.[a-z0-9-]+/[0-9]+$")]
"""``labsem.NAME/MAJOR``."""


class Envelope(Schema):
    """Goes before each payload; numbers it within its stream's epoch.

    In JSON the schema id is the field ``schema``; in Python ``schema_id``, since a pydantic field named
    ``schema`` would shadow its base class.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_id: SchemaId = Field(alias="schema")
    stream: SourceId
    epoch: UUID
    sequence: int = Field(ge=1)
    event_id: UUID
    sent_at: UtcTime


class Heartbeat(Schema):
    """Sent each second: the first and last sequence that the journal holds (both 0 where it is empty)."""

    stream: SourceId
    epoch: UUID
    first: int = Field(ge=0)
    last: int = Field(ge=0)


HEARTBEAT_TOPIC = "heartbeat/"


def topic(name: str, sample_id: str | None) -> str:
    """``NAME/SAMPLE/``, so that a subscription to one sample never takes another's whose name begins alike."""
    return f"{name}/{sample_id or ''}/"
