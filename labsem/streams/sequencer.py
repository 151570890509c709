"""Which messages of a stream are taken, and in which order: the subscriber's logic, without sockets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal
from uuid import UUID

from pydantic import ValidationError

from schemas.envelope import Envelope, Heartbeat
from schemas.requests import Replay, ReplayAnswer, ReplayedMessage

_REMEMBERED = 4096
_PAGE = 500


@dataclass(frozen=True)
class Position:
    """How far a stream was read: the last sequence taken in an epoch."""

    epoch: UUID
    sequence: int


@dataclass(frozen=True)
class Gap:
    """Messages that cannot be had; ``after`` is the position from which reading goes on.

    ``pruned``: the journal no longer holds them. ``wrong_epoch``: the journal was emptied or restored.
    ``put_back``: the journal of the same epoch ends before the cursor, or holds other messages there.
    ``unreadable``: the journal answers a message without a valid envelope.
    """

    stream: str
    kind: Literal["pruned", "wrong_epoch", "put_back", "unreadable"]
    before: Position
    after: Position
    detail: str


@dataclass(frozen=True)
class Taken:
    """A message that comes next."""

    envelope: Envelope
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Unreadable:
    """A replayed message without a valid envelope."""

    message: ReplayedMessage
    reason: str


class Verdict(Enum):
    """What to do with a message that came by itself."""

    TAKE = "take"
    DROP = "drop"
    REPLAY = "replay"


class Sequencer:
    """Keeps one stream's position. The caller stores it first and then tells :meth:`moved`.

    Only a replay answer moves the position by anything but one: it is computed after it was asked for, while
    a message or heartbeat may have waited in a socket since before the last replay.
    """

    def __init__(self, stream: str, position: Position | None) -> None:
        self.stream = stream
        self.position = position
        self.behind = True
        self._event_ids: OrderedDict[int, UUID] = OrderedDict()
        self._compare_after: int | None = None

    def moved(self, position: Position, event_id: UUID | None = None) -> None:
        """The position was stored; with the id of the event that was taken."""
        if self.position is None or position.epoch != self.position.epoch:
            self._event_ids.clear()
        self.position = position
        if event_id is None:
            for sequence in [known for known in self._event_ids if known > position.sequence]:
                del self._event_ids[sequence]
        else:
            self._event_ids.pop(position.sequence, None)
            self._event_ids[position.sequence] = event_id
            while len(self._event_ids) > _REMEMBERED:
                self._event_ids.popitem(last=False)

    def offer(self, envelope: Envelope) -> Verdict:
        """Judge a message that came by itself."""
        position = self.position
        if position is None or envelope.epoch != position.epoch:
            self.behind = True
            return Verdict.REPLAY
        if envelope.sequence == position.sequence + 1:
            return Verdict.TAKE
        if envelope.sequence > position.sequence:
            self.behind = True
            return Verdict.REPLAY
        if self._is_other(envelope):
            self._compare()
            return Verdict.REPLAY
        return Verdict.DROP

    def heartbeat(self, beat: Heartbeat) -> bool:
        """Whether the journal has something to ask for (a replay then says what)."""
        if self.position is None or beat.epoch != self.position.epoch or beat.last != self.position.sequence:
            self.behind = True
        return self.behind

    def request(self, epoch: UUID) -> Replay:
        """The replay to ask for; ``epoch`` is used where there is no position yet."""
        position = self.position or Position(epoch, 0)
        after = position.sequence if self._compare_after is None else self._compare_after
        return Replay(stream=self.stream, epoch=position.epoch, after=after, limit=_PAGE)

    def answered(self, asked: Replay, answer: ReplayAnswer) -> Iterator[Gap | Taken | Unreadable]:
        """What a replay answer brings, in order; the caller stores each and calls :meth:`moved` before the next."""
        position = self.position or Position(asked.epoch, asked.after)
        fresh = self.position is None
        last = answer.last or 0
        if answer.outcome == "wrong_epoch":
            self._compare_after = None
            epoch = answer.epoch or asked.epoch
            if fresh:
                self.position = Position(epoch, 0)
            else:
                yield self._gap("wrong_epoch", position, Position(epoch, 0), "the journal was renewed")
            return
        if answer.outcome == "pruned":
            first = answer.first or 1
            if self._compare_after is not None:
                self._compare_after = first - 1 if first - 1 < position.sequence else None
            if first - 1 > position.sequence:
                after = Position(position.epoch, first - 1)
                if fresh:
                    self.position = after
                else:
                    yield self._gap("pruned", position, after, f"the journal begins at {first}")
            return
        self._compare_after = None
        if last < position.sequence:
            yield self._gap(
                "put_back", position, Position(position.epoch, last), f"the journal ends at {last}"
            )
            self._compare()
            return
        self.position = position
        yield from self._messages(asked, answer)
        self.behind = self.position.sequence < last

    def _messages(self, asked: Replay, answer: ReplayAnswer) -> Iterator[Gap | Taken | Unreadable]:
        for number, message in enumerate(answer.messages, start=asked.after + 1):
            position = self.position or Position(asked.epoch, asked.after)
            try:
                envelope = Envelope.read(message.envelope)
                wanted = (self.stream, asked.epoch, number)
                if (envelope.stream, envelope.epoch, envelope.sequence) != wanted:
                    raise ValueError(f"the envelope is not that of message {number}")
            except (ValidationError, ValueError) as error:
                if number > position.sequence:
                    yield Unreadable(message, str(error))
                    yield self._gap(
                        "unreadable",
                        position,
                        Position(asked.epoch, number),
                        f"message {number} has no envelope",
                    )
                continue
            if number <= position.sequence:
                if not self._is_other(envelope):
                    continue
                yield self._gap(
                    "put_back",
                    position,
                    Position(asked.epoch, number - 1),
                    f"the journal holds another message {number} than before",
                )
            yield Taken(envelope, message.topic, message.payload.encode())

    def _is_other(self, envelope: Envelope) -> bool:
        known = self._event_ids.get(envelope.sequence)
        return known is not None and known != envelope.event_id

    def _compare(self) -> None:
        """Have the next replay begin among the messages known, to find the first that is another now."""
        self.behind = True
        if self._event_ids and self.position is not None:
            self._compare_after = max(min(self._event_ids) - 1, self.position.sequence - _PAGE, 0)

    def _gap(
        self,
        kind: Literal["pruned", "wrong_epoch", "put_back", "unreadable"],
        before: Position,
        after: Position,
        detail: str,
    ) -> Gap:
        return Gap(stream=self.stream, kind=kind, before=before, after=after, detail=detail)
