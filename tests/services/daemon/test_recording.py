"""What one transaction stores of a frame, its act and its sample; on both databases, without a process."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from labsem.store import acquisitions, acts, inbox, instruments, journal, queries, samples
from labsem.store.inbox import plain_frame_id, take_plain
from schemas.acts import INTERRUPTED, ActState, RescanReason
from schemas.envelope import Envelope
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState
from schemas.plans import Place, Plan
from schemas.requests import RequestAcquisition
from schemas.settings import DaemonSettings, ModelSettings, ReadSettings, RescanSettings, Settings
from services.daemon import recording
from services.daemon.comparing import Side, compare, supersedes
from services.daemon.sweeps import Sweeps
from services.daemon.work import FrameBefore, FrameJob, FrameProblem, FrameResult, WorkerOptions
from services.daemon.worker import answer
from services.segmenters import OtsuSegmenter

STREAM = "analysis.test"
OPTIONS = WorkerOptions("otsu", ModelSettings(), ReadSettings(), RescanSettings(), "warning", False)


class Bench:
    """The daemon's steps, one after another, in this process."""

    def __init__(self, store, frames, tmp_path) -> None:
        self.store, self.frames = store, frames
        self.rescans = RescanSettings()
        self._folder = tmp_path
        self._sequence = 0
        self._epoch = uuid4()
        with store.write() as session:
            journal.ensure(session, STREAM)

    @property
    def settings(self) -> Settings:
        daemon = DaemonSettings(stream=STREAM, settle_after_s=0)
        return Settings(data_dir=self._folder, daemon=daemon, rescans=self.rescans)

    def takes(self, event: ImageAcquired, *, plain: bool = False) -> None:
        raw = event.to_bytes()
        self._sequence += 1
        with self.store.write() as session:
            if plain:
                take_plain(session, source="lab", raw=raw, event=event)
            else:
                envelope = Envelope(
                    schema_id="labsem.image-acquired/1",
                    stream="gateway.sem-1",
                    epoch=self._epoch,
                    sequence=self._sequence,
                    event_id=uuid4(),
                    sent_at=event.acquired_at,
                )
                inbox.take(session, envelope, raw)
            samples.frame_came(session, event.sample_id, settle_after_s=0)
            acts.frame_arrived(session, event, analysis_within_s=900)

    def analyses(self, event: ImageAcquired, *, plain: bool = False) -> FrameMorphology:
        """Intake, lease, worker, record."""
        self.takes(event, plain=plain)
        with self.store.write() as session:
            leased = inbox.lease(session, owner="me", lease_s=60)
        assert leased is not None
        with self.store.read() as session:
            before = recording.frame_before(session, event)
        located = None
        if before is not None:
            path = str(self.frames.folder / before.path)
            located = FrameBefore(path, before.acquisition, before.scan_rotation_deg)
        job = FrameJob(leased.event, None, str(self.frames.folder), leased.plain, located, None, False)
        result = answer(OtsuSegmenter(), job, OPTIONS)
        assert isinstance(result, FrameResult)
        with self.store.write() as session:
            recording.record(session, leased, "me", result, self.settings)
        with self.store.read() as session:
            return queries.frame(session, event.frame_id).morphology

    def blurred(self, sample_id: str = "s", **changes) -> FrameMorphology:
        path = self.frames.write(f"{uuid4()}.tif", scene=9, blur_px=5)
        return self.analyses(self.frames.event(path, sample_id, **changes))

    def claims(self) -> UUID:
        with self.store.write() as session:
            return self.claims_in(session)

    def claims_in(self, session: Session) -> UUID:
        act = acts.claim(session, "sem-1", uuid4(), running_for_s=60)
        assert act is not None
        return act.act_id

    def act(self, act_id: UUID):
        with self.store.read() as session:
            return acts.get(session, act_id)

    def messages(self) -> list[str]:
        with self.store.read() as session:
            return [message.topic for message in journal.unsent(session, STREAM, 0)]

    def sweeps(self) -> Sweeps:
        return Sweeps(self.store, self.settings, "me", retry_plain=lambda: None, committed=lambda: None)


@pytest.fixture
def bench(store, frames, tmp_path, status) -> Bench:
    with store.write() as session:
        instruments.update(session, status)
    return Bench(store, frames, tmp_path)


def test_frame_sample_act_and_messages_are_one_transaction(bench) -> None:
    morphology = bench.blurred()
    assert morphology.decision.kind == "rescan"
    assert bench.act(morphology.decision.act_id).state is ActState.APPROVED
    assert bench.messages() == ["act-changed/s/", "frame-morphology/s/", "sample-morphology/s/"]
    with bench.store.read() as session:
        summary = queries.sample_summary(session, "s")
        assert inbox.counts(session).done == 1
        assert len(queries.current_frames(session, "s")[0].particles["label"]) == morphology.particle_count
    assert isinstance(summary, SampleMorphology)
    assert (summary.state, summary.acts_open, summary.frames) == (SampleState.COLLECTING, 1, 1)


