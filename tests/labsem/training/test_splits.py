"""The committed splits, and that they are what their functions make of the published metadata."""

from __future__ import annotations

import csv

import pytest

from labsem.training.splits import (
    EMPS_NEAR_DUPLICATES,
    PARTS,
    Split,
    SplitError,
    load_split,
    make_emps_split,
    make_powders_split,
    split_of,
)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(("name", "sizes"), [("emps", (238, 55, 73)), ("powders", (55, 16, 22))])
def test_sizes(name, sizes):
    split = load_split(name)
    assert tuple(len(split.part(part)) for part in PARTS) == sizes
    assert len(split.ids) == sum(sizes)


def test_near_duplicates_share_a_side():
    split = load_split("emps")
    assert any(set(EMPS_NEAR_DUPLICATES) <= set(split.part(part)) for part in PARTS)


def test_emps_split_is_made_again(shared):
    rows = rows_of(shared / "data" / "emps" / "metadata.csv")
    assert make_emps_split(rows) == load_split("emps")
    assert make_emps_split(reversed(rows)) == load_split("emps")
    assert make_emps_split(rows, seed=1) != load_split("emps")


def test_emps_strata_keep_their_proportions(shared):
    rows = rows_of(shared / "data" / "emps" / "metadata.csv")
    split = load_split("emps")

    def stratum(row):
        scale = "none" if not row["hfw_um"] else "high" if float(row["hfw_um"]) < 50 else "low"
        return row["modality"], scale

    for name in {stratum(row) for row in rows}:
        members = {row["id"] for row in rows if stratum(row) == name}
        for part, share in zip(PARTS, (0.65, 0.15, 0.20), strict=True):
            assert abs(len(members & set(split.part(part))) - share * len(members)) <= 2


def test_powders_split_is_made_again_and_parts_no_powder(shared):
    rows = rows_of(shared / "data" / "powders" / "metadata.csv")
    split = load_split("powders")
    assert make_powders_split(rows) == split
    powders = [{row["powder"] for row in rows if row["id"] in split.part(part)} for part in PARTS]
    assert powders[1:] == [{"S01", "RHA"}, {"Rec-Cu-Ni", "S03", "S05"}]
    assert not powders[0] & (powders[1] | powders[2])


def test_a_split_is_recognised_by_its_ids():
    split = load_split("powders")
    assert split_of(split.test) == ("powders", split)
    with pytest.raises(SplitError, match="no split lists these 2 images"):
        split_of([split.test[0], "elsewhere"])
    with pytest.raises(SplitError, match="no split lists these 0 images"):
        split_of([])


def test_unknown_names():
    with pytest.raises(SplitError, match="'ampis' is none of emps, powders"):
        load_split("ampis")
    with pytest.raises(SplitError, match="'tets' is none of train, validation, test"):
        load_split("emps").part("tets")


def test_an_image_in_two_parts_is_refused():
    with pytest.raises(SplitError, match="twice"):
        Split(("a",), ("b",), ("a",))
