"""Journals: numbers without gaps whatever happens, replay, pruning, epochs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from labsem.store import NotFoundError, Store, journal
from labsem.streams.server import replay
from labsem.streams.stored import StoreJournal
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
from schemas.envelope import Envelope
from schemas.image import ImageAcquired
from schemas.requests import Replay, ReplayAnswer

STREAM = "analysis.bench-a"
STATUS = InstrumentStatus(
    instrument_id="sem-1",
    state=InstrumentState.AVAILABLE,
    driver="virtual",
    capabilities=Capabilities(can_act=True),
)


def replayed(store: Store, epoch: UUID, after: int, limit: int = 500) -> ReplayAnswer:
    """What the wire answers, from this store's journal."""
    return replay(StoreJournal(store, STREAM), Replay(stream=STREAM, epoch=epoch, after=after, limit=limit))


def sequences(store: Store, stream: str = STREAM) -> list[int]:
    with store.read() as session:
        return [message.sequence for message in journal.unsent(session, stream, 0, 5000)]


def fill(store: Store, count: int) -> journal.Head:
    with store.write() as session:
        journal.ensure(session, STREAM)
        for _ in range(count):
            journal.append(session, STREAM, STATUS)
    with store.read() as session:
        return journal.head(session, STREAM)


def test_a_message_is_numbered_and_comes_back_as_it_was(
    store: Store, make_event: Callable[..., ImageAcquired]
) -> None:
    event = make_event()
    with store.write() as session:
        head = journal.ensure(session, STREAM)
        event_id = journal.append(session, STREAM, event)
        journal.append(session, STREAM, STATUS)
    assert (head.first, head.last) == (0, 0)
    with store.read() as session:
        first, second = journal.unsent(session, STREAM, 0)
        after = journal.head(session, STREAM)
    envelope = Envelope.read(first.envelope)
    assert ImageAcquired.read(first.payload) == event
    assert (envelope.stream, envelope.epoch, envelope.sequence) == (STREAM, head.epoch, 1)
    assert envelope.event_id == event_id
    assert first.topic == "image-acquired/powder-1/"
    assert second.topic == "instrument-status//"
    assert (after.first, after.last) == (1, 2)
    assert after.heartbeat().last == 2


def test_ensure_keeps_the_epoch(store: Store) -> None:
    before = fill(store, 3)
    with store.write() as session:
        assert journal.ensure(session, STREAM) == before


def test_a_transaction_that_fails_takes_no_number(store: Store) -> None:
    fill(store, 1)
    with pytest.raises(RuntimeError), store.write() as session:
        journal.append(session, STREAM, STATUS)
        raise RuntimeError("the cause failed")
    fill(store, 1)
    assert sequences(store) == [1, 2]


def test_a_stream_without_a_journal_is_refused_and_nothing_is_stored(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"'nobody' has no journal"), store.write() as session:
        journal.ensure(session, STREAM)
        journal.append(session, "nobody", STATUS)
    with store.read() as session, pytest.raises(NotFoundError):
        journal.head(session, STREAM)


def test_threads_lose_no_number_and_order_is_commit_order(database_url: str) -> None:
    threads, each = 4, 25
    start = threading.Barrier(threads + 1)
    with Store.open(database_url) as store:
        fill(store, 0)

        def work() -> None:
            start.wait()
            for _ in range(each):
                with store.write() as session:
                    journal.append(session, STREAM, STATUS)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        start.wait()
        seen: list[int] = []
        while any(worker.is_alive() for worker in workers) or len(seen) < threads * each:
            with store.read() as session:
                new = [m.sequence for m in journal.unsent(session, STREAM, seen[-1] if seen else 0)]
            seen += new
        for worker in workers:
            worker.join()
    # A sender that only ever looks past its last number would miss one that commits late.
    assert seen == list(range(1, threads * each + 1))


CHILD = """
import sys
from labsem.store import Store, journal
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
status = InstrumentStatus(instrument_id="sem-1", state=InstrumentState.AVAILABLE, driver="virtual",
                          capabilities=Capabilities(can_act=True))
with Store.open(sys.argv[1]) as store:
    for number in range(int(sys.argv[2])):
        with store.write() as session:
            journal.append(session, "analysis.bench-a", status)
    if sys.argv[3] == "hang":
        with store.write() as session:
            journal.append(session, "analysis.bench-a", status)
            journal.write_queued(session)
            print("taken", flush=True)
            sys.stdin.read()
"""


def child(url: str, count: int, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(count), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_lose_no_number(database_url: str) -> None:
    with Store.open(database_url) as store:
        fill(store, 0)
        children = [child(database_url, 12, "end") for _ in range(2)]
        for process in children:
            process.communicate()
            assert process.returncode == 0
        assert sequences(store) == list(range(1, 25))


def test_a_killed_process_leaves_no_gap(database_url: str) -> None:
    with Store.open(database_url) as store:
        fill(store, 1)
        process = child(database_url, 1, "hang")
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        process.kill()
        process.communicate()
        fill(store, 1)
        assert sequences(store) == [1, 2, 3]


def test_replay_gives_what_lies_after(store: Store) -> None:
    head = fill(store, 5)
    answer = replayed(store, head.epoch, 2, limit=2)
    end = replayed(store, head.epoch, 5)
    assert answer.outcome == "messages"
    assert [Envelope.read(message.envelope).sequence for message in answer.messages] == [3, 4]
    assert (answer.first, answer.last) == (1, 5)
    assert (end.outcome, end.messages) == ("messages", ())


def test_replay_tells_of_another_epoch(store: Store) -> None:
    head = fill(store, 2)
    answer = replayed(store, uuid4(), 0)
    assert (answer.outcome, answer.epoch, answer.last) == ("wrong_epoch", head.epoch, 2)


def test_pruned_messages_are_told_of_and_numbers_go_on(store: Store) -> None:
    head = fill(store, 3)
    with store.write() as session:
        assert journal.prune(session, STREAM, older_than_s=0) == 0, "the last day is kept"
        assert journal.prune(session, STREAM, older_than_s=0, keep_s=-1) == 3
    answer = replayed(store, head.epoch, 1)
    at_end = replayed(store, head.epoch, 3)
    assert (answer.outcome, answer.first, answer.last) == ("pruned", 4, 3)
    assert at_end.outcome == "messages"
    fill(store, 1)
    assert sequences(store) == [4]


def test_a_renewed_journal_starts_at_one_in_another_epoch(store: Store) -> None:
    before = fill(store, 3)
    with store.write() as session:
        after = journal.renew(session, STREAM)
    assert after.epoch != before.epoch
    assert after.last == 0
    assert fill(store, 1).epoch == after.epoch
    assert sequences(store) == [1]
    with store.read() as session:
        assert [head.stream for head in journal.streams(session)] == [STREAM]
