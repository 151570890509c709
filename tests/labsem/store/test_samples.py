"""Samples: what is expected of them, when they settle, and their summaries."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from labsem.store import NotFoundError, Store, asking, inbox, instruments, queries, samples
from schemas.acts import RescanParameters, RescanReason
from schemas.envelope import Envelope
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState
from schemas.settings import RescanSettings


def summary(revision: int, state: SampleState = SampleState.COLLECTING) -> SampleMorphology:
    return SampleMorphology(
        sample_id="powder-1",
        sample_revision=revision,
        state=state,
        frames_pending=0,
        acts_open=0,
        frames=revision,
    )


def test_a_sample_settles_when_nothing_is_expected(
    store: Store, make_event: Callable[..., ImageAcquired], make_envelope: Callable[..., Envelope]
) -> None:
    event = make_event()
    with store.write() as session:
        samples.frame_came(session, "powder-1", settle_after_s=0, sample_name="Powder", labels=("trial-1",))
        inbox.take(session, make_envelope(event), event.to_bytes())
        assert samples.due_to_settle(session) == ()
        assert not samples.settle(session, "powder-1")
        now = samples.condition(session, "powder-1")
        assert (now.frames_pending, now.acts_open, now.sample_name) == (1, 0, "Powder")
        leased = inbox.lease(session, owner="w", lease_s=60)
        assert leased is not None
        assert samples.condition(session, "powder-1").frames_pending == 1
        inbox.finish(session, leased.inbox_id, "w")
    with store.write() as session:
        assert samples.due_to_settle(session) == ("powder-1",)
        assert samples.settle(session, "powder-1")
        assert not samples.settle(session, "powder-1"), "only one of several tells of it"
        assert samples.due_to_settle(session) == ()
        assert samples.condition(session, "powder-1").state is SampleState.SETTLED
    with store.write() as session:
        samples.frame_came(session, "powder-1", settle_after_s=3600, labels=("trial-2",))
        now = samples.condition(session, "powder-1")
        assert (now.state, now.labels) == (SampleState.COLLECTING, ("trial-1", "trial-2"))
        assert now.sample_name == "Powder"
        assert samples.due_to_settle(session) == ()


def test_an_open_act_keeps_a_sample_collecting(
    store: Store, make_event: Callable[..., ImageAcquired]
) -> None:
    settings = RescanSettings()
    place = asking.Place.of(sample_id="powder-1", instrument_id="sem-1", settings=settings, hfw_um=100.0)
    with store.write() as session:
        samples.frame_came(session, "powder-1", settle_after_s=0)
        assert samples.settle(session, "powder-1")
        asked = asking.create_rescan(
            session,
            place,
            stream="analysis.a",
            frame_before=make_event().frame_id,
            reasons=(RescanReason.BLURRED,),
            parameters=RescanParameters(),
            settings=settings,
        )
        assert asked.act is not None
        now = samples.condition(session, "powder-1")
        assert (now.state, now.acts_open) == (SampleState.COLLECTING, 1)
        assert not samples.settle(session, "powder-1")


def test_revisions_taken_at_once_all_differ(database_url: str) -> None:
    taken: list[int] = []
    with Store.open(database_url) as store:
        with store.write() as session:
            samples.ensure(session, "powder-1")

        def work() -> None:
            for _ in range(8):
                with store.write() as session:
                    taken.append(samples.bump_revision(session, "powder-1"))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(taken) == list(range(1, 25))


def test_the_latest_summary_stays(store: Store) -> None:
    with store.write() as session:
        samples.frame_came(session, "powder-1", settle_after_s=60)
        for revision in (1, 3, 2):
            samples.record_summary(session, summary(revision, SampleState.SETTLED))
        latest = queries.sample_summary(session, "powder-1")
        assert latest is not None
        assert (latest.sample_revision, latest.frames) == (3, 3)
        assert latest.state is SampleState.COLLECTING, "what is expected is said as it stands now"


def test_an_unknown_sample_is_named(store: Store) -> None:
    with store.write() as session:
        assert queries.sample_summary(session, "nobody") is None
        for ask in (samples.condition, samples.bump_revision, queries.history):
            with pytest.raises(NotFoundError, match="'nobody' is not known; labsem samples"):
                ask(session, "nobody")


def test_pages_of_samples_history_and_frames(
    store: Store,
    record: Callable[..., FrameMorphology],
    make_event: Callable[..., ImageAcquired],
) -> None:
    first = make_event()
    later = make_event(acquired_at=first.acquired_at.replace(hour=13))
    other = make_event(sample_id="powder-2")
    with store.write() as session:
        recorded = [record(session, event) for event in (later, first, other)]
        samples.bump_revision(session, "powder-1")
        samples.record_summary(session, summary(1))
    with store.read() as session:
        page = queries.samples(session)
        history = queries.history(session, "powder-1")
        second = queries.history(session, "powder-1", limit=1, offset=1)
        lines = queries.frames(session, sample_id="powder-1")
        assert len(queries.frames(session, limit=2)) == 2
        arrays = queries.current_frames(session, "powder-1")
        assert queries.earlier_samples(session, "sem-1", before_sample="powder-2") == ("powder-1",)
        assert queries.earlier_samples(session, "sem-1", before_sample="powder-1") == ()
    assert page.total == 2
    row = {line.sample_id: line for line in page.samples}["powder-1"]
    assert (row.frames, row.frames_pending, row.acts_open, row.sample_revision) == (2, 0, 0, 1)
    assert (row.first_frame_at, row.last_frame_at) == (first.acquired_at, later.acquired_at)
    assert [frame.morphology for frame in history.frames] == [recorded[1], recorded[0]]
    assert history.frames_total == 2
    assert [frame.morphology for frame in second.frames] == [recorded[0]]
    assert [line.frame_id for line in lines] == [later.frame_id, first.frame_id]
    assert lines[0].d50_number_all_um == 1.5
    assert [len(each.particles["label"]) for each in arrays] == [3, 3]
    assert arrays[0].morphology == recorded[1]


def test_an_instrument_is_kept_as_its_gateway_tells(store: Store) -> None:
    from schemas.acts import Capabilities, InstrumentState, InstrumentStatus

    status = InstrumentStatus(
        instrument_id="sem-1",
        state=InstrumentState.HELD,
        driver="virtual",
        capabilities=Capabilities(can_act=True),
        held_by="ada",
    )
    with store.write() as session:
        assert instruments.get(session, "sem-1") is None
        assert instruments.status(session, "sem-1") is None
        instruments.ensure(session, "sem-1", scale_relative_uncertainty=0.02)
        instruments.ensure(session, "sem-1")
        instruments.update(session, status)
    with store.read() as session:
        (row,) = instruments.all_instruments(session)
        assert instruments.status(session, "sem-1") == status
    assert (row.state, row.can_act, row.held_by) == ("held", True, "ada")
    assert row.scale_relative_uncertainty == 0.02
    assert not instruments.answers_claims(row)
