"""Gateways and daemons as processes that a test kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.settings import (
    DaemonSettings,
    InstrumentSettings,
    RescanSettings,
    Settings,
    SourceSettings,
)

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ends:
    """Settings files of a gateway and a daemon without a folder in common, and the daemon's addresses."""

    gateway: Path
    daemon: Path
    events: str
    requests: str


def write_ends(folder: Path, *, options: dict[str, Any], rescans: RescanSettings) -> Ends:
    """The two ends under a folder, on addresses that are free; ``options`` are the virtual microscope's."""
    events, requests, daemon_events, daemon_requests = free_ports(4)
    gateway = Settings(
        data_dir=folder / "gateway",
        instrument=InstrumentSettings(
            events=events,
            requests=requests,
            daemon_events=daemon_events,
            daemon_requests=daemon_requests,
            options=options,
        ),
    )
    daemon = Settings(
        data_dir=folder / "daemon",
        sources=(SourceSettings(name="gateway.virtual-1", events=events, requests=requests),),
        daemon=DaemonSettings(
            stream="analysis.test",
            events=daemon_events,
            requests=daemon_requests,
            settle_after_s=1.0,
            lease_s=5.0,
        ),
        rescans=rescans,
    )
    files = []
    for settings in (gateway, daemon):
        settings.data_dir.mkdir()
        files.append(settings.data_dir / "settings.json")
        files[-1].write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    return Ends(*files, daemon_events, daemon_requests)


def wait_until(met: Callable[[], bool], what: str, patience_s: float = 180.0, every_s: float = 0.1) -> None:
    """Wait for it; AssertionError where it does not come about in time."""
    deadline = time.monotonic() + patience_s
    while not met():
        assert time.monotonic() < deadline, f"{what} did not come about in time"
        time.sleep(every_s)


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
