"""Work that is shared out to processes."""

from __future__ import annotations

import os
import time

import pytest

from services.workers import map_in_workers


def start() -> int:
    return os.getpid()


def name(started: int, item: int) -> tuple[int, int]:
    assert started == os.getpid()
    time.sleep(0.05)
    return item, started


def refuse(_started: int, item: int) -> None:
    raise ValueError(f"not {item}")


def test_items_come_back_in_order_from_workers_that_start_once() -> None:
    told = []
    found = map_in_workers(
        name, range(12), start=start, processes=2, progress=lambda *done: told.append(done)
    )
    assert [item for item, _ in found] == list(range(12))
    assert 1 <= len({worker for _, worker in found}) <= 2
    assert os.getpid() not in {worker for _, worker in found}
    assert told == [(done, 12) for done in range(1, 13)]


def test_an_exception_ends_it() -> None:
    with pytest.raises(ValueError, match="not 3"):
        map_in_workers(refuse, [3, 3, 3], start=start, processes=1)
