"""Work that is shared out to processes."""

from __future__ import annotations

import operator
import os

import pytest

from services.workers import map_in_workers


def test_items_come_back_in_order_from_workers_that_start_once() -> None:
    """Workers can only import what is installed, so built-in functions stand for the work."""
    told = []
    found = map_in_workers(
        complex, range(12), start=os.getpid, processes=2, progress=lambda *done: told.append(done)
    )
    assert [each.imag for each in found] == list(range(12))
    workers = {int(each.real) for each in found}
    assert 1 <= len(workers) <= 2
    assert os.getpid() not in workers
    assert told == [(done, 12) for done in range(1, 13)]


def test_an_exception_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        map_in_workers(operator.truediv, [0, 0, 0], start=os.getpid, processes=1)
