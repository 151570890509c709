"""Requests and their answers (one ROUTER socket on each side); all are idempotent.

On the wire a request is one JSON object whose ``request`` names it; the answer is ``{"ok": true, "result": …}``
or ``{"ok": false, "error": {"code": …, "message": …}}``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from schemas.acts import Act, InstrumentStatus, RescanParameters
from schemas.base import Label, SampleId, Schema, SourceId, UtcTime
from schemas.holder import Holder
from schemas.image import RelativePath
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState
from schemas.plans import Plan


class Replay(Schema):
    """Messages of ``stream`` in ``epoch`` with a sequence over ``after``; answered :class:`ReplayAnswer`."""

    request: Literal["replay"] = "replay"
    stream: SourceId
    epoch: UUID
    after: int = Field(ge=0)
    limit: int = Field(default=500, ge=1, le=5000)


class ReplayedMessage(Schema):
    """One journalled message: its topic, and envelope and payload as the JSON text that was sent."""

    topic: str
    envelope: str
    payload: str


class ReplayAnswer(Schema):
    """``messages``; or ``pruned`` with the first sequence kept; or ``wrong_epoch`` with the epoch in force."""

    outcome: Literal["messages", "pruned", "wrong_epoch"]
    messages: tuple[ReplayedMessage, ...] = ()
    first: int | None = None
    last: int | None = None
    epoch: UUID | None = None


class Ping(Schema):
    """Answered :class:`Pong`."""

    request: Literal["ping"] = "ping"


class Pong(Schema):
    """Version, the epochs of the streams served, and the clock, so that a skew can be seen."""

    version: str
    service: str
    epochs: dict[str, UUID]
    clock: UtcTime


class Claim(Schema):
    """Asks for the next approved act of an instrument; the same ``claim_id`` gets the same row again."""

    request: Literal["claim"] = "claim"
    instrument_id: SourceId
    claim_id: UUID


class Report(Schema):
    """Says that a running act has failed."""

    request: Literal["report"] = "report"
    act_id: UUID
    instrument_id: SourceId
    reason: str = Field(min_length=1, max_length=500)


class Held(Schema):
    """Asks which running acts the analysis side believes this instrument to hold."""

    request: Literal["held"] = "held"
    instrument_id: SourceId


class ActsAnswer(Schema):
    """Acts; of ``claim`` none or one."""

    acts: tuple[Act, ...] = ()


class RequestRescan(Schema):
    """A planner's or a person's own rescan of a frame's place."""

    request: Literal["request_rescan"] = "request_rescan"
    request_id: UUID = Field(description="made by the asker: the same id gives the same act")
    frame_id: UUID
    parameters: RescanParameters = RescanParameters()
    requested_by: Literal["planner", "person"] = "planner"
    labels: tuple[Label, ...] = Field(default=(), max_length=16)


class RequestAcquisition(Schema):
    """A planner's or a person's plan of frames of one sample."""

    request: Literal["request_acquisition"] = "request_acquisition"
    request_id: UUID = Field(description="made by the asker: the same id gives the same act")
    sample_id: SampleId
    sample_name: str | None = Field(default=None, max_length=200)
    instrument_id: SourceId
    plan: Plan
    requested_by: Literal["planner", "person"] = "planner"
    labels: tuple[Label, ...] = Field(default=(), max_length=16)


class Approve(Schema):
    """Moves a requested act to approved."""

    request: Literal["approve"] = "approve"
    act_id: UUID


class Deny(Schema):
    """Moves a requested act to denied."""

    request: Literal["deny"] = "deny"
    act_id: UUID
    reason: str = Field(default="", max_length=500)


class Cancel(Schema):
    """Moves an act to cancelled: a rescan that is not yet running, or an acquisition before its last frame."""

    request: Literal["cancel"] = "cancel"
    act_id: UUID
    reason: str = Field(default="", max_length=500)


class Samples(Schema):
    """A page of samples, newest first; answered :class:`SamplesAnswer`."""

    request: Literal["samples"] = "samples"
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class SampleRow(Schema):
    """One line of the list of samples."""

    sample_id: SampleId
    sample_name: str | None
    state: SampleState
    sample_revision: int
    frames: int
    frames_pending: int
    acts_open: int
    first_frame_at: UtcTime | None
    last_frame_at: UtcTime | None


class SamplesAnswer(Schema):
    """A page, and how many there are."""

    samples: tuple[SampleRow, ...]
    total: int


