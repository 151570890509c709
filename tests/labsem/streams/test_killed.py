"""Processes that are killed: what was committed reaches the subscriber's database once, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("publishing_process.py")


@contextmanager
def publishing(folder: Path, source, last: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), source.events, source.requests, str(last)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def addresses(source):
    """Two free ports that outlive the processes which bind them in turn."""
    source.start()
    source.stop()
    return source


def test_a_publisher_killed_amid_its_messages(addresses, tmp_path, reader, until):
    with reader.subscriber(addresses) as subscriber:
        with publishing(tmp_path, addresses, last=100_000):
            until(lambda: len(reader) > 20, 60)
        committed = addresses.journal.bounds().last
        assert committed < 100_000
        with publishing(tmp_path, addresses, last=committed + 50):
            until(lambda: len(reader) >= committed + 50, 60)
        assert subscriber.alive
    assert reader.numbers == list(range(1, committed + 51))
    assert reader.gaps == []
    assert reader.garbage == []


def test_a_subscriber_killed_amid_its_messages(source, reader, until):
    """The child dies amid 2000 messages, and another goes on with its database."""
    source.start()
    source.append(*range(1, 2001))
    script = (
        "import sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('bench', r'{Path(__file__).with_name('conftest.py')}')\n"
        "bench = u.module_from_spec(spec); spec.loader.exec_module(bench)\n"
        "class Where: events, requests = sys.argv[2:4]\n"
        "reader = bench.Reader(bench.Path(sys.argv[1]))\n"
        "with reader.subscriber(Where): sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(reader.path), source.events, source.requests],
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        until(lambda: len(reader) > 50, 60)
    finally:
        child.kill()
        child.communicate()
    source.append(2001)
    with reader.subscriber(source):
        until(lambda: len(reader) > 2000, 60)
    assert reader.numbers == list(range(1, 2002))
    assert reader.gaps == []
