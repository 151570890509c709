"""The planner's client against a daemon's two sockets, with a real journal behind them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog

from labsem.client import Labsem, RequestRefusedError, ServiceUnavailableError, StreamError, WaitTimeoutError
from labsem.store import NotFoundError, Store, journal
from labsem.streams import Publisher, RequestServer
from labsem.streams.stored import StoreJournal
from schemas import requests
from schemas.acts import Act, ActChanged, ActKind, ActState, RescanParameters
from schemas.base import Schema, utc_now
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState

ROOT = Path(__file__).resolve().parents[2]
STREAM = "analysis.test"


def frame(sample_id: str = "a") -> FrameMorphology:
    golden = ROOT / "tests" / "schemas" / "golden" / "labsem.frame-morphology.1.json"
    known = FrameMorphology.read(golden.read_bytes())
    return known.model_copy(update={"frame_id": uuid4(), "sample_id": sample_id})


def sample(sample_id: str = "a", revision: int = 1, state: str = "collecting") -> SampleMorphology:
    return SampleMorphology(
        sample_id=sample_id,
        sample_revision=revision,
        state=SampleState(state),
        frames_pending=0 if state == "settled" else 1,
        acts_open=0,
        frames=revision,
    )


def an_act(act_id: UUID, state: ActState = ActState.REQUESTED, **changes: object) -> Act:
    return Act(
        **{
            "act_id": act_id,
            "kind": ActKind.RESCAN,
            "sample_id": "a",
            "instrument_id": "sem-1",
            "state": state,
            "revision": 1,
            "created_at": utc_now(),
            **changes,
        }
    )


class Daemon:
    """What a client sees of the daemon: a journal that is published, and answers from a few tables."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(f"sqlite:///{path.as_posix()}")
        self.journal = StoreJournal(self.store, STREAM)
        self.events = self.requests = "tcp://127.0.0.1:0"
        self.summaries: dict[str, SampleMorphology] = {}
        self.acts: list[Act] = []
        self.asked: list[Schema] = []
        self.asked_history = threading.Event()

    def start(self) -> None:
        self.server = RequestServer(
            self.requests,
            service="daemon",
            journals=[self.journal],
            handlers={
                requests.History: self.history,
                requests.Samples: self.keep(requests.SamplesAnswer(samples=(), total=0)),
                requests.Frame: self.keep(
                    requests.FrameAnswer(morphology=frame(), image_root="r", path="p", sha256="0" * 64)
                ),
                requests.RequestRescan: self.rescan,
                requests.Approve: self.move(ActState.APPROVED),
                requests.Deny: self.move(ActState.DENIED),
                requests.Cancel: self.move(ActState.CANCELLED),
            },
        ).start()
        self.publisher = Publisher(self.journal, self.events, poll_s=0.02, heartbeat_s=0.1).start()
        self.events, self.requests = self.publisher.endpoint, self.server.endpoint

    def stop(self) -> None:
        self.publisher.stop()
        self.server.stop()

    def publish(self, *payloads: Schema) -> None:
        with self.store.write() as session:
            for payload in payloads:
                journal.append(session, STREAM, payload)

    def history(self, request: requests.History) -> requests.HistoryAnswer:
        self.asked.append(request)
        self.asked_history.set()
        if request.sample_id not in self.summaries:
            raise NotFoundError(f"sample {request.sample_id!r} is not known")
        return requests.HistoryAnswer(
            sample=self.summaries[request.sample_id], frames=(), frames_total=0, acts=tuple(self.acts)
        )

    def keep(self, answer: Schema) -> Callable[[Schema], Schema]:
        def handler(request: Schema) -> Schema:
            self.asked.append(request)
            return answer

        return handler

    def rescan(self, request: requests.RequestRescan) -> requests.ActsAnswer:
        self.asked.append(request)
        return requests.ActsAnswer(acts=(an_act(request.request_id, labels=request.labels),))

    def move(self, state: ActState) -> Callable[[requests.Approve], requests.ActsAnswer]:
        def handler(request: requests.Approve) -> requests.ActsAnswer:
            return requests.ActsAnswer(
                acts=(an_act(request.act_id, state, failure=getattr(request, "reason", None)),)
            )

        return handler


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to be copied: making them takes a tenth of a second."""
    path = tmp_path_factory.mktemp("empty") / "empty.sqlite"
    Store.open(f"sqlite:///{path.as_posix()}").close()
    return path


@pytest.fixture
def daemon(tmp_path: Path, empty_store: Path) -> Iterator[Daemon]:
    made = Daemon(shutil.copy(empty_store, tmp_path / "daemon.sqlite"))
    made.start()
    yield made
    made.stop()
    made.store.close()


@pytest.fixture
def lab(daemon: Daemon) -> Iterator[Labsem]:
    with Labsem(daemon.events, daemon.requests, timeout_s=20, attempts=1) as made:
        yield made


def revisions(items: list[Schema]) -> list[int]:
    return [item.sample_revision for item in items if isinstance(item, SampleMorphology)]


def test_importing_it_needs_neither_torch_nor_a_database():
    script = (
        "import sys, labsem.client\n"
        "heavy = {'torch', 'torchvision', 'timm', 'sqlalchemy', 'scipy', 'skimage', 'matplotlib'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_follow_gives_what_was_and_what_comes_by_kind_and_sample(daemon, lab):
    act = ActChanged(
        act_id=uuid4(),
        kind=ActKind.RESCAN,
        sample_id="a",
        instrument_id="i",
        state=ActState.APPROVED,
        revision=1,
    )
    first = frame("a")
    daemon.publish(first, sample("a", 1), frame("b"), sample("b", 1), act)
    with lab.follow(["a"], timeout_s=20) as follower:
        assert next(follower) == first
        assert next(follower) == sample("a", 1)
        daemon.publish(sample("b", 2), sample("a", 2))
        assert next(follower) == sample("a", 2)
        assert follower.gaps == []
    with lab.follow(kinds=[ActChanged], name="acts", timeout_s=20) as follower:
        assert next(follower) == act


def test_a_lower_revision_is_left_out(daemon, lab):
    daemon.publish(*(sample("a", revision) for revision in (1, 3, 2, 3, 4)), sample("b", 1))
    with lab.follow(timeout_s=20) as follower:
        items = [next(follower) for _ in range(5)]
    assert revisions(items) == [1, 3, 3, 4, 1]


def test_it_resumes_where_it_stopped_and_gives_again_what_was_in_hand(daemon, tmp_path):
    daemon.publish(*(sample("a", revision) for revision in range(1, 7)))

    def run(count: int, acknowledge: bool = False) -> list[int]:
        with (
            Labsem(daemon.events, daemon.requests, cursor_file=tmp_path / "new" / "planner.sqlite") as lab,
            lab.follow(timeout_s=20) as follower,
        ):
            items = [next(follower) for _ in range(count)]
            if acknowledge:
                follower.acknowledge()
        return revisions(items)

    assert run(3) == [1, 2, 3]
    assert run(2, acknowledge=True) == [3, 4]
    assert run(2) == [5, 6]


def test_start_now_leaves_out_what_was(daemon, lab):
    daemon.publish(sample("a", 1))
    with lab.follow(start="now", timeout_s=20) as follower:
        assert follower.wait_ready(20)
        daemon.publish(sample("a", 2))
        assert revisions([next(follower)]) == [2]


def test_the_iteration_ends_when_nothing_comes(daemon, lab):
    daemon.publish(sample("a", 1))
    with lab.follow(timeout_s=20) as follower:
        assert revisions([next(follower)]) == [1]
        assert follower.take(timeout_s=0.05) is None
    assert list(follower) == []
    with pytest.raises(StreamError, match="was closed"):
        follower.take()


def test_two_followers_need_two_names_and_kinds_are_events(lab):
    with lab.follow(), pytest.raises(StreamError, match="'follow' is open"):
        lab.follow()
    lab.follow().close()
    with pytest.raises(ValueError, match=r"RescanParameters.*choose among ImageAcquired"):
        lab.follow(kinds=[RescanParameters])
    with pytest.raises(StreamError, match="cursor file"):
        Labsem(cursor_file=Path(__file__))


def test_a_restarted_daemon_is_followed_on(daemon, lab):
    daemon.publish(sample("a", 1))
    with lab.follow(timeout_s=30) as follower:
        assert revisions([next(follower)]) == [1]
        daemon.stop()
        daemon.publish(sample("a", 2))
        daemon.start()
        daemon.publish(sample("a", 3))
        assert revisions([next(follower), next(follower)]) == [2, 3]


def test_following_and_waiting_by_asyncio_without_add_reader(daemon, lab, monkeypatch):
    """The default loop of Windows has none; cancelling ends a wait."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", refuse)
    daemon.publish(sample("a", 1), sample("a", 2))
    daemon.summaries["a"] = sample("a", 2, "settled")

    async def main() -> list[Schema]:
        items = []
        stream = lab.afollow(timeout_s=20)
        async for item in stream:
            items.append(item)
            if len(items) == 2:
                break
        await stream.aclose()
        assert [item async for item in lab.afollow(timeout_s=0.01, start="now", name="other")] == []
        items.append(await lab.await_sample("a", 20))
        items.append((await lab.await_history("a")).sample)
        waiting = asyncio.create_task(lab.await_sample("unknown", 600))
        await asyncio.to_thread(daemon.asked_history.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        act = await lab.await_rescan(uuid4(), labels=["x"])
        assert act.labels == ("x",)
        return items

    assert revisions(asyncio.run(main())) == [1, 2, 2, 2]


def test_wait_returns_at_once_where_it_is_settled(daemon, lab):
    daemon.summaries["a"] = sample("a", 5, "settled")
    assert lab.wait("a", 20) == sample("a", 5, "settled")


def test_wait_for_a_sample_that_is_not_known_yet(daemon, lab):
    settled = []
    waiting = threading.Thread(target=lambda: settled.append(lab.wait("a", 30)))
    waiting.start()
    assert daemon.asked_history.wait(20)
    # The message may come before the follower listens; then the daemon is asked again.
    daemon.summaries["a"] = sample("a", 3, "settled")
    daemon.publish(sample("a", 1), sample("b", 2, "settled"), sample("a", 3, "settled"))
    waiting.join(30)
    assert settled == [sample("a", 3, "settled")]


def test_wait_outlives_a_restart_of_the_daemon(daemon, lab):
    """It begins without a daemon, meets it, loses it, and gets what it published first of all after its return."""
    daemon.summaries["a"] = sample("a", 1)
    daemon.stop()
    settled = []
    waiting = threading.Thread(target=lambda: settled.append(lab.wait("a", 60)))
    waiting.start()
    daemon.start()
    assert daemon.asked_history.wait(20)
    daemon.stop()
    daemon.publish(sample("a", 2), sample("a", 3, "settled"))
    daemon.summaries["a"] = sample("a", 3, "settled")
    daemon.start()
    waiting.join(60)
    assert settled == [sample("a", 3, "settled")]


def test_wait_for_more_than_was_settled_before(daemon, lab):
    daemon.summaries["a"] = sample("a", 5, "settled")
    with pytest.raises(WaitTimeoutError):
        lab.wait("a", 0.3, after_revision=5)
    daemon.summaries["a"] = sample("a", 6, "settled")
    assert lab.wait("a", 20, after_revision=5).sample_revision == 6


def test_wait_says_what_it_knows_when_time_is_up(daemon, lab):
    daemon.summaries["a"] = sample("a", 2)
    with pytest.raises(
        WaitTimeoutError, match="collecting with 2 frames analysed, 1 pending and 0 acts open"
    ) as caught:
        lab.wait("a", 1.0)
    assert caught.value.summary == sample("a", 2)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(WaitTimeoutError, match=r"nothing is known of it \(sample 'x' is not known\)"):
        lab.wait("x", 1.0)


def test_wait_without_a_daemon_names_the_address():
    with Labsem("tcp://127.0.0.1:1", "tcp://127.0.0.1:2") as lab:
        with pytest.raises(WaitTimeoutError, match=r"no answer from tcp://127\.0\.0\.1:2"):
            lab.wait("a", 0.5)
        with pytest.raises(ServiceUnavailableError, match="check that the service runs"):
            Labsem("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", timeout_s=0.05).samples()


def test_each_question_is_sent_and_answered(daemon, lab):
    acquisition = an_act(uuid4(), kind=ActKind.ACQUISITION)
    rescan = an_act(uuid4())
    daemon.acts = [acquisition, rescan]
    daemon.summaries["a"] = sample("a", 2)
    assert lab.history("a", limit=5, offset=1).sample == sample("a", 2)
    assert daemon.asked[-1] == requests.History(sample_id="a", limit=5, offset=1)
    assert lab.rescans("a") == (rescan,)
    assert lab.samples(limit=7).total == 0
    assert daemon.asked[-1] == requests.Samples(limit=7)
    number = uuid4()
    assert lab.frame(str(number)).image_root == "r"
    assert daemon.asked[-1] == requests.Frame(frame_id=number)
    with pytest.raises(RequestRefusedError, match="not_found: sample 'x' is not known"):
        lab.history("x")


def test_acts_are_asked_for_and_decided_on(daemon, lab):
    number, request_id = uuid4(), uuid4()
    parameters = RescanParameters(autofocus=True, dwell_time_ns=900.0)
    act = lab.request_rescan(number, parameters, labels=["trial-1"], request_id=request_id)
    assert (act.act_id, act.labels) == (request_id, ("trial-1",))
    assert daemon.asked[-1] == requests.RequestRescan(
        request_id=request_id, frame_id=number, parameters=parameters, labels=("trial-1",)
    )
    assert lab.request_rescan(number).act_id != lab.request_rescan(number).act_id
    assert lab.approve(act.act_id).state is ActState.APPROVED
    denied = lab.deny(str(act.act_id), reason="no beam time")
    assert (denied.state, denied.failure) == (ActState.DENIED, "no beam time")
    assert lab.cancel(act.act_id).state is ActState.CANCELLED


@pytest.mark.parametrize(("ahead_s", "warned"), [(0.0, False), (30.0, True), (-30.0, True)])
def test_a_clock_that_differs_is_reported(daemon, lab, monkeypatch, ahead_s, warned):
    real = utc_now
    monkeypatch.setattr("labsem.streams.server.utc_now", lambda: real() + timedelta(seconds=ahead_s))
    with structlog.testing.capture_logs() as logs:
        status = lab.ping()
    assert status.service == "daemon"
    assert abs(status.clock_skew_s - ahead_s) < 15
    if warned:
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["clocks differ"]
