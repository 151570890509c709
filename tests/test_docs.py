"""What docs/ shows of settings and calls is so."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from pathlib import Path

from labsem.client import Labsem
from schemas.acts import RescanReason
from schemas.plans import Plan
from schemas.settings import RegimeThresholds, RescanSettings

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_a_planners_measurement_is_a_plan_and_a_call_that_exist():
    text = (DOCS / "measuring.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    *statements, block = ast.parse(code).body
    assert isinstance(block, ast.With)
    names: dict[str, object] = {}
    exec(compile(ast.Module(statements, []), "measuring.md", "exec"), names)
    plan = names["plan"]
    assert isinstance(plan, Plan)
    assert plan.frames == 288
    (call,) = [
        node
        for node in ast.walk(block)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "measure"
    ]
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
    inspect.signature(Labsem.measure).bind(None, *call.args, **keywords)


def test_the_rescans_page_names_every_reason_and_threshold():
    text = (DOCS / "rescans.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"((?:^    .*\n|^\n)*^    \[rescans\]\n(?:^    .*\n|^\n)*)", text, re.MULTILINE)
    settings = RescanSettings.model_validate(tomllib.loads(textwrap.dedent(block))["rescans"])
    assert settings == RescanSettings(), "the page shows the defaults"
    named = set(re.findall(r"`([a-z_0-9]+)`", text))
    assert {reason.value for reason in RescanReason} - {"requested"} <= named
    assert set(RegimeThresholds.model_fields) <= named
