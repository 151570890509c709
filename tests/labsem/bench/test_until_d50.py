"""The bench of ending at a look: it ends at looks, and says what was true."""

from __future__ import annotations

import pytest

from labsem.bench.until_d50 import bench_until_d50, run_until
from labsem.morphology.looks import is_look


def test_a_run_ends_at_a_look_or_with_the_grid():
    result = bench_until_d50(2, seed=1)
    for row in result.rows:
        assert is_look(row.frames) or row.frames == 288
        assert row.reached == (row.frames != 288)
        assert row.covered == (row.interval_um[0] <= row.true_d50_um <= row.interval_um[1])
        assert row.d50_um == pytest.approx(row.true_d50_um, rel=0.1)
    assert run_until(result.rows[0].seed, 0.9).frames == 15


@pytest.mark.slow
def test_two_hundred_runs_keep_what_the_interval_promises():
    result = bench_until_d50(200, seed=2)
    assert result.covered >= 180
    assert result.frames_median < 200
