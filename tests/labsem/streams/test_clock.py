"""A slow answer is no skew."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from labsem.streams.clock import clock_skew_s

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.floats(0, 60), st.floats(0, 1), st.floats(-1000, 1000))
def test_the_least_skew_that_explains_the_answer(trip_s: float, read_at: float, skew_s: float) -> None:
    clock = START + timedelta(seconds=trip_s * read_at + skew_s)
    found = clock_skew_s(START, clock, START + timedelta(seconds=trip_s))
    assert abs(found) <= abs(skew_s) + 1e-5
    assert abs(found - skew_s) <= trip_s + 1e-5
    if found:
        assert (found > 0) == (skew_s > 0)
