"""The subscriber's logic against a network that drops, repeats and exchanges messages."""

from __future__ import annotations

from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from labsem.streams import Gap, Position
from labsem.streams.journal import Bounds, Entry
from labsem.streams.sequencer import Sequencer, Taken, Unreadable, Verdict
from labsem.streams.server import replay
from schemas.base import utc_now
from schemas.envelope import Envelope, Heartbeat
from schemas.requests import ReplayAnswer

STREAM = "s"


class Memory:
    """A journal in memory."""

    stream = STREAM
    transient: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.epoch, self.last, self.entries = uuid4(), 0, {}

    def append(self) -> Envelope:
        self.last += 1
        envelope = Envelope(
            schema_id="labsem.image-acquired/1",
            stream=STREAM,
            epoch=self.epoch,
            sequence=self.last,
            event_id=uuid4(),
            sent_at=utc_now(),
        )
        self.entries[self.last] = envelope
        return envelope

    def prune(self, through: int) -> None:
        self.entries = {number: entry for number, entry in self.entries.items() if number > through}

    def put_back(self, last: int) -> None:
        self.entries = {number: entry for number, entry in self.entries.items() if number <= last}
        self.last = last

    def bounds(self) -> Bounds:
        first = min(self.entries, default=self.last + 1 if self.last else 0)
        return Bounds(self.epoch, first, self.last)

    def read(self, after: int, limit: int) -> list[Entry]:
        numbers = sorted(number for number in self.entries if number > after)[:limit]
        return [Entry(number, "t", self.entries[number].to_bytes().decode(), "{}") for number in numbers]

    def heartbeat(self) -> Heartbeat:
        bounds = self.bounds()
        return Heartbeat(stream=STREAM, epoch=bounds.epoch, first=bounds.first, last=bounds.last)


class Listener:
    """What a subscriber does with a sequencer, less the sockets and the database."""

    def __init__(self) -> None:
        self.sequencer = Sequencer(STREAM, None)
        self.taken: list[Envelope] = []
        self.gaps: list[Gap] = []
        self.steps: list[tuple[Position, Position]] = []
        self.unreadable = 0

    def store(self, envelope: Envelope) -> None:
        self.taken.append(envelope)
        position = Position(envelope.epoch, envelope.sequence)
        self.steps.append((Position(envelope.epoch, envelope.sequence - 1), position))
        self.sequencer.moved(position, envelope.event_id)

    def hear(self, envelope: Envelope) -> None:
        if self.sequencer.offer(envelope) is Verdict.TAKE:
            self.store(envelope)

    def ask(self, journal: Memory, epoch: UUID, fail_after: int | None = None) -> None:
        request = self.sequencer.request(epoch)
        for count, item in enumerate(self.sequencer.answered(request, replay(journal, request))):
            if count == fail_after:
                return  # the handler failed: nothing was stored, the position stands
            if isinstance(item, Taken):
                self.store(item.envelope)
            elif isinstance(item, Unreadable):
                self.unreadable += 1
            else:
                self.gaps.append(item)
                self.steps.append((item.before, item.after))
                self.sequencer.moved(item.after)

    def restart(self) -> None:
        """Only the position outlives a process."""
        self.sequencer = Sequencer(STREAM, self.sequencer.position if self.taken or self.gaps else None)

    def catch_up(self, journal: Memory) -> None:
        self.sequencer.heartbeat(journal.heartbeat())
        for _ in range(50):
            if not self.sequencer.behind:
                return
            self.ask(journal, journal.epoch)
        raise AssertionError("does not come to an end")


