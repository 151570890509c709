"""The page of ``labsem analyze`` in Chromium: its table sorts and filters. Skips where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from schemas.image import Acquisition
from schemas.morphology import (
    Distribution,
    ModelReference,
    Populations,
    Regime,
    Shapes,
    Sizes,
    UncertainFraction,
)
from services.analyze import AnalyzeOptions, FrameResult, FrameSummary, RunReport
from services.analyze.page import write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

SCRIPT = """<script>
const names = () => [...document.querySelectorAll("#frames tbody tr")].filter((row) => !row.hidden)
  .map((row) => row.cells[1].dataset.value);
const click = (column) => document.querySelectorAll("#frames thead th")[column].querySelector("button").click();
const seen = { before: names() };
click(6); seen.up = names();
click(6); seen.down = names();
seen.sorted = document.querySelectorAll("#frames thead th")[6].getAttribute("aria-sort");
const filter = document.getElementById("filter");
filter.value = "B"; filter.dispatchEvent(new Event("input")); seen.filtered = names();
seen.status = document.getElementById("shown").textContent;
document.title = JSON.stringify(seen);
</script>"""


def result(name: str, d50_um: float | None) -> FrameResult:
    sizes = Populations(
        certain=Distribution(n=0, n_effective=0),
        all=Distribution(n=3, n_effective=3, d50_um=d50_um, d50_px=9.0),
    )
    summary = FrameSummary(
        name=name,
        path=f"{name}.tif",
        sha256="0" * 64,
        sidecar_sha256=None,
        options={},
        code_version="0",
        model=ModelReference(name="m", version="1", sha256="0" * 64),
        regime=Regime.LOW,
        outputs={
            kind: f"{kind}/{name}" for kind in ("overlay", "thumbnail", "particles", "labels", "summary")
        },
        acquisition=Acquisition(),
        scale_source=None,
        instrument=None,
        acquired_at=None,
        sample_name=None,
        notes=(),
        databar_rows=0,
        width_px=10,
        height_px=10,
        particle_count=3,
        certain_count=3,
        uncertain_count=0,
        cut_by_edge_count=0,
        area_coverage=0.1,
        uncertain_fraction=UncertainFraction(value=0.0, n=3, lower_95=0.0, upper_95=0.5),
        sizes=Sizes(number=sizes, area=sizes, volume=sizes),
        shapes=Shapes(),
        focus=None,
        signal_to_noise=None,
        saturated_fraction=0.0,
        detection_floor_px=None,
        detection_floor_um=None,
        scale_relative_uncertainty=None,
        flags=(),
        seconds={},
    )
    return FrameResult(Path(summary.path), name, summary)


def test_table_sorts_and_filters(tmp_path):
    frames = [result("a", 10.0), result("b", 9.0), result("unknown", None), result("B2", 100.0)]
    write_page(RunReport(tmp_path, tuple(frames)), AnalyzeOptions())
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("</body>", f"{SCRIPT}</body>"))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", profile, "--dump-dom"]
    done = subprocess.run([CHROMIUM, *flags, page.as_uri()], capture_output=True, text=True, timeout=300)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr
    assert json.loads(unescape(title.group(1))) == {
        "before": ["a", "b", "unknown", "B2"],
        "up": ["b", "a", "B2", "unknown"],
        "down": ["B2", "a", "b", "unknown"],
        "sorted": "descending",
        "filtered": ["B2", "b"],
        "status": "2 of 4",
    }
