"""Plans: frames in order, and grids of neighbouring fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.plans import Place, Plan, grid

HERE = Place(x_mm=1.0, y_mm=-2.0)


@given(st.integers(1, 7), st.integers(1, 4), st.sampled_from(["first", "each_place", "never"]))
def test_every_place_is_taken_at_every_width(places, widths, autofocus):
    plan = Plan(
        places=tuple(Place(x_mm=i, y_mm=0) for i in range(places)),
        hfw_um=tuple(10.0 * (k + 1) for k in range(widths)),
        autofocus=autofocus,
    )
    frames = [plan.frame(index) for index in range(plan.frames)]
    assert len({(place.x_mm, width) for place, width, _ in frames}) == places * widths
    assert [place.x_mm for place, _, _ in frames] == sorted(place.x_mm for place, _, _ in frames)
    focused = sum(focus for _, _, focus in frames)
    assert focused == {"first": 1, "each_place": places, "never": 0}[autofocus]
    for index in (-1, plan.frames):
        with pytest.raises(IndexError):
            plan.frame(index)


def test_a_grid_goes_to_and_fro_over_neighbouring_fields():
    places = grid(HERE, 3, 2, 80.0)
    assert [place.x_mm for place in places] == pytest.approx([0.92, 1.0, 1.08, 1.08, 1.0, 0.92])
    assert [place.y_mm for place in places] == pytest.approx([-2.025] * 3 + [-1.975] * 3)
    assert len(grid(HERE, 12, 24, 80.0)) == 288
    close = grid(HERE, 2, 1, 80.0, overlap=0.5)
    assert close[1].x_mm - close[0].x_mm == pytest.approx(0.04)


@pytest.mark.parametrize("arguments", [(0, 1, 80.0), (1, 20_000, 80.0), (2, 2, 0.0)])
def test_impossible_grids_are_refused(arguments):
    with pytest.raises(ValueError, match=r"give 1 x 1|over 0"):
        grid(HERE, *arguments)


@pytest.mark.parametrize(
    "change",
    [{"places": ()}, {"hfw_um": ()}, {"hfw_um": (0.0,)}, {"until_d50_within": 1.5}, {"autofocus": "often"}],
)
def test_impossible_plans_are_refused(change):
    with pytest.raises(ValidationError):
        Plan(**({"places": (HERE,), "hfw_um": (80.0,)} | change))
