"""The inbox: each event once, leases, and what could not be processed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsem.store import LeaseLostError, NotFoundError, RefusedError, Store, cursors, inbox, queries, rejected
from schemas import registry
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
from schemas.envelope import Envelope
from schemas.image import ImageAcquired

MakeEvent = Callable[..., ImageAcquired]
MakeEnvelope = Callable[..., Envelope]
STATUS = InstrumentStatus(
    instrument_id="sem-1",
    state=InstrumentState.AVAILABLE,
    driver="virtual",
    capabilities=Capabilities(can_act=True),
)


@pytest.fixture
def deliver(store: Store, make_event: MakeEvent, make_envelope: MakeEnvelope) -> Callable[..., inbox.Taken]:
    """Takes one frame's event with its own sequence."""

    def take(sequence: int = 1, **fields: object) -> inbox.Taken:
        event = make_event(**fields)
        with store.write() as session:
            return inbox.take(session, make_envelope(event, sequence), event.to_bytes(), reader="daemon")

    return take


def test_an_event_is_stored_once_however_often_it_comes(
    store: Store, make_event: MakeEvent, make_envelope: MakeEnvelope
) -> None:
    event = make_event()
    envelope = make_envelope(event, 7)
    outcomes = []
    for _ in range(3):
        with store.write() as session:
            outcomes.append(inbox.take(session, envelope, event.to_bytes(), reader="daemon").outcome)
    with store.read() as session:
        cursor = cursors.get(session, "gateway.sem-1", reader="daemon")
        counts = inbox.counts(session)
    assert outcomes == ["new", "known", "known"]
    assert counts == inbox.Counts(waiting=1, leased=0, done=0, rejected=0)
    assert cursor is not None
    assert (cursor.epoch, cursor.sequence) == (envelope.epoch, 7)


def test_a_known_sequence_with_an_unknown_event_is_taken(deliver: Callable[..., inbox.Taken]) -> None:
    assert deliver(sequence=5).outcome == "new"
    assert deliver(sequence=5).outcome == "new"


def test_a_frame_that_comes_again_under_another_event_is_no_second_work(
    store: Store, deliver: Callable[..., inbox.Taken]
) -> None:
    frame_id = uuid4()
    assert deliver(sequence=1, frame_id=frame_id).outcome == "new"
    assert deliver(sequence=2, frame_id=frame_id).outcome == "known"
    with store.read() as session:
        assert inbox.counts(session).waiting == 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_any_order_with_repeats_leaves_each_frame_once(
    order: list[int], store: Store, make_event: MakeEvent, make_envelope: MakeEnvelope
) -> None:
    events = [make_event() for _ in range(6)]
    epoch = uuid4()
    envelopes = [make_envelope(event, n + 1, epoch=epoch) for n, event in enumerate(events)]
    with store.read() as session:
        before = inbox.counts(session).waiting
    for index in order:
        with store.write() as session:
            inbox.take(session, envelopes[index], events[index].to_bytes())
    with store.read() as session:
        assert inbox.counts(session).waiting - before == len(set(order))


def test_another_event_is_handed_to_the_caller(store: Store, make_envelope: MakeEnvelope) -> None:
    with store.write() as session:
        taken = inbox.take(session, make_envelope(STATUS), STATUS.to_bytes())
        assert inbox.lease(session, owner="w", lease_s=60) is None
    assert (taken.outcome, taken.payload) == ("new", STATUS)
    with store.write() as session:
        assert inbox.prune(session, older_than_s=3600) == 0
        assert inbox.prune(session, older_than_s=-1) == 1