class DroppedRepeatedExchanged(RuleBasedStateMachine):
    """Whatever the wire does, messages are taken once and in order, and what is not taken is in a gap."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Memory()
        self.listener = Listener()
        self.sent: list[Envelope] = []
        self.beats: list[Heartbeat] = []
        self.written: dict[tuple[UUID, int], UUID] = {}

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        for _ in range(count):
            envelope = self.journal.append()
            self.sent.append(envelope)
            self.written[envelope.epoch, envelope.sequence] = envelope.event_id

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def deliver_any(self, data: st.DataObject) -> None:
        self.listener.hear(data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: self.sent)
    @rule(count=st.integers(1, 6))
    def deliver_the_latest(self, count: int) -> None:
        for envelope in self.sent[-count:]:
            self.listener.hear(envelope)

    @rule()
    def beat(self) -> None:
        self.beats.append(self.journal.heartbeat())
        self.listener.sequencer.heartbeat(self.beats[-1])

    @precondition(lambda self: self.beats)
    @rule(data=st.data())
    def deliver_an_old_beat(self, data: st.DataObject) -> None:
        self.listener.sequencer.heartbeat(data.draw(st.sampled_from(self.beats)))

    @rule(fail_after=st.none() | st.integers(0, 4))
    def ask(self, fail_after: int | None) -> None:
        self.listener.ask(self.journal, self.journal.epoch, fail_after)

    @precondition(lambda self: self.journal.entries)
    @rule(count=st.integers(1, 4))
    def prune(self, count: int) -> None:
        self.journal.prune(self.journal.bounds().first + count - 1)

    @rule()
    def renew(self) -> None:
        self.journal.renew()

    @rule()
    def restart(self) -> None:
        self.listener.restart()

    @invariant()
    def once_and_in_order(self) -> None:
        keys = [(envelope.epoch, envelope.sequence) for envelope in self.listener.taken]
        assert len(set(keys)) == len(keys)
        # Each step begins where the one before it ended: nothing is passed over but by a gap.
        steps = self.listener.steps
        assert [begin for begin, _ in steps[1:]] == [end for _, end in steps[:-1]]
        assert {gap.kind for gap in self.listener.gaps} <= {"pruned", "wrong_epoch"}

    def teardown(self) -> None:
        self.listener.catch_up(self.journal)
        assert not self.listener.sequencer.behind
        taken = {(envelope.epoch, envelope.sequence) for envelope in self.listener.taken}
        kept = {(self.journal.epoch, number) for number in self.journal.entries}
        assert kept <= taken
        self.once_and_in_order()


TestDroppedRepeatedExchanged = DroppedRepeatedExchanged.TestCase
TestDroppedRepeatedExchanged.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def heard(numbers: int) -> tuple[Memory, Listener]:
    journal, listener = Memory(), Listener()
    for _ in range(numbers):
        journal.append()
    listener.catch_up(journal)
    assert [envelope.sequence for envelope in listener.taken] == list(range(1, numbers + 1))
    return journal, listener


def test_a_journal_put_back_and_written_on_below_the_cursor():
    """Its end is below the cursor, and its last message is another than the one known by that number."""
    journal, listener = heard(10)
    journal.put_back(5)
    other = journal.append()
    listener.catch_up(journal)
    assert listener.taken[-1] == other
    assert listener.gaps[-1].after == Position(journal.epoch, 5)
    assert {gap.kind for gap in listener.gaps} == {"put_back"}


def test_a_journal_put_back_and_written_on_to_beyond_the_cursor():
    """No heartbeat was ever below: only the ids of the messages tell."""
    journal, listener = heard(6)
    journal.put_back(4)
    others = [journal.append() for _ in range(4)]
    listener.hear(others[1])  # number 6, known by another id
    listener.catch_up(journal)
    assert listener.taken[-4:] == others
    (gap,) = listener.gaps
    assert (gap.kind, gap.before.sequence, gap.after.sequence) == ("put_back", 6, 4)


def test_an_old_message_from_before_a_journal_was_put_back_changes_nothing():
    journal, listener = heard(6)
    old = journal.entries[6]
    journal.put_back(5)
    listener.catch_up(journal)
    journal.append()
    listener.catch_up(journal)
    before = list(listener.taken)
    listener.hear(old)
    listener.catch_up(journal)
    assert listener.taken == before


def test_a_journal_put_back_is_read_on_without_a_hole_while_it_is_written():
    """Of the old messages only 9 and 10 are known, both beyond the end; 8 and 9 are written meanwhile."""
    journal, listener = heard(8)
    listener.restart()
    for _ in range(2):
        journal.append()
    listener.catch_up(journal)
    journal.put_back(7)
    listener.sequencer.heartbeat(journal.heartbeat())
    listener.ask(journal, journal.epoch)
    others = [journal.append(), journal.append()]
    listener.catch_up(journal)
    assert listener.taken[-2:] == others
    assert [gap.after.sequence for gap in listener.gaps] == [7]


def test_one_heartbeat_is_enough_for_many_pages():
    heard(1100)


def test_an_old_heartbeat_is_no_journal_put_back():
    journal, listener = heard(3)
    old = journal.heartbeat()
    journal.append()
    listener.catch_up(journal)
    listener.sequencer.heartbeat(old)
    listener.catch_up(journal)
    assert listener.gaps == []
    assert len(listener.taken) == 4


def test_a_replayed_message_without_an_envelope_is_passed_over_visibly():
    journal, listener = heard(1)
    journal.append()
    journal.append()
    request = listener.sequencer.request(journal.epoch)
    answer = replay(journal, request)
    spoilt = answer.messages[0].model_copy(update={"envelope": "{}"})
    answer = ReplayAnswer(**{**dict(answer), "messages": (spoilt, answer.messages[1])})
    kinds = []
    for item in listener.sequencer.answered(request, answer):
        kinds.append(type(item).__name__)
        if isinstance(item, Gap):
            assert item.kind == "unreadable"
            listener.sequencer.moved(item.after)
        elif isinstance(item, Taken):
            listener.store(item.envelope)
    assert kinds == ["Unreadable", "Gap", "Taken"]
    assert listener.taken[-1].sequence == 3
