"""The example of docs/drivers.md is a driver that keeps to the protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "drivers.md"


def code(marker: str) -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", text, re.DOTALL).group(1)


def conformance() -> type:
    names: dict[str, object] = {}
    exec(compile(code("example") + "\n\n" + code("conformance"), str(DOCUMENT), "exec"), names)
    return names["TestTabletopSem"]


CHECKS = [name for name in dir(conformance()) if name.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
def test_the_example_passes(check):
    getattr(conformance()(), check)()
