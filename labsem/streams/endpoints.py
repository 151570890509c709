"""Addresses: tcp on loopback, nothing else until keys exist."""

from __future__ import annotations

import re
import time

import zmq

from labsem.streams.errors import EndpointError

_LOOPBACK = re.compile(r"tcp://(?:127\.0\.0\.1|localhost):([0-9]{1,5})")
_PREDECESSOR_S = 1.0  # ZeroMQ gives an address back only some time after its socket was closed


def loopback(endpoint: str) -> str:
    """Check an endpoint and spell it with its number, since ZeroMQ binds no host names.

    Raises
    ------
    EndpointError
        Where it is not ``tcp://127.0.0.1:PORT`` or ``tcp://localhost:PORT``. Port 0 means any free one and can
        only be bound.
    """
    match = _LOOPBACK.fullmatch(endpoint)
    if match is None or int(match[1]) > 65535:
        raise EndpointError(
            f"endpoint {endpoint!r} is refused: only tcp://127.0.0.1:PORT is bound or connected to; "
            "join two hosts by an SSH tunnel (ssh -L PORT:127.0.0.1:PORT HOST)"
        )
    return f"tcp://127.0.0.1:{int(match[1])}"


def bind(socket: zmq.Socket[bytes], endpoint: str) -> str:
    """Bind a socket and give the address that it got.

    Raises
    ------
    EndpointError
        Where the address is not loopback or is taken.
    """
    address = loopback(endpoint)
    deadline = time.monotonic() + _PREDECESSOR_S
    while True:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            raise EndpointError(
                f"cannot bind {address}: {error.strerror}; stop the service that holds it or choose another port"
            ) from error
        break
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def connect(socket: zmq.Socket[bytes], endpoint: str) -> str:
    """Connect a socket, whether or not somebody listens there yet.

    Raises
    ------
    EndpointError
        Where the address is not loopback, or its port is 0.
    """
    address = loopback(endpoint)
    if address.endswith(":0"):
        raise EndpointError(f"endpoint {endpoint!r} names no port to connect to; give the publisher's port")
    # A dead peer behind a tunnel closes no connection: ZMTP heartbeats find it within 15 s.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    socket.connect(address)
    return address
