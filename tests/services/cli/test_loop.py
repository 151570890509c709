"""The demonstration from its first frame to its last rescan, and what the other commands then say of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 3


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demonstration on small frames with Otsu's threshold."""
    data_dir = tmp_path_factory.mktemp("lab")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LABSEM_")} | {
        "LABSEM_DATA_DIR": str(data_dir),
        "LABSEM_INSTRUMENT__OPTIONS": json.dumps({"width_px": 960, "height_px": 600, "latency": 0}),
        "PYTHONPATH": str(ROOT),
    }
    arguments = ["demo", "--frames", str(FRAMES), "--segmenter", "otsu", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=data_dir,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return SimpleNamespace(
        report=report, stderr=done.stderr, folder=Path(report["data_dir"]), data_dir=data_dir
    )


def test_demo_loses_nothing_and_ends_its_rescans(demo):
    report = demo.report
    assert report["frames_lost"] == 0
    assert report["frames_analysed"] == len(report["frames"]) == FRAMES + len(report["rescans"]) > FRAMES
    assert {rescan["state"] for rescan in report["rescans"]} == {"resolved"}
    assert len({frame["frame_id"] for frame in report["frames"]}) == report["frames_analysed"]
    for frame in report["frames"]:
        assert frame["regime"] in ("low", "high") and frame["seconds"]["segmentation"] > 0
        assert set(frame) >= {
            "sample_id",
            "particle_count",
            "uncertain_fraction",
            "d50_number_all_um",
            "decision",
        }
    assert demo.folder.is_relative_to(demo.data_dir)


def test_history_says_what_the_demo_said(demo, labsem):
    for sample in {frame["sample_id"] for frame in demo.report["frames"]}:
        assert f'labsem --data-dir "{demo.folder}" history {sample}' in demo.stderr
        ended = labsem("--data-dir", demo.folder, "history", sample, "--json")
        assert ended.code == 0
        of_demo = [frame for frame in demo.report["frames"] if frame["sample_id"] == sample]
        of_history = [item["morphology"] for item in ended.json["frames"]]
        assert [frame["frame_id"] for frame in of_history] == [frame["frame_id"] for frame in of_demo]
        assert [frame["sizes"]["number"]["all"]["d50_um"] for frame in of_history] == [
            frame["d50_number_all_um"] for frame in of_demo
        ]
        known = {rescan["act_id"]: rescan["state"] for rescan in demo.report["rescans"]}
        assert all(known[act["act_id"]] == act["state"] for act in ended.json["acts"])
        shown = labsem("--data-dir", demo.folder, "history", sample)
        assert shown.code == 0 and all(frame["frame_id"][:8] in shown.stdout for frame in of_demo)


def test_frames_and_rescans_are_listed_and_shown(demo, labsem):
    at = ("--data-dir", demo.folder)
    frames = labsem(*at, "frames", "list", "--json").json
    assert {frame["frame_id"] for frame in frames} == {frame["frame_id"] for frame in demo.report["frames"]}
    shown = labsem(*at, "frames", "show", frames[0]["frame_id"])
    assert shown.code == 0 and frames[0]["path"] in shown.stdout
    assert labsem(*at, "frames", "show", frames[0]["frame_id"][:13]).stdout == shown.stdout
    rescans = labsem(*at, "rescans", "list", "--json").json
    assert [act["act_id"] for act in rescans] == [act["act_id"] for act in demo.report["rescans"]]
    assert labsem(*at, "rescans", "list", "--open", "--json").json == []
    act = labsem(*at, "rescans", "show", rescans[0]["act_id"], "--json").json
    assert act["outcome"] is not None and act["frame_after"] is not None
    assert "resolved" in labsem(*at, "rescans", "show", act["act_id"][:13]).stdout
    ended = labsem(*at, "rescans", "cancel", "00000000")
    assert ended.code == 1 and "no rescan has an id that begins with 00000000;" in ended.stderr
    assert labsem(*at, "frames", "rejected", "--json").json == []
    assert labsem(*at, "frames", "retry", "1").code == 1
    samples = labsem(*at, "samples", "--json").json
    assert {row["state"] for row in samples["samples"]} == {"settled"}
    assert sum(row["frames"] for row in samples["samples"]) == demo.report["frames_analysed"]


def test_doctor_looks_at_the_demo(demo, labsem):
    ended = labsem("--data-dir", demo.folder, "doctor", "--json")
    findings = ended.json["findings"]
    areas = {finding["area"] for finding in findings}
    assert areas >= {"versions", "database", "inbox", "rejected", "sources", "image roots", "disk", "drivers"}
    assert ended.code == (0 if ended.json["ok"] else 1)
    of = {(finding["area"], finding["what"]): finding for finding in findings}
    assert of["drivers", "virtual"]["state"] == "ok"
    assert of["image roots", "virtual-1"]["state"] == "ok"
    assert all(finding["remedy"] for finding in findings if finding["state"] == "warning")
    assert any(
        finding["area"] == "services" and "does not answer" in finding["detail"] for finding in findings
    )