@pytest.mark.parametrize(
    ("schema", "payload", "code"),
    [
        ("labsem.image-acquired/9", b"{}", "unsupported_schema"),
        ("labsem.image-acquired/1", b"\xff\x00 not json", "malformed"),
        ("labsem.image-acquired/1", b'{"frame_id": "x"}', "malformed"),
    ],
)
def test_what_cannot_be_read_is_rejected_and_the_cursor_moves_on(
    store: Store,
    make_event: MakeEvent,
    make_envelope: MakeEnvelope,
    schema: str,
    payload: bytes,
    code: str,
) -> None:
    envelope = make_envelope(make_event(), 3, schema_id=schema)
    for outcome in ("rejected", "known"):
        with store.write() as session:
            assert inbox.take(session, envelope, payload, reader="daemon").outcome == outcome
    with store.read() as session:
        (row,) = queries.rejected(session)
        cursor = cursors.get(session, envelope.stream, reader="daemon")
    assert row.code == code
    assert row.message
    assert row.remedy
    assert row.retryable
    assert cursor is not None
    assert cursor.sequence == 3
    with store.write() as session, pytest.raises(RefusedError):
        rejected.retry(session, row.rejected_id)
    with store.write() as session:
        assert rejected.retry(session, None) == 0


def test_an_unsupported_event_is_taken_after_an_upgrade(
    store: Store, make_event: MakeEvent, make_envelope: MakeEnvelope, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = make_event()
    with store.write() as session:
        inbox.take(session, make_envelope(event, schema_id="labsem.image-acquired/2"), event.to_bytes())
    monkeypatch.setitem(registry.EVENTS, "labsem.image-acquired/2", ImageAcquired)
    with store.write() as session:
        assert rejected.retry(session, None) == 1
        leased = inbox.lease(session, owner="w", lease_s=60)
        assert queries.rejected(session) == ()
    assert leased is not None
    assert leased.event == event


def test_an_event_that_was_once_rejected_is_not_pruned(
    store: Store, make_envelope: MakeEnvelope, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.write() as session:
        inbox.take(session, make_envelope(STATUS, schema_id="labsem.instrument-status/2"), STATUS.to_bytes())
    monkeypatch.setitem(registry.EVENTS, "labsem.instrument-status/2", InstrumentStatus)
    with store.write() as session:
        assert rejected.retry(session, None) == 1
        assert inbox.prune(session, older_than_s=-1) == 0
        assert len(queries.rejected(session, include_closed=True)) == 1


def test_a_plain_message_is_known_by_message_and_file(store: Store, make_event: MakeEvent) -> None:
    raw = b'{"sample_id": "powder-1"}'

    def take(content: str) -> str:
        frame_id = inbox.plain_frame_id("lab", raw, content * 64)
        event = make_event(frame_id=frame_id, sha256=content * 64)
        with store.write() as session:
            return inbox.take_plain(session, source="lab", raw=raw, event=event).outcome

    assert [take("a"), take("a"), take("b"), take("a")] == ["new", "known", "new", "known"]


def test_a_lease_is_exclusive_and_runs_out(store: Store, deliver: Callable[..., inbox.Taken]) -> None:
    deliver()
    with store.write() as session:
        first = inbox.lease(session, owner="a", lease_s=0)
    with store.write() as session:
        second = inbox.lease(session, owner="b", lease_s=60)
        assert inbox.lease(session, owner="c", lease_s=60) is None
    assert first is not None
    assert second is not None
    assert (second.inbox_id, second.attempts) == (first.inbox_id, 2)
    for late in (
        lambda session: inbox.finish(session, first.inbox_id, "a"),
        lambda session: inbox.renew(session, first.inbox_id, "a", 60),
        lambda session: inbox.release(session, first.inbox_id, "a"),
        lambda session: inbox.reject(session, first.inbox_id, "a", code="x", message="x", remedy="x"),
    ):
        with store.write() as session, pytest.raises(LeaseLostError, match="no longer leased to a"):
            late(session)
    with store.write() as session:
        inbox.renew(session, second.inbox_id, "b", 60)
        inbox.finish(session, second.inbox_id, "b")
    with store.write() as session:
        assert inbox.lease(session, owner="c", lease_s=60) is None
        assert inbox.counts(session).done == 1


def test_released_work_waits_for_its_delay(store: Store, deliver: Callable[..., inbox.Taken]) -> None:
    deliver()
    with store.write() as session:
        leased = inbox.lease(session, owner="a", lease_s=60)
        assert leased is not None
        inbox.release(session, leased.inbox_id, "a", delay_s=3600)
        assert inbox.lease(session, owner="a", lease_s=60) is None
        assert inbox.counts(session).waiting == 1


def test_leases_of_the_dead_are_given_back(store: Store, deliver: Callable[..., inbox.Taken]) -> None:
    for sequence in (1, 2):
        deliver(sequence)
    with store.write() as session:
        inbox.lease(session, owner="bench-a/1", lease_s=600)
        inbox.lease(session, owner="bench-b/1", lease_s=600)
    with store.write() as session:
        assert inbox.requeue_owner(session, "bench-a/") == 1
        assert inbox.counts(session) == inbox.Counts(waiting=1, leased=1, done=0, rejected=0)


def test_claimers_at_once_get_different_frames(
    database_url: str, make_event: MakeEvent, make_envelope: MakeEnvelope
) -> None:
    frames, workers = 12, 4
    got: list[int] = []
    start = threading.Barrier(workers)
    with Store.open(database_url) as store:
        for sequence in range(1, frames + 1):
            event = make_event()
            with store.write() as session:
                inbox.take(session, make_envelope(event, sequence), event.to_bytes())

        def work(owner: str) -> None:
            start.wait()
            while True:
                with store.write() as session:
                    leased = inbox.lease(session, owner=owner, lease_s=600)
                if leased is None:
                    return
                got.append(leased.inbox_id)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(got) == len(set(got)) == frames


def test_a_rejected_frame_is_seen_and_tried_again(store: Store, deliver: Callable[..., inbox.Taken]) -> None:
    deliver(path="powder-1/broken.tif")
    with store.write() as session:
        leased = inbox.lease(session, owner="a", lease_s=60)
        assert leased is not None
        rejected_id = inbox.reject(
            session, leased.inbox_id, "a", code="truncated", message="ends early", remedy="copy it again"
        )
    with store.read() as session:
        (row,) = queries.rejected(session)
        assert (row.rejected_id, row.code, row.path) == (rejected_id, "truncated", "powder-1/broken.tif")
        assert row.frame_id == leased.event.frame_id
        assert inbox.counts(session).rejected == 1
    with store.write() as session:
        assert rejected.retry(session, rejected_id) == 1
        again = inbox.lease(session, owner="a", lease_s=60)
        assert again is not None
        assert (again.event, again.attempts) == (leased.event, 1)
        assert queries.rejected(session) == ()
        assert len(queries.rejected(session, include_closed=True)) == 1
        with pytest.raises(NotFoundError):
            rejected.retry(session, rejected_id)


def test_garbage_is_kept_once_and_cannot_be_tried_again(store: Store) -> None:
    for _ in range(2):
        with store.write() as session:
            rejected.reject_message(
                session, source="lab", raw=b"\x00", code="malformed", message="no JSON", remedy="correct it"
            )
    with store.write() as session:
        (row,) = queries.rejected(session)
        assert not row.retryable
        assert rejected.retry(session, None) == 0
        with pytest.raises(RefusedError, match="no event"):
            rejected.retry(session, row.rejected_id)


def test_a_plain_message_is_handed_back_to_be_read_again(store: Store) -> None:
    with store.write() as session:
        rejected_id = rejected.reject_message(
            session,
            source="lab",
            raw=b"{}",
            code="missing",
            message="no such file",
            remedy="mount the folder",
            sample_id="powder-1",
            image_root="nas",
            path="a.tif",
            plain=True,
        )
        assert rejected.plain_retries(session) == []
        assert rejected.retry(session, None) == 1
        assert rejected.plain_retries(session) == [rejected.PlainRetry(rejected_id, "lab", b"{}")]
        rejected.close_rejected(session, rejected_id)
    with store.read() as session:
        assert rejected.plain_retries(session) == []
        assert queries.rejected(session) == ()