class History(Schema):
    """A sample's morphology history; answered :class:`HistoryAnswer`."""

    request: Literal["history"] = "history"
    sample_id: SampleId
    limit: int = Field(default=200, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


class HistoryFrame(Schema):
    """A frame of a sample with its current analysis."""

    morphology: FrameMorphology
    superseded_by: UUID | None = None


class HistoryAnswer(Schema):
    """The sample's latest summary, its frames in order of acquisition, its acts, and what was rejected."""

    sample: SampleMorphology
    frames: tuple[HistoryFrame, ...]
    frames_total: int
    acts: tuple[Act, ...]
    rejected: int = 0


class Frame(Schema):
    """One frame's summary; answered :class:`FrameAnswer`."""

    request: Literal["frame"] = "frame"
    frame_id: UUID


class FrameAnswer(Schema):
    """The current analysis of the frame, with where its file lies."""

    morphology: FrameMorphology
    image_root: str
    path: str
    sha256: str
    superseded_by: UUID | None = None


FRAME_PART_BYTES = 2**20
"""Most bytes of a frame's file in one answer."""


class ReadFrame(Schema):
    """A part of a frame's file, asked of the gateway that has it; answered :class:`ReadFrameAnswer`."""

    request: Literal["read_frame"] = "read_frame"
    image_root: SourceId
    path: RelativePath
    offset: int = Field(ge=0)
    length: int = Field(default=FRAME_PART_BYTES, ge=1, le=FRAME_PART_BYTES)


class ReadFrameAnswer(Schema):
    """Bytes of the file from the offset, fewer than were asked for only at its end; and the size of it all."""

    data_base64: str
    size_bytes: int = Field(ge=0)


class Hold(Schema):
    """A person takes the instrument; asked of its gateway, answered :class:`InstrumentAnswer`."""

    request: Literal["hold"] = "hold"
    by: str = Field(min_length=1, max_length=100)
    for_s: float | None = Field(default=None, gt=0, description="then it is given back by itself")


class Release(Schema):
    """A person gives the instrument back."""

    request: Literal["release"] = "release"
    by: str = Field(min_length=1, max_length=100)


class Stop(Schema):
    """Cancels the scan, blanks the beam, and holds the instrument."""

    request: Literal["stop"] = "stop"
    by: str = Field(min_length=1, max_length=100)


class SetHolder(Schema):
    """Tells a gateway which sample lies where; answered :class:`HolderAnswer`."""

    request: Literal["set_holder"] = "set_holder"
    holder: Holder


class GetHolder(Schema):
    """Asks a gateway for its holder's map."""

    request: Literal["holder"] = "holder"


class HolderAnswer(Schema):
    """The map after the request."""

    holder: Holder


class TakeOverview(Schema):
    """A picture of the holder by the navigation camera, asked of the gateway; answered :class:`OverviewAnswer`.

    It is taken between two frames, and asked for again under its id until it is there.
    """

    request: Literal["take_overview"] = "take_overview"
    request_id: UUID


class OverviewAnswer(Schema):
    """The picture, or how far it is."""

    state: Literal["waiting", "taken", "failed"]
    problem: str | None = Field(default=None, description="why it failed")
    png_base64: str | None = Field(default=None, description="of the picture once it is taken")


class InstrumentAnswer(Schema):
    """The instrument's status after the request."""

    status: InstrumentStatus


Request = Annotated[
    Replay
    | Ping
    | Claim
    | Report
    | Held
    | RequestRescan
    | RequestAcquisition
    | Approve
    | Deny
    | Cancel
    | Samples
    | History
    | Frame
    | ReadFrame
    | Hold
    | Release
    | Stop
    | SetHolder
    | GetHolder
    | TakeOverview,
    Field(discriminator="request"),
]
REQUEST: TypeAdapter[
    Replay
    | Ping
    | Claim
    | Report
    | Held
    | RequestRescan
    | RequestAcquisition
    | Approve
    | Deny
    | Cancel
    | Samples
    | History
    | Frame
    | ReadFrame
    | Hold
    | Release
    | Stop
    | SetHolder
    | GetHolder
    | TakeOverview
] = TypeAdapter(Request)


class ErrorCode(StrEnum):
    """Why a request was not done."""

    MALFORMED = "malformed"
    UNKNOWN_REQUEST = "unknown_request"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    REFUSED = "refused"
    BUSY = "busy"
    INTERNAL = "internal"


class RequestError(Schema):
    """A refusal; ``message`` says what to do."""

    code: ErrorCode
    message: str


class Answer(Schema):
    """The frame around every answer."""

    ok: bool
    result: dict[str, Any] | None = None
    error: RequestError | None = None
