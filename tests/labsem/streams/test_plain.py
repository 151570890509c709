"""A lab's own publisher of bare JSON."""

from __future__ import annotations

import socket as sockets

import pytest
import zmq

from labsem.streams import EndpointError, PlainSubscriber

EVENT = b'{"sample_id": "a", "image_root": "r", "path": "a.tif"}'


@pytest.fixture
def got():
    return []


def test_with_and_without_a_topic_from_a_publisher_that_binds(got, until):
    garbage = []
    with zmq.Context.instance().socket(zmq.XPUB) as publisher:
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        with PlainSubscriber(
            "lab", f"tcp://localhost:{port}", got.append, on_garbage=lambda *what: garbage.append(what)
        ) as subscriber:
            assert publisher.recv() == b"\x01"
            for parts in (
                [EVENT],
                [b"images", EVENT],
                [b"not json"],
                [b"images", b"[1]"],
                [b"a", b"b", EVENT],
                [b"images", b"\xff"],
                [b"[" * 100_000],
                [EVENT],
            ):
                publisher.send_multipart(parts)
            until(lambda: len(got) == 3)
            assert subscriber.alive
    assert got == [EVENT] * 3
    assert [parts for parts, _ in garbage] == [
        [b"not json"],
        [b"images", b"[1]"],
        [b"a", b"b", EVENT],
        [b"images", b"\xff"],
        [b"[" * 100_000],
    ]
    assert all(reason.startswith("not a plain image event: ") for _, reason in garbage)
    assert "3 parts in place of one JSON frame" in garbage[2][1]


def test_a_publisher_that_connects(got, until):
    with (
        PlainSubscriber("lab", "tcp://127.0.0.1:0", got.append, bind=True) as subscriber,
        zmq.Context.instance().socket(zmq.XPUB) as publisher,
    ):
        publisher.connect(subscriber.endpoint)
        assert publisher.recv() == b"\x01"
        publisher.send(EVENT)
        until(lambda: got == [EVENT])


def test_a_publisher_that_starts_later(got, until):
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        PlainSubscriber("lab", f"tcp://127.0.0.1:{port}", got.append),
        zmq.Context.instance().socket(zmq.XPUB) as publisher,
    ):
        publisher.bind(f"tcp://127.0.0.1:{port}")
        assert publisher.recv() == b"\x01"
        publisher.send(EVENT)
        until(lambda: got == [EVENT])


def test_a_transient_error_has_the_message_tried_again_and_another_ends_the_thread(got, until):
    errors = [TimeoutError("busy"), TimeoutError("busy")]

    def take(raw: bytes) -> None:
        if errors:
            raise errors.pop()
        got.append(raw)

    with (
        PlainSubscriber("lab", "tcp://127.0.0.1:0", take, bind=True, transient=(TimeoutError,)) as subscriber,
        zmq.Context.instance().socket(zmq.XPUB) as publisher,
    ):
        publisher.connect(subscriber.endpoint)
        assert publisher.recv() == b"\x01"
        publisher.send(EVENT)
        until(lambda: got == [EVENT])
        errors.append(KeyError("a fault"))
        publisher.send(EVENT)
        until(lambda: not subscriber.alive)
        assert isinstance(subscriber.failure, KeyError)


def test_only_loopback():
    with pytest.raises(EndpointError, match="SSH tunnel"):
        PlainSubscriber("lab", "tcp://10.0.0.2:5555", print)
