"""A running daemon over real sockets, with a real worker process, on both databases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
import zmq

from labsem.client import Labsem, RequestRefusedError
from labsem.streams import RequestClient
from schemas.acts import ActState, RescanParameters
from schemas.image import Acquisition
from schemas.morphology import FrameMorphology, SampleMorphology, SampleState
from schemas.requests import ActsAnswer, Claim, ErrorCode

PATIENCE_S = 60


@pytest.fixture
def lab(loop):
    with Labsem(loop.ready.events, loop.ready.requests) as lab:
        yield lab


@pytest.fixture
def publish_plain(loop):
    """Ten lines of pyzmq, as in the README."""
    socket = zmq.Context.instance().socket(zmq.XPUB)  # a PUB that tells when it is subscribed to
    socket.connect(loop.plain)
    assert socket.poll(10_000)
    assert socket.recv() == b"\x01"

    def publish(*messages: dict | bytes) -> None:
        for message in messages:
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            socket.send_multipart([b"frame", raw])

    yield publish
    socket.close(linger=500)


def until(what: Callable[[], object], patience_s: float = PATIENCE_S) -> object:
    deadline = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return found


def rejected(loop, sample_id: str) -> dict[str, tuple[str, str]]:
    from labsem.store import Store, queries

    with Store.open(loop.daemon.settings.url, upgrade="never") as store, store.read() as session:
        lines = queries.rejected(session, limit=1000)
    return {line.path or "": (line.code, line.remedy) for line in lines if line.sample_id == sample_id}


def retry_all(loop) -> int:
    from labsem.store import Store
    from labsem.store.rejected import retry

    with Store.open(loop.daemon.settings.url, upgrade="never") as store, store.write() as session:
        return retry(session, None)


def test_a_plain_frame_reaches_the_planner_and_history_gives_its_numbers(loop, lab, publish_plain) -> None:
    path = loop.frames.write("plain.tif", scene=3)
    with lab.follow(["plain-1"], timeout_s=PATIENCE_S) as follower:
        message = {"sample_id": "plain-1", "image_root": "root", "path": path.name, "labels": ["trial 7"]}
        publish_plain(message, message)
        frame = next(follower)
        summary = next(follower)
    assert isinstance(frame, FrameMorphology)
    assert frame.particle_count == 20
    assert frame.instrument_id == "lab"
    assert frame.labels == ("trial 7",)
    assert frame.acquisition.pixel_size_nm == pytest.approx(200)
    assert frame.d50_number_all_um == pytest.approx(5.8, abs=1.2)
    assert set(frame.seconds) == {"reading", "segmentation", "measurement"}
    assert frame.decision.kind == "none"
    assert isinstance(summary, SampleMorphology)
    assert summary.frames == 1
    assert summary.blocks[0].particle_count == 20
    settled = lab.wait("plain-1", PATIENCE_S)
    assert settled.state is SampleState.SETTLED
    assert settled.sample_revision > summary.sample_revision
    history = lab.history("plain-1")
    assert history.frames_total == 1  # the second message was the same
    assert history.frames[0].morphology == frame
    assert history.sample == settled
    assert lab.frame(frame.frame_id).path == "plain.tif"


def test_what_cannot_be_analysed_is_rejected_and_the_daemon_goes_on(loop, lab, publish_plain) -> None:
    whole = loop.frames.write("whole.tif", scene=4)
    content = whole.read_bytes()
    (loop.frames.folder / "cut.tif").write_bytes(content[: len(content) // 2])
    (loop.frames.folder / "link.tif").symlink_to(loop.folder / "labsem.lock")
    (loop.folder / "labsem.lock").touch()
    base = {"sample_id": "bad-1", "image_root": "root"}
    publish_plain(
        b"not json at all",
        {"sample_id": "bad 1", "image_root": "root", "path": "x.tif"},
        base | {"path": "absent.tif"},
        base | {"path": "cut.tif"},
        base | {"path": "link.tif"},
        base | {"path": "whole.tif", "sha256": "0" * 64},
        base | {"path": "elsewhere.tif", "image_root": "nowhere"},
        base | {"path": "whole.tif"},
    )
    expected = {"absent.tif": "missing", "cut.tif": "truncated", "link.tif": "outside_root"} | {
        "whole.tif": "wrong_hash",
        "elsewhere.tif": "unknown_root",
    }
    until(lambda: {path: code for path, (code, _) in rejected(loop, "bad-1").items()} == expected)
    assert all(remedy for _, remedy in rejected(loop, "bad-1").values())
    until(lambda: _frames(lab, "bad-1") == 1)

    (loop.frames.folder / "absent.tif").write_bytes(content)
    (loop.frames.folder / "cut.tif").write_bytes(content)
    retry_all(loop)
    until(lambda: _frames(lab, "bad-1") == 3)
    until(lambda: set(rejected(loop, "bad-1")) == {"link.tif", "whole.tif", "elsewhere.tif"})


def test_a_gateways_bad_events_are_rejected_in_their_place(loop, lab) -> None:
    path = loop.frames.write("good.tif", scene=5)
    event = loop.frames.event(path, "events-1")
    changed = event.model_copy(update={"frame_id": uuid4(), "sha256": "1" * 64})
    short = event.model_copy(update={"frame_id": uuid4(), "size_bytes": 12})
    loop.gateway.publish(changed, short, event)
    until(lambda: _frames(lab, "events-1") == 1)
    until(lambda: lab.history("events-1").rejected == 2)
    with pytest.raises(RequestRefusedError) as refusal:
        lab.frame(changed.frame_id)
    assert refusal.value.code is ErrorCode.NOT_FOUND
    assert lab.frame(event.frame_id).morphology.instrument_id == event.instrument_id


def test_a_blurred_frame_is_taken_again_and_the_outcome_is_kept(loop, lab, status) -> None:
    blurred = loop.frames.write("blurred.tif", scene=6, blur_px=5.0)
    event = loop.frames.event(blurred, "rescan-1", labels=("trial 8",))
    loop.gateway.publish(status, event)
    until(lambda: lab.samples().samples and _open_acts(lab, "rescan-1"))
    act = lab.rescans("rescan-1")[0]
    assert act.state is ActState.APPROVED
    assert [reason.value for reason in act.reasons] == ["blurred"]
    assert act.labels == ("trial 8",)
    before = lab.frame(event.frame_id).morphology
    assert before.decision.kind == "rescan"
    assert before.decision.act_id == act.act_id

    client = RequestClient(loop.ready.requests)
    claim = Claim(instrument_id=event.instrument_id, claim_id=uuid4())
    claimed = client.ask(claim, ActsAnswer).acts[0]
    assert claimed.act_id == act.act_id
    assert client.ask(claim, ActsAnswer).acts == (claimed,)  # asked again, answered the same
    parameters: RescanParameters = claimed.parameters
    assert parameters.autofocus
    assert (parameters.position_x_mm, parameters.position_y_mm, parameters.hfw_um) == (1.0, 2.0, 80.0)

    sharp = loop.frames.write("sharp.tif", scene=6, seed=1)
    acquisition = Acquisition(pixel_size_nm=200, dwell_time_ns=400, frame_averages=4)
    answer = loop.frames.event(sharp, "rescan-1", act_id=act.act_id, index=0, acquisition=acquisition)
    loop.gateway.publish(answer)
    settled = lab.wait("rescan-1", PATIENCE_S)
    resolved = lab.rescans("rescan-1")[0]
    assert resolved.state is ActState.RESOLVED
    assert resolved.outcome is not None
    assert resolved.outcome.improved is True
    assert resolved.outcome.focus_after > resolved.outcome.focus_before
    assert resolved.outcome.overlap_fraction > 0.95
    assert resolved.outcome.shift_um < 0.5
    assert (resolved.frame_before, resolved.frame_after) == (event.frame_id, answer.frame_id)
    history = lab.history("rescan-1")
    assert [frame.superseded_by for frame in history.frames] == [answer.frame_id, None]
    assert settled.frames == 1
    assert settled.acts_open == 0
    assert "registration" in lab.frame(answer.frame_id).morphology.seconds


def _open_acts(lab: Labsem, sample_id: str) -> int:
    return next((row.acts_open for row in lab.samples().samples if row.sample_id == sample_id), 0)


def test_a_worker_that_is_killed_is_replaced_and_its_frame_analysed(loop, lab) -> None:
    import os
    import signal

    from labsem.store import Store, inbox

    path = loop.frames.write("large.tif", scene=7, scale=6)
    before = loop.ready.worker_pids()
    loop.gateway.publish(loop.frames.event(path, "killed-1"))
    with Store.open(loop.daemon.settings.url, upgrade="never") as store:

        def leased() -> bool:
            with store.read() as session:
                return inbox.counts(session).leased > 0

        until(leased)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: _frames(lab, "killed-1") == 1)
    assert loop.ready.worker_pids() != before
    assert lab.history("killed-1").rejected == 0


def _frames(lab: Labsem, sample_id: str) -> int:
    return next((row.frames for row in lab.samples().samples if row.sample_id == sample_id), 0)
