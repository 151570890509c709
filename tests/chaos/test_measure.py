"""A planner has four samples measured while gateway and daemon are killed: four settled results, nothing twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from labsem.client import Labsem, RequestRefusedError, StreamError, WaitTimeoutError
from schemas.acts import ActState
from schemas.morphology import SampleMorphology, SampleState
from schemas.plans import Place, Plan
from schemas.settings import RescanSettings
from tests.chaos.processes import Ends, kill, start_daemon, start_gateway, wait_until, write_ends

SAMPLES = ("a-1", "a-2", "a-3", "a-4")
FRAMES = 4
PITCH_MM = 15.0
PATIENCE_S = 180.0


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    options = {"latency": 0.02, "width_px": 192, "height_px": 128, "samples": ",".join(SAMPLES)}
    return write_ends(tmp_path, options=options, rescans=RescanSettings(approval="off"))


@pytest.mark.slow
def test_four_samples_are_measured_whoever_dies(ends):
    daemon, gateway = start_daemon(ends.daemon), start_gateway(ends.gateway)
    results: dict[str, SampleMorphology] = {}
    errors: list[Exception] = []

    def measure(number: int, sample: str) -> None:
        centre = PITCH_MM * number
        plan = Plan(
            places=tuple(Place(x_mm=centre + 0.3 * i, y_mm=0.2) for i in range(FRAMES)), hfw_um=(250.0,)
        )
        deadline = time.monotonic() + PATIENCE_S
        with Labsem(ends.events, ends.requests) as lab:
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
        with Labsem(ends.events, ends.requests) as lab:
            wait_until(lambda: _frames(lab) >= 3, "three frames")
            kill(gateway)
            gateway = start_gateway(ends.gateway)
            wait_until(lambda: _frames(lab) >= 7, "seven frames")
            kill(daemon)
            daemon = start_daemon(ends.daemon)
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
