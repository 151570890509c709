"""Sample ids from what a vendor's software leaves: valid, in the order asked for, never two samples in one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.naming import SampleNaming, sample_id_of


@pytest.mark.parametrize(
    ("options", "path", "label", "sample_id"),
    [
        ({}, "Run 7/image.tif", "TiO2-12", "TiO2-12"),
        ({}, "Run 7/image.tif", None, "Run_7"),
        ({}, "image.tif", "  ", "unnamed"),
        ({"sample_from": "file"}, "a/S12.tif", "other", "S12"),
        ({"sample_from": "folder,databar"}, "S12/x.tif", "other", "S12"),
        ({"sample_pattern": r"batch(?P<sample>\d+)_"}, "2026/batch42_003.tif", "other", "42"),
        ({"sample_pattern": r"batch(?P<sample>\d+)_"}, "2026/x.tif", "other", "other"),
        ({"sample_otherwise": "lost"}, "x.tif", None, "lost"),
    ],
)
def test_the_first_source_that_has_a_name_gives_it(options, path, label, sample_id):
    names = {"sample_from": "sources", "sample_pattern": "pattern", "sample_otherwise": "otherwise"}
    naming = SampleNaming(**{names[name]: value for name, value in options.items()})
    assert naming.name(path, label).sample_id == sample_id


def test_a_name_that_is_no_id_keeps_its_words_beside_it():
    named = SampleNaming("databar").name("x.tif", "Zr/Hf  (1:2)")
    assert named.name == "Zr/Hf (1:2)"
    assert re.fullmatch(r"Zr-Hf_-1-2--[0-9a-f]{6}", named.sample_id)


@given(st.text(min_size=1, max_size=300))
def test_an_id_is_always_valid_and_stays_itself(name):
    found = sample_id_of(name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found)
    assert sample_id_of(found) == found


@given(st.text("aB9 ./:é", min_size=1, max_size=80), st.text("aB9 ./:é", min_size=1, max_size=80))
def test_two_names_are_two_samples(one, other):
    one, other = (" ".join(name.split()) for name in (one, other))
    if one and other and one != other:
        assert sample_id_of(one) != sample_id_of(other)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("barcode",), "barcode"),
        (("",), "nothing"),
        (("pattern", "("), "no regular expression"),
        (("pattern", r"\d+"), "no group"),
        (("folder", "", "a b"), "no sample id"),
    ],
)
def test_what_cannot_be_used_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        SampleNaming(*options)
