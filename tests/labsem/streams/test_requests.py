"""Requests over real sockets: answers, refusals, repeats, timeouts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import zmq

from labsem import __version__
from labsem.store import NotFoundError
from labsem.streams import (
    EndpointError,
    RequestClient,
    RequestRefusedError,
    RequestServer,
    ServiceUnavailableError,
    Subscriber,
)
from schemas import requests
from schemas.requests import ErrorCode


class Desk:
    """Handlers that count, and one that waits for ``go``."""

    def __init__(self) -> None:
        self.acts: dict[UUID, UUID] = {}
        self.asked: list[object] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def claim(self, request: requests.Claim) -> requests.ActsAnswer:
        """The same claim gets the same answer, however often it is asked."""
        self.asked.append(request)
        self.acts.setdefault(request.claim_id, uuid4())
        return requests.ActsAnswer()

    def samples(self, request: requests.Samples) -> requests.SamplesAnswer:
        self.begun.set()
        self.go.wait(30)
        return requests.SamplesAnswer(samples=(), total=request.offset)

    def history(self, request: requests.History) -> requests.HistoryAnswer:
        raise NotFoundError(f"no sample {request.sample_id!r}; see labsem samples")

    def deny(self, request: requests.Deny) -> requests.ActsAnswer:
        raise RequestRefusedError(ErrorCode.CONFLICT, "it runs already")

    def approve(self, request: requests.Approve) -> requests.ActsAnswer:
        raise ZeroDivisionError("a fault of the handler")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.go.set()


@pytest.fixture
def server(desk, source) -> Iterator[RequestServer]:
    handlers = {
        requests.Claim: desk.claim,
        requests.Samples: desk.samples,
        requests.History: desk.history,
        requests.Deny: desk.deny,
        requests.Approve: desk.approve,
    }
    made = RequestServer(
        "tcp://127.0.0.1:0", service="desk", journals=[source.journal], handlers=handlers
    ).start()
    yield made
    desk.go.set()
    made.stop()


@pytest.fixture
def client(server) -> RequestClient:
    return RequestClient(server.endpoint, timeout_s=20, attempts=1)


def test_ping_tells_who_and_when(client, source):
    pong = client.ask(requests.Ping(), requests.Pong)
    assert (pong.service, pong.version, pong.epochs) == ("desk", __version__, {source.stream: source.epoch})


def test_a_repeated_request_gets_the_same(client, desk):
    request = requests.Claim(instrument_id="sem-1", claim_id=uuid4())
    assert client.ask(request, requests.ActsAnswer) == client.ask(request, requests.ActsAnswer)
    assert desk.asked == [request, request]
    assert len(desk.acts) == 1


def test_replay_in_pages_and_its_refusals(client, source):
    source.append(1, 2, 3, 4)
    epoch = source.epoch
    page = client.ask(
        requests.Replay(stream=source.stream, epoch=epoch, after=1, limit=2), requests.ReplayAnswer
    )
    assert (page.outcome, page.first, page.last, page.epoch) == ("messages", 1, 4, epoch)
    assert [json.loads(message.envelope)["sequence"] for message in page.messages] == [2, 3]
    assert page.messages[0].topic == "instrument-status//"
    beyond = client.ask(requests.Replay(stream=source.stream, epoch=epoch, after=9), requests.ReplayAnswer)
    assert (beyond.outcome, beyond.messages, beyond.last) == ("messages", (), 4)
    other = client.ask(requests.Replay(stream=source.stream, epoch=uuid4(), after=0), requests.ReplayAnswer)
    assert (other.outcome, other.epoch) == ("wrong_epoch", epoch)
    with pytest.raises(RequestRefusedError, match=f"'x' is not served here; served: {source.stream}"):
        client.ask(requests.Replay(stream="x", epoch=epoch, after=0), requests.ReplayAnswer)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (requests.History(sample_id="a"), ErrorCode.NOT_FOUND, "no sample 'a'; see labsem samples"),
        (requests.Deny(act_id=UUID(int=1)), ErrorCode.CONFLICT, "it runs already"),
        (
            requests.Approve(act_id=UUID(int=1)),
            ErrorCode.INTERNAL,
            "ZeroDivisionError while answering; see the log",
        ),
        (
            requests.Held(instrument_id="a"),
            ErrorCode.UNKNOWN_REQUEST,
            "'held' is not answered here; answered are",
        ),
    ],
    ids=lambda value: value.request if hasattr(value, "request") else None,
)
def test_a_refusal_has_a_code_and_a_reason_and_the_next_request_is_answered(client, request_, code, message):
    with pytest.raises(RequestRefusedError, match=message) as caught:
        client.ask(request_, requests.ActsAnswer)
    assert caught.value.code is code
    assert client.ask(requests.Ping(), requests.Pong).service == "desk"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([b"", b"not json"], "malformed"),
        ([b"", b"[1]"], "malformed"),
        ([b"", b'{"request": 5}'], "malformed"),
        ([b"", b'{"request": "claim"}'], "malformed"),
        ([b"", b'{"request": "claim", "instrument_id": 5, "claim_id": "x"}'], "malformed"),
        ([b"", b'{"request": "format_disk"}'], "unknown_request"),
        ([b"", b"\xff\xfe"], "malformed"),
        ([b"", b"a", b"b", b"{}"], "malformed"),
        ([b"not empty", b"{}"], "malformed"),
        ([b'{"request": "ping", "later": 1}'], None),
    ],
)
def test_a_malformed_request_gets_a_typed_error_and_the_next_is_answered(server, parts, code):
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        socket.connect(server.endpoint)
        socket.send_multipart(parts)
        assert socket.poll(20_000)
        answer = json.loads(socket.recv_multipart()[-1])
        assert answer["ok"] is (code is None)
        if code is not None:
            assert answer["error"]["code"] == code
        socket.send_multipart([b"", b'{"request": "ping"}'])
        assert socket.poll(20_000)
        assert json.loads(socket.recv_multipart()[-1])["result"]["service"] == "desk"


def test_a_slow_handler_delays_neither_ping_nor_replay(server, client, desk, source):
    results = []
    slow = threading.Thread(
        target=lambda: results.append(client.ask(requests.Samples(offset=3), requests.SamplesAnswer))
    )
    slow.start()
    assert desk.begun.wait(20)
    assert client.ask(requests.Ping(), requests.Pong).service == "desk"
    replay = requests.Replay(stream=source.stream, epoch=source.epoch, after=0)
    assert client.ask(replay, requests.ReplayAnswer).outcome == "messages"
    assert results == []
    desk.go.set()
    slow.join(20)
    assert results[0].total == 3


def test_without_an_answer_it_asks_again_with_a_limit():
    """A socket that hears and never answers: as many requests as attempts, each the same."""
    with zmq.Context.instance().socket(zmq.ROUTER) as deaf:
        port = deaf.bind_to_random_port("tcp://127.0.0.1")
        endpoint = f"tcp://127.0.0.1:{port}"
        request = requests.Claim(instrument_id="sem-1", claim_id=uuid4())
        with pytest.raises(
            ServiceUnavailableError, match=f"no answer from {endpoint} to 'claim'.*3 attempts"
        ) as caught:
            RequestClient(endpoint, timeout_s=0.3, attempts=3).ask(request, requests.ActsAnswer)
        assert caught.value.endpoint == endpoint
        bodies = [deaf.recv_multipart()[-1] for _ in range(3) if deaf.poll(5000)]
        assert bodies == [request.to_bytes()] * 3


def test_a_service_that_starts_later_answers_the_request_that_waits(source):
    source.start()
    source.stop()
    answers = []
    client = RequestClient(source.requests, timeout_s=20, attempts=1)
    asking = threading.Thread(target=lambda: answers.append(client.ask(requests.Ping(), requests.Pong)))
    asking.start()
    source.start()
    asking.join(20)
    assert answers[0].service == "source"


def test_an_answer_of_another_kind_is_refused(client):
    with pytest.raises(RequestRefusedError, match="not a SamplesAnswer of this version"):
        client.ask(requests.Ping(), requests.SamplesAnswer)


def test_only_loopback_is_asked():
    with pytest.raises(EndpointError, match="SSH tunnel"):
        RequestClient("tcp://sem-pc:5611")
    with pytest.raises(EndpointError, match="names no port"):
        RequestClient("tcp://127.0.0.1:0").ask(requests.Ping(), requests.Pong)
    with pytest.raises(EndpointError, match="SSH tunnel"):
        RequestServer("tcp://*:5611", service="x").start()


def test_stopping_does_not_wait_for_a_replay_that_is_not_answered(reader, until):
    """The request socket is deaf; the subscriber is asked to stop amid its first question."""
    with zmq.Context.instance().socket(zmq.ROUTER) as deaf:
        port = deaf.bind_to_random_port("tcp://127.0.0.1")
        subscriber = Subscriber(
            "x", "tcp://127.0.0.1:1", f"tcp://127.0.0.1:{port}", reader.cursors, reader.take
        ).start()
        assert deaf.poll(20_000)
        subscriber.stop(timeout_s=4.0)  # the question itself waits for 5 s
        assert not subscriber.alive
        assert subscriber.failure is None
