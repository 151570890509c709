"""The holder's map: a place has one sample at most."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.holder import Holder, Slot
from schemas.plans import Place


def slot(name="A1", sample="s-1", x=0.0, y=0.0, radius=6.0) -> Slot:
    return Slot(slot=name, sample_id=sample, x_mm=x, y_mm=y, radius_mm=radius)


def test_a_place_belongs_to_the_slot_that_it_lies_on():
    holder = Holder(slots=(slot(), slot("A2", "s-2", 15.0)))
    assert holder.at(Place(x_mm=5.9, y_mm=0)).slot == "A1"
    assert holder.at(Place(x_mm=10.0, y_mm=0)).slot == "A2"
    assert holder.at(Place(x_mm=7.5, y_mm=0)) is None
    assert [each.slot for each in holder.of("s-2")] == ["A2"]


def test_slots_of_two_samples_do_not_overlap():
    with pytest.raises(ValidationError, match="A1 and A2 overlap"):
        Holder(slots=(slot(), slot("A2", "s-2", 11.0)))
    assert len(Holder(slots=(slot(), slot("A2", "s-1", 11.0))).slots) == 2
    with pytest.raises(ValidationError, match="comes once"):
        Holder(slots=(slot(), slot("A1", "s-2", 20.0)))
