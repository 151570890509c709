"""Gateways and daemons as processes that a test kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def free_ports(count: int) -> list[str]:
    """Addresses on loopback that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_gateway(settings: Path) -> subprocess.Popen[str]:
    """A gateway of a settings file (JSON), once it is ready."""
    return _start("gateway_process.py", settings)


def start_daemon(settings: Path) -> subprocess.Popen[str]:
    """A daemon with the segmenter ``otsu``, once it is ready."""
    return _start("daemon_process.py", settings)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait for its end."""
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def _start(program: str, settings: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / program), str(settings)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    while line := process.stdout.readline():
        if line.startswith(("ready", "[")):
            return process
    raise AssertionError(f"{program} ended with {process.wait(30)} before it was ready")
