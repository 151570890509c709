"""A planner has four samples measured while gateway and daemon are killed: four settled results, nothing twice."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from labsem.client import Labsem, RequestRefusedError, StreamError, WaitTimeoutError
from schemas.acts import ActState
from schemas.morphology import SampleMorphology, SampleState
from schemas.plans import Place, Plan
from schemas.settings import DaemonSettings, InstrumentSettings, Settings, SourceSettings
from tests.chaos.processes import free_ports, kill, start_daemon, start_gateway

SAMPLES = ("a-1", "a-2", "a-3", "a-4")
FRAMES = 4
PITCH_MM = 15.0
PATIENCE_S = 180.0


@pytest.fixture
def ends(tmp_path: Path):
    """Two settings files with no folder in common, and the daemon's addresses."""
    events, requests, daemon_events, daemon_requests = free_ports(4)
    gateway = Settings(
        data_dir=tmp_path / "gateway",
        instrument=InstrumentSettings(
            events=events,
            requests=requests,
            daemon_events=daemon_events,
            daemon_requests=daemon_requests,
            options={"latency": 0.02, "width_px": 192, "height_px": 128, "samples": ",".join(SAMPLES)},
        ),
    )
    daemon = Settings(
        data_dir=tmp_path / "daemon",
        sources=(SourceSettings(name="gateway.virtual-1", events=events, requests=requests),),
        daemon=DaemonSettings(
            stream="analysis.test",
            events=daemon_events,
            requests=daemon_requests,
            settle_after_s=1.0,
            lease_s=5.0,
        ),
        rescans={"approval": "off"},
    )
    files = []
    for settings in (gateway, daemon):
        settings.data_dir.mkdir()
        files.append(settings.data_dir / "settings.json")
        files[-1].write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    return (*files, daemon_events, daemon_requests)


@pytest.mark.slow
def test_four_samples_are_measured_whoever_dies(ends):
    gateway_file, daemon_file, events, requests = ends
    daemon, gateway = start_daemon(daemon_file), start_gateway(gateway_file)
    results: dict[str, SampleMorphology] = {}
    errors: list[Exception] = []

    def measure(number: int, sample: str) -> None:
        centre = PITCH_MM * number
        plan = Plan(
            places=tuple(Place(x_mm=centre + 0.3 * i, y_mm=0.2) for i in range(FRAMES)), hfw_um=(250.0,)
        )
        deadline = time.monotonic() + PATIENCE_S
        with Labsem(events, requests) as lab:
            while True:
                try:
                    results[sample] = lab.measure(
                        sample, "virtual-1", plan, labels=(f"trial-{number}",), timeout_s=PATIENCE_S
                    )
                    return
                except RequestRefusedError as error:  # the instrument's status is still on its way
                    if time.monotonic() > deadline:
                        errors.append(error)
                        return
                    time.sleep(0.2)
                except (StreamError, WaitTimeoutError) as error:
                    errors.append(error)
                    return

    threads = [threading.Thread(target=measure, args=item) for item in enumerate(SAMPLES)]
    for thread in threads:
        thread.start()
    try:
        with Labsem(events, requests) as lab:
            _until(lambda: _frames(lab) >= 3)
            kill(gateway)
            gateway = start_gateway(gateway_file)
            _until(lambda: _frames(lab) >= 7)
            kill(daemon)
            daemon = start_daemon(daemon_file)
            for thread in threads:
                thread.join(PATIENCE_S)
            assert errors == []
            assert {sample: result.state for sample, result in results.items()} == dict.fromkeys(
                SAMPLES, SampleState.SETTLED
            )
            for number, sample in enumerate(SAMPLES):
                history = lab.history(sample)
                assert results[sample].labels == (f"trial-{number}",)
                assert [frame.morphology.index for frame in history.frames] == list(range(FRAMES))
                assert {frame.morphology.labels for frame in history.frames} == {(f"trial-{number}",)}
                (act,) = history.acts
                assert (act.state, act.frames_done) == (ActState.RESOLVED, FRAMES)
                assert history.rejected == 0
    finally:
        kill(gateway)
        kill(daemon)


def _frames(lab: Labsem) -> int:
    return sum(row.frames for row in lab.samples().samples)


def _until(met) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.1)
