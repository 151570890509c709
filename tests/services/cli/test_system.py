"""``db``, ``schemas``, ``config``, ``models`` and ``simulate``."""

from __future__ import annotations

import csv
import json


def test_database_is_made_checked_and_left_alone(labsem, data_dir):
    assert labsem("db", "check").code == 1
    made = labsem("db", "upgrade", "--json").json
    assert made["before"] is None and made["backup"] is None
    again = labsem("db", "upgrade", "--json").json
    assert again["before"] == again["after"] == made["after"]
    checked = labsem("db", "check", "--json")
    assert checked.code == 0 and checked.json["ok"]
    assert (data_dir / "labsem.sqlite").is_file()
    empty = labsem("samples", "--json")
    assert empty.code == 0 and empty.json == {"samples": [], "total": 0}
    unknown = labsem("history", "batch-1")
    assert unknown.code == 1 and "batch-1" in unknown.stderr


def test_schemas_are_written(labsem, tmp_path):
    ended = labsem("schemas", "export", tmp_path / "schemas", "--json")
    written = {path.name for path in (tmp_path / "schemas").iterdir()}
    assert ended.code == 0 and len(ended.json) == len(written) > 10


def test_settings_are_shown_without_passwords(labsem, monkeypatch):
    monkeypatch.setenv("LABSEM_DATABASE_URL", "postgresql://labsem:hunter2@127.0.0.1/labsem")
    monkeypatch.setenv("LABSEM_DAEMON__WORKERS", "3")
    for ended in (labsem("config", "show"), labsem("config", "show", "--json")):
        assert ended.code == 0
        assert "hunter2" not in ended.stdout and "labsem:***@" in ended.stdout
    assert ended.json["daemon"]["workers"] == 3


def test_simulated_data_set(labsem, tmp_path):
    out = tmp_path / "simulated"
    arguments = (
        "simulate",
        out,
        "--frames",
        "2",
        "--seed",
        "5",
        "--width-px",
        "128",
        "--height-px",
        "96",
        "--json",
    )
    ended = labsem(*arguments)
    assert ended.code == 0 and len(ended.json["images"]) == 2
    with (out / "metadata.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    second = labsem(*arguments)
    assert second.code == 1 and "metadata.csv" in second.stderr


def test_models_that_do_not_fit_their_manifest_are_named(labsem, tmp_path):
    manifest = {
        "name": "m",
        "version": "1",
        "created_at": "2025-01-01T00:00:00Z",
        "code_version": "0",
        "regimes": {
            "joint": {
                "thresholds": {},
                "confidence": {"slopes": [1.0], "offset": 0.0, "fitted_on": "nothing"},
                "mask_quality": {"slopes": [1.0], "offset": 0.0, "fitted_on": "nothing"},
                "input": {"long_side_max_px": 1024, "long_side_min_px": 512},
            }
        },
        "architecture": {},
        "weights": "m.safetensors",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "training": {},
        "metrics": {},
        "licence": "none",
    }
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    (tmp_path / "m.safetensors").write_bytes(b"x")
    assert labsem("models", "list", "--folder", tmp_path, "--json").json[0]["name"] == "m"
    ended = labsem("models", "verify", "--folder", tmp_path, "--json")
    assert ended.code == 1
    assert any("SHA-256" in problem for problem in ended.json[0]["problems"])
    assert labsem("models", "show", "m", "--folder", tmp_path).code == 0
    shown = labsem("models", "show", "m", "--folder", tmp_path, "--json")
    assert shown.json["weights"] == "m.safetensors"
    assert labsem("models", "show", "other", "--folder", tmp_path).code == 1
