"""The bench of registration: pairs of one place are found, other places are not."""

from __future__ import annotations

import pytest

from labsem.bench.registration import HFW_RATIO, ROTATION_DEG, bench_registration


def test_pairs_of_one_place_are_found_and_others_are_not():
    told = []
    result = bench_registration(2, seed=2, progress=lambda done, total: told.append((done, total)))
    assert result.clear == 2
    assert result.within == result.clear
    assert result.false_clear == 0
    assert told[0] == (0, 2)
    assert {row.regime for row in result.rows} == {"low", "high"}
    assert all(1 / HFW_RATIO <= row.hfw_ratio <= HFW_RATIO for row in result.rows)
    assert max(abs(row.rotation_deg) for row in result.rows) <= ROTATION_DEG


@pytest.mark.slow
def test_a_hundred_pairs():
    result = bench_registration(100, seed=11)
    assert result.clear >= 90
    assert result.within == result.clear
    assert result.false_clear <= 2
