"""What version 1 wrote is read for ever: the files of golden/ are never edited, only added to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.registry import EVENTS, OTHERS

GOLDEN = Path(__file__).parent / "golden"
MODELS = {**EVENTS, **OTHERS}


def assert_within(old: object, new: object, where: str = "") -> None:
    """All that the old JSON says is said by the new one, which may say more."""
    if isinstance(old, dict):
        assert isinstance(new, dict), where
        for name, value in old.items():
            assert name in new, f"{where}.{name}"
            assert_within(value, new[name], f"{where}.{name}")
    elif isinstance(old, list):
        assert isinstance(new, list), where
        assert len(old) == len(new), where
        for index, (value, other) in enumerate(zip(old, new, strict=True)):
            assert_within(value, other, f"{where}[{index}]")
    else:
        assert old == new, where


def test_each_schema_has_a_golden_file():
    assert {path.name for path in GOLDEN.glob("*.json")} >= {
        f"{schema_id.replace('/', '.')}.json" for schema_id in MODELS
    }


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_golden_file_is_read_and_written_as_it_was(path):
    name, _, major = path.stem.rpartition(".")
    raw = path.read_bytes()
    model = MODELS[f"{name}/{major}"]
    assert_within(json.loads(raw), json.loads(model.read(raw).to_bytes()), name)


def test_the_comparison_sees_a_lost_field_and_a_changed_value():
    for new in ({"a": {"b": 1}}, {"a": {"b": 1, "c": 3}}, {"a": [1]}):
        with pytest.raises(AssertionError):
            assert_within({"a": {"b": 1, "c": 2}}, new)
