"""Publisher and subscriber over real sockets: every message once, in order."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

import pytest
import zmq
from sqlalchemy import delete, update

from labsem.store import cursors, journal
from labsem.store.tables import JournalRow, StreamRow
from labsem.streams import EndpointError, Publisher, StreamError, Subscriber
from labsem.streams.stored import StoreCursors
from schemas.acts import InstrumentStatus
from schemas.envelope import Envelope


def test_what_was_journalled_before_and_what_comes_after_is_taken_in_order(source, reader, until):
    source.append(*range(1, 1201))  # more than one page of replay
    source.start()
    with reader.subscriber(source):
        until(lambda: len(reader) == 1200)
        source.append(*range(1201, 1211))
        until(lambda: len(reader) == 1210)
    assert reader.numbers == list(range(1, 1211))
    assert reader.gaps == []
    assert reader.garbage == []


def test_a_publisher_may_start_after_its_subscriber(source, reader, until):
    source.start()
    source.stop()
    source.append(1, 2, 3)
    with reader.subscriber(source) as subscriber:
        assert subscriber.heartbeat_age_s is None
        assert not subscriber.caught_up.is_set()
        source.start()
        until(lambda: reader.numbers == [1, 2, 3])
        assert subscriber.caught_up.wait(10)
        until(lambda: subscriber.heartbeat_age_s is not None)


def test_a_gap_on_the_wire_is_replayed(source, reader, until):
    """A socket of our own publishes only every third message; the journal has them all."""
    source.start()
    source.append(*range(1, 10))
    with zmq.Context.instance().socket(zmq.XPUB) as socket:
        source.events = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
        with reader.subscriber(source) as subscriber:
            assert socket.recv() == b"\x01"  # the subscription is here
            assert subscriber.caught_up.wait(10)
            source.append(*range(10, 31))
            for entry in source.journal.read(9, 100)[::3]:
                socket.send_multipart([entry.topic.encode(), entry.envelope.encode(), entry.payload.encode()])
            until(lambda: len(reader) >= 28)
            for entry in source.journal.read(0, 100)[::-1]:  # all again, in the wrong order
                socket.send_multipart([entry.topic.encode(), entry.envelope.encode(), entry.payload.encode()])
            until(lambda: len(reader) == 30)
            socket.send_multipart([b"heartbeat/", b"{}"])
            until(lambda: len(reader.garbage) == 1)  # all before it was looked at
    assert reader.numbers == list(range(1, 31))
    assert reader.gaps == []


def test_a_heartbeat_ahead_asks_for_replay(source, reader, until):
    source.start()
    with reader.subscriber(source) as subscriber:
        assert subscriber.caught_up.wait(10)
        source.publisher.stop()
        source.append(1, 2)  # on no wire: a new publisher begins after them
        source.publisher = Publisher(source.journal, source.events, heartbeat_s=0.1).start()
        until(lambda: reader.numbers == [1, 2])


def test_the_cursor_outlives_the_subscriber(source, reader, new_reader, until):
    source.start()
    source.append(1, 2)
    with reader.subscriber(source):
        until(lambda: reader.numbers == [1, 2])
    source.append(3, 4)
    again = new_reader()
    with again.subscriber(source) as subscriber:
        until(lambda: len(again) >= 4)
        assert subscriber.positions[source.stream].sequence == 4
    again.cursors.close()
    assert again.numbers == [1, 2, 3, 4]


def test_start_now_takes_only_what_comes(source, reader, until):
    source.append(1, 2, 3)
    source.start()
    with reader.subscriber(source, start="now") as subscriber:
        assert subscriber.caught_up.wait(10)
        source.append(4)
        until(lambda: reader.numbers == [4])
    assert reader.gaps == []


def test_a_renewed_journal_is_a_visible_gap_and_is_read_on(source, reader, until):
    source.start()
    source.append(1, 2)
    with reader.subscriber(source):
        until(lambda: reader.numbers == [1, 2])
        before = source.epoch
        with source.store.write() as session:
            journal.renew(session, source.stream)
        source.append(3, 4)
        until(lambda: reader.numbers == [1, 2, 3, 4])
    (gap,) = reader.gaps
    assert (gap.kind, gap.before.epoch, gap.before.sequence) == ("wrong_epoch", before, 2)
    assert (gap.after.epoch, gap.after.sequence) == (source.epoch, 0)


def test_a_pruned_journal_is_a_visible_gap_and_is_read_on(source, reader, new_reader, until):
    source.start()
    source.append(1, 2)
    with reader.subscriber(source):
        until(lambda: reader.numbers == [1, 2])
    source.stop()  # or it might send what is about to be pruned
    source.append(3, 4, 5, 6)
    _forget(source, through=4)
    source.start()
    again = new_reader()
    with again.subscriber(source):
        until(lambda: len(again) >= 4)
    again.cursors.close()
    assert again.numbers == [1, 2, 5, 6]
    (gap,) = again.gaps
    assert (gap.kind, gap.before.sequence, gap.after.sequence) == ("pruned", 2, 4)


def test_a_newcomer_to_a_pruned_journal_has_no_gap(source, reader, until):
    source.append(1, 2, 3)
    _forget(source, through=2)
    source.start()
    with reader.subscriber(source):
        until(lambda: reader.numbers == [3])
    assert reader.gaps == []


def test_a_journal_that_was_pruned_empty_is_no_gap(source, reader, until):
    source.start()
    source.append(1, 2)
    with reader.subscriber(source) as subscriber:
        until(lambda: reader.numbers == [1, 2])
        _forget(source, through=2)
        source.append(3)
        until(lambda: reader.numbers == [1, 2, 3])
        assert subscriber.caught_up.wait(10)
    assert reader.gaps == []


def test_a_journal_put_back_by_hand_is_a_visible_gap_and_its_new_messages_are_taken(source, reader, until):
    source.start()
    source.append(1, 2, 3, 4)
    with reader.subscriber(source):
        until(lambda: reader.numbers == [1, 2, 3, 4])
        _put_back(source, last=2)
        until(lambda: len(reader.gaps) >= 1)
        with reader.cursors.moving("-", reader.gaps[0].after) as connection:
            connection.execute("DELETE FROM message WHERE sequence > 2")
        source.append(30, 40, 50)
        until(lambda: reader.numbers == [1, 2, 30, 40, 50])
    gap = reader.gaps[0]
    assert (gap.kind, gap.before.sequence, gap.after.sequence) == ("put_back", 4, 2)


@pytest.mark.parametrize(
    "parts",
    [
        [b"only one"],
        [b"image-acquired//", b"{}"],
        [b"a", b"b", b"c", b"d"],
        [b"image-acquired//", b"not json", b"{}"],
        [b"image-acquired//", b'{"schema": "labsem.image-acquired/1"}', b"{}"],
        [b"\xff\xfe", b"[]", b"\x00"],
        [b"heartbeat/", b"\xff"],
        [b"", b"", b""],
    ],
    ids=["one", "two", "four", "no-json", "half-envelope", "no-utf8", "bad-heartbeat", "empty"],
)
def test_garbage_is_handed_over_and_reading_goes_on(source, reader, until, parts):
    source.start()
    with zmq.Context.instance().socket(zmq.XPUB) as socket:
        source.events = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
        with reader.subscriber(source) as subscriber:
            assert socket.recv() == b"\x01"
            socket.send_multipart(parts)
            until(lambda: len(reader.garbage) == 1)
            source.append(1)
            for entry in source.journal.read(0, 1):
                socket.send_multipart([entry.topic.encode(), entry.envelope.encode(), entry.payload.encode()])
            until(lambda: reader.numbers == [1])
            assert subscriber.alive
    kept, reason = reader.garbage[0]
    assert kept == parts
    assert "not a message of this protocol" in reason


def test_another_stream_is_garbage_where_one_is_named(source, reader, until):
    source.start()
    with reader.subscriber(source, stream="gateway.other"):
        until(lambda: len(reader.garbage) >= 1)
    assert "'gateway.test' in place of 'gateway.other'" in reader.garbage[0][1]
    assert reader.numbers == []


def test_a_transient_error_has_the_message_tried_again(source, reader, until):
    refusals = [sqlite3.OperationalError("database is locked")] * 2

    def fail(number: int) -> None:
        if number == 2 and refusals:
            raise refusals.pop()

    reader.fail = fail
    source.start()
    source.append(1, 2, 3)
    with reader.subscriber(source):
        until(lambda: len(reader) >= 3)
    assert reader.numbers == [1, 2, 3]
    assert refusals == []


def test_any_other_error_ends_the_thread_and_keeps_the_cursor(source, reader, until):
    def fail(number: int) -> None:
        if number == 2:
            raise KeyError("a fault of the handler")

    reader.fail = fail
    source.start()
    source.append(1, 2, 3)
    subscriber = reader.subscriber(source).start()
    until(lambda: not subscriber.alive)
    assert isinstance(subscriber.failure, KeyError)
    assert reader.numbers == [1]
    assert reader.cursors.load(source.stream).sequence == 1
    subscriber.stop()


def test_cursor_and_gap_of_a_store_are_moved_in_one_transaction(source, tmp_path, until):
    seen = []

    def take(session, envelope: Envelope, topic: str, payload: bytes) -> None:
        seen.append((envelope.sequence, topic))
        journal.append(session, "analysis.copy", InstrumentStatus.read(payload))

    with source.store.write() as session:
        journal.ensure(session, "analysis.copy")
    source.start()
    source.append(1, 2)
    kept = StoreCursors(source.store, reader="copier")
    with Subscriber("source", source.events, source.requests, kept, take, stream=source.stream):
        until(lambda: len(seen) == 2)
        with source.store.write() as session:
            journal.renew(session, source.stream)
        source.append(3)
        until(lambda: len(seen) == 3)
    with source.store.read() as session:
        cursor = cursors.get(session, source.stream, reader="copier")
        copied = journal.head(session, "analysis.copy")
        (gap,) = cursors.gaps(session)
    assert (cursor.epoch, cursor.sequence, copied.last) == (source.epoch, 1, 3)
    assert (gap.reason, gap.first, gap.reader) == ("wrong_epoch", 3, "copier")
    assert [topic for _, topic in seen] == ["instrument-status//"] * 3


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5610", "tcp://192.168.1.4:5610", "tcp://*:5610", "ipc:///tmp/x", "tcp://127.0.0.1:70000"],
)
def test_only_loopback_is_bound_or_connected_to(source, reader, endpoint):
    with pytest.raises(EndpointError, match="SSH tunnel"):
        Publisher(source.journal, endpoint).start()
    with pytest.raises(EndpointError, match="SSH tunnel"):
        Subscriber("x", endpoint, "tcp://127.0.0.1:1", reader.cursors, reader.take)


def test_an_address_in_use_is_named(source):
    source.start()
    with pytest.raises(EndpointError, match=source.events):
        Publisher(source.journal, source.events).start()


def test_a_thread_is_started_once(source):
    source.start()
    with pytest.raises(StreamError, match="started before"):
        source.publisher.start()


def test_an_envelope_that_names_an_unknown_schema_is_still_handed_on_in_its_place(source, reader, until):
    """The handler decides on payloads: the daemon keeps an unknown one as rejected, and the cursor moves."""
    names = []
    reader.take = lambda session, envelope, topic, payload: names.append(envelope.schema_id)
    source.start()
    envelope = Envelope(
        schema_id="labsem.image-acquired/9",
        stream=source.stream,
        epoch=source.epoch,
        sequence=1,
        event_id=uuid4(),
        sent_at="2026-01-01T00:00:00Z",
    )
    with zmq.Context.instance().socket(zmq.XPUB) as socket:
        source.events = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
        with reader.subscriber(source) as subscriber:
            assert socket.recv() == b"\x01"
            assert subscriber.caught_up.wait(10)
            socket.send_multipart([b"image-acquired//", envelope.to_bytes(), b"{}"])
            until(lambda: names == ["labsem.image-acquired/9"])


def _forget(source, through: int) -> None:
    """Prune as by age: the journal keeps what comes after."""
    with source.store.write() as session:
        session.execute(delete(JournalRow).where(JournalRow.sequence <= through))


def _put_back(source, last: int) -> None:
    """What a person does who copies an older file back: the same epoch, fewer messages."""
    with source.store.write() as session:
        session.execute(delete(JournalRow).where(JournalRow.sequence > last))
        session.execute(update(StreamRow).values(last=last))
