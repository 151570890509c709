"""The gateway imports and runs where POSIX-only calls are missing, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, os, sys, threading
from pathlib import Path

sys.modules["fcntl"] = None
for name in ("fork", "forkpty"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("add_signal_handler", "add_reader", "add_writer", "remove_reader"):
    def missing(*args, **kwargs):
        raise NotImplementedError
    for loop in (asyncio.AbstractEventLoop, asyncio.BaseEventLoop, asyncio.SelectorEventLoop):
        setattr(loop, name, missing)

from schemas.settings import DaemonSettings, InstrumentSettings, Settings
from services.gateway import AcquisitionPlan, PlannedFrame, run_gateway

here = Path(sys.argv[1])
any_port = "tcp://127.0.0.1:0"
settings = Settings(
    data_dir=here,
    instrument=InstrumentSettings(
        events=any_port, requests=any_port, daemon_events="tcp://127.0.0.1:9", daemon_requests="tcp://127.0.0.1:9",
        options={"latency": 0.0, "width_px": 96, "height_px": 64},
    ),
)
stop = threading.Event()
def watch():
    while not list((here / "images").rglob("*.tif")):
        stop.wait(0.02)
    stop.set()
threading.Thread(target=watch, daemon=True).start()
run_gateway(settings, stop, plan=AcquisitionPlan((PlannedFrame("demo-1", 0.1, 0.1, 200.0),)))
assert "torch" not in sys.modules
frames = list((here / "images").rglob("*.tif"))
assert len(frames) == 1 and frames[0].with_suffix(".json").exists()
sys.stdout.write("done")
"""


def test_it_imports_and_runs_without_posix_calls(tmp_path: Path):
    root = Path(__file__).resolve().parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("done")
