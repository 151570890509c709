"""Help, exit codes, errors in one line, and what starting up imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "sqlalchemy", "scipy", "skimage", "zmq", "alembic", "numpy", "pydantic", "matplotlib")
COMMANDS = (
    *(
        "demo",
        "serve",
        "instrument",
        "planner",
        "analyze",
        "history",
        "samples",
        "train",
        "evaluate",
        "simulate",
    ),
    *(
        "doctor",
        "frames list",
        "frames show",
        "frames rejected",
        "frames retry",
        "rescans list",
        "rescans show",
    ),
    *("rescans request", "rescans approve", "rescans deny", "rescans cancel", "models list", "models show"),
    *("models verify", "db upgrade", "db check", "schemas export", "config show"),
)


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom services.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    code = ended.code\n"
        f"import json\nprint(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    assert json.loads(done.stderr) == [0, []]
    assert "analyze" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(labsem, command):
    ended = labsem(*command.split(), "--help")
    assert ended.code == 0
    assert "Usage" in ended.stdout


def test_version(labsem):
    from labsem import __version__

    assert labsem("--version").stdout == f"labsem {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["frames", "show", "no-uuid"],
        ["frames", "retry"],
        ["analyze"],
        ["analyze", "x.tif", "--pixel-size-nm", "5", "--hfw-um", "10"],
        ["analyze", "x.tif", "--min-ecd-um", "5", "--max-ecd-um", "2"],
        ["rescans", "request", "0" * 32, "--hfw-um", "-1"],
    ],
)
def test_misuse_ends_with_2(labsem, arguments):
    ended = labsem(*arguments)
    assert ended.code == 2
    assert ended.stdout == ""
    assert ended.stderr


def test_failures_are_one_line(labsem, tmp_path):
    missing = labsem("--config", tmp_path / "none.toml", "config", "show")
    assert missing.code == 1
    assert missing.stderr.startswith("error: LABSEM_CONFIG names") and missing.stderr.count("\n") == 1
    no_database = labsem("--data-dir", tmp_path, "samples")
    assert no_database.code == 1


def test_no_database_is_made_by_looking(labsem, data_dir):
    ended = labsem("history", "batch-1", "--json")
    assert ended.code == 1
    assert ended.stdout == ""
    assert "does not exist" in ended.stderr and ended.stderr.count("\n") == 1
    assert not data_dir.exists()


def test_acts_say_when_the_daemon_does_not_answer(labsem, monkeypatch):
    monkeypatch.setenv("LABSEM_DAEMON__REQUESTS", "tcp://127.0.0.1:1")
    monkeypatch.setattr("services.cli.setup.DAEMON_TIMEOUT_S", 0.1)
    ended = labsem("rescans", "approve", "00000000-0000-0000-0000-000000000001")
    assert ended.code == 1
    assert "tcp://127.0.0.1:1" in ended.stderr and ended.stderr.count("\n") == 1