def test_what_fails_half_way_leaves_nothing(bench, monkeypatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr(recording.summaries, "send", breaks)
    with pytest.raises(RuntimeError, match="plug"):
        bench.blurred()
    assert bench.messages() == []
    with bench.store.read() as session:
        assert queries.frames(session) == ()
        assert queries.acts(session) == ()
        assert inbox.counts(session).leased == 1


def test_approval_is_waited_for(bench) -> None:
    bench.rescans = RescanSettings(approval="ask")
    act_id = bench.blurred().decision.act_id
    assert bench.act(act_id).state is ActState.REQUESTED
    with bench.store.write() as session:
        assert acts.claim(session, "sem-1", uuid4(), running_for_s=60) is None
        acts.approve(session, act_id)
    assert bench.claims() == act_id


def test_approval_off_advises_and_makes_no_row(bench) -> None:
    bench.rescans = RescanSettings(approval="off")
    decision = bench.blurred().decision
    assert decision.kind == "advised"
    assert "rescans.approval" in decision.detail
    with bench.store.read() as session:
        assert queries.acts(session) == ()


def test_a_plain_frame_is_advised_whatever_instrument_it_names(bench) -> None:
    path = bench.frames.write("plain.tif", scene=9, blur_px=5)
    event = bench.frames.event(path, "s")
    event = event.model_copy(update={"frame_id": plain_frame_id("lab", b"", event.sha256)})
    assert bench.analyses(event, plain=True).decision.kind == "advised"


def test_a_rescan_that_is_still_bad_is_tried_until_the_attempts_run_out(bench) -> None:
    first = bench.blurred()
    second = bench.blurred(act_id=bench.claims(), index=0)
    assert second.decision.kind == "rescan"
    assert second.decision.act_id != first.decision.act_id
    third = bench.blurred(act_id=bench.claims(), index=0)
    assert third.decision.kind == "advised"
    assert "2 of 2 attempts at this place" in third.decision.detail
    outcome = bench.act(first.decision.act_id).outcome
    assert outcome.improved is False
    with bench.store.read() as session:
        frames = queries.history(session, "s").frames
    assert [frame.superseded_by for frame in frames] == [second.frame_id, third.frame_id, None]


def test_a_rejected_answer_fails_the_act(bench) -> None:
    act_id = (bench.blurred().decision.act_id, bench.claims())[1]
    path = bench.frames.write("answer.tif")
    bench.takes(bench.frames.event(path, "s", act_id=act_id))
    assert bench.act(act_id).state is ActState.ACQUIRED
    with bench.store.write() as session:
        leased = inbox.lease(session, owner="me", lease_s=60)
        recording.reject(session, leased, "me", FrameProblem("truncated", "it is cut", "copy it again"))
    act = bench.act(act_id)
    assert act.state is ActState.FAILED
    assert "it is cut" in act.failure


def test_a_late_answer_is_stored_and_changes_no_outcome(bench) -> None:
    act_id = (bench.blurred().decision.act_id, bench.claims())[1]
    with bench.store.write() as session:
        acts.report(session, act_id, "sem-1", "the stage hangs")
    late = bench.analyses(bench.frames.event(bench.frames.write("late.tif", scene=9), "s", act_id=act_id))
    act = bench.act(act_id)
    assert act.state is ActState.FAILED
    assert act.late_frames == (late.frame_id,)
    with bench.store.read() as session:
        assert len(queries.current_frames(session, "s")) == 2


def test_an_act_that_is_not_known_here_is_ignored(bench) -> None:
    path = bench.frames.write("a.tif")
    morphology = bench.analyses(bench.frames.event(path, "s", act_id=uuid4()))
    assert morphology.decision.kind == "none"


def test_samples_settle_once_nothing_is_expected(bench) -> None:
    sweeps = bench.sweeps()
    act_id = bench.blurred("open").decision.act_id
    bench.analyses(bench.frames.event(bench.frames.write("fine.tif"), "fine"))
    sweeps.settle_samples()
    with bench.store.read() as session:
        assert queries.sample_summary(session, "open").state is SampleState.COLLECTING
        settled = queries.sample_summary(session, "fine")
    assert settled.state is SampleState.SETTLED
    told = len(bench.messages())
    sweeps.settle_samples()
    assert len(bench.messages()) == told
    with bench.store.write() as session:
        acts.cancel(session, act_id, "enough")
    sweeps.settle_samples()
    with bench.store.read() as session:
        assert queries.sample_summary(session, "open").state is SampleState.SETTLED


def test_deadlines_end_acts(bench) -> None:
    bench.rescans = RescanSettings(expires_after_s=1e-6)
    act_id = bench.blurred().decision.act_id
    bench.sweeps().end_overdue_acts()
    assert bench.act(act_id).state is ActState.EXPIRED


def test_daily_jobs_run_once(bench) -> None:
    with bench.store.write() as session:
        from labsem.store import jobs

        for name in (f"prune_journal/{STREAM}", "prune_inbox"):
            jobs.register(session, name, 86_400)
        assert len(jobs.due(session)) == 2
    bench.sweeps().run_due_jobs()
    with bench.store.read() as session:
        assert jobs.due(session) == ()


def test_five_frames_have_an_interval(bench) -> None:
    for number in range(5):
        path = bench.frames.write(f"{number}.tif", scene=20 + number)
        bench.analyses(bench.frames.event(path, "many", position_x_mm=float(number)))
    with bench.store.read() as session:
        summary = queries.sample_summary(session, "many")
    (block,) = summary.blocks
    assert (summary.frames, block.frames, summary.sample_revision) == (5, 5, 5)
    low, high = block.sizes.number.all.d50_interval_95_um
    assert low < block.sizes.number.all.d50_um < high


def test_unclear_registration_compares_nothing(bench) -> None:
    one, other = bench.blurred("a"), bench.blurred("b")
    outcome = compare(Side(one, {}), Side(other, {}), None, ())
    assert outcome.improved is None
    assert outcome.uncertain_fraction_before == one.uncertain_fraction.value
    assert not supersedes(one, other, None)


def test_an_instrument_that_failed_a_rescan_is_left_in_peace_for_a_while(bench) -> None:
    bench.blurred()
    with bench.store.write() as session:
        acts.report(session, bench.claims_in(session), "sem-1", "the stage hangs")
    second = bench.blurred("other", position_x_mm=5.0)
    assert second.decision.kind == "advised"
    assert "the instrument failed a rescan; it is asked again in" in second.decision.detail
    bench.rescans = RescanSettings(cool_down_s=0)
    assert bench.blurred("another", position_x_mm=6.0).decision.kind == "rescan"


def test_an_interrupted_rescan_is_decided_anew_at_once(bench) -> None:
    bench.blurred()
    with bench.store.write() as session:
        act_id = bench.claims_in(session)
        acts.report(session, act_id, "sem-1", f"{INTERRUPTED}: the gateway ended before a frame was taken")
    assert bench.act(act_id).ended_at is not None
    again = bench.blurred(position_x_mm=1.001)
    assert again.decision.kind == "rescan", again.decision.detail


def test_an_empty_frame_is_followed_by_another_place_and_both_count(bench) -> None:
    def at(x_mm: float, scene: int | None, **more) -> FrameMorphology:
        path = bench.frames.write(f"{uuid4()}.tif", scene=scene or 1, empty=scene is None)
        return bench.analyses(bench.frames.event(path, "s", position_x_mm=x_mm, **more))

    for number in range(5):
        at(3.0 + number, 20 + number)
    with bench.store.read() as session:
        (block,) = queries.sample_summary(session, "s").blocks
    empty = at(1.0, None)
    assert (empty.decision.kind, empty.decision.reasons) == ("rescan", (RescanReason.TOO_FEW,))
    wanted = bench.act(empty.decision.act_id).parameters
    assert (wanted.position_x_mm, wanted.position_y_mm) != (1.0, 2.0)
    with bench.store.write() as session:
        act_id = bench.claims_in(session)
    at(wanted.position_x_mm, 26, position_y_mm=wanted.position_y_mm, act_id=act_id, index=0)
    act = bench.act(act_id)
    outcome = act.outcome
    assert (act.state, outcome.improved) == (ActState.RESOLVED, None)
    low_um, high_um = block.sizes.number.all.d50_interval_95_um
    before = (high_um - low_um) / block.sizes.number.all.d50_um
    assert outcome.d50_interval_ratio_before == pytest.approx(before, rel=0.2), (
        "the empty frame came after it"
    )
    assert outcome.d50_interval_ratio_after is not None
    with bench.store.read() as session:
        assert queries.sample_summary(session, "s").frames == 7, "the empty frame stays in the sample"


def test_a_plan_that_goes_on_needs_no_other_place(bench) -> None:
    with bench.store.write() as session:
        acquisitions.request_acquisition(
            session,
            RequestAcquisition(
                request_id=uuid4(),
                sample_id="s",
                instrument_id="sem-1",
                plan=Plan(places=(Place(x_mm=1.0, y_mm=2.0), Place(x_mm=1.5, y_mm=2.0)), hfw_um=(80.0,)),
            ),
            stream=STREAM,
            settings=bench.rescans,
        )
    act_id = bench.claims()

    def frame(index: int) -> FrameMorphology:
        path = bench.frames.write(f"{index}.tif", empty=True)
        return bench.analyses(bench.frames.event(path, "s", act_id=act_id, index=index))

    going_on, last = frame(0), frame(1)
    assert (going_on.decision.kind, going_on.decision.reasons) == ("none", (RescanReason.TOO_FEW,))
    assert "its plan goes on" in going_on.decision.detail
    assert last.decision.kind == "rescan"
