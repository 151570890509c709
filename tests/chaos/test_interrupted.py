"""A gateway is killed in the middle of a rescan: the instrument is put back, the rescan fails and is decided anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labsem.client import Labsem, RequestRefusedError
from schemas.acts import Act, ActState, RescanParameters, RescanReason
from schemas.plans import Place, Plan
from schemas.settings import RegimeThresholds, RescanSettings
from tests.chaos.processes import Ends, kill, start_daemon, start_gateway, wait_until, write_ends

SAMPLE = "a-1"
RESTORED = ("x_mm", "y_mm", "hfw_um", "detector", "voltage_kv")

UNEASY = RegimeThresholds(
    uncertain_fraction=1.0, focus_min=0.0, signal_to_noise_min=0.0, particles_min=10_000, specks_min=10**6
)
"""No frame has so many particles: each is followed by another place."""


@pytest.fixture
def instrument(tmp_path: Path) -> Path:
    """Where the virtual instrument keeps where it stands; it outlives its gateway."""
    return tmp_path / "instrument.json"


@pytest.fixture
def ends(tmp_path: Path, instrument: Path) -> Ends:
    options = {
        "latency": 1.0,
        "width_px": 192,
        "height_px": 128,
        "samples": SAMPLE,
        "memory": str(instrument),
    }
    return write_ends(tmp_path, options=options, rescans=RescanSettings(low=UNEASY, cool_down_s=3600))


@pytest.mark.slow
def test_a_killed_gateways_rescan_fails_as_interrupted_and_is_decided_anew(ends, instrument):
    def stands() -> dict[str, Any]:
        kept = json.loads(instrument.read_bytes())
        return {name: kept[name] for name in RESTORED}

    def acts() -> list[Act]:
        return [act for act in lab.history(SAMPLE).acts if act.plan is None]

    def state_of(act_id) -> ActState:
        return next(act.state for act in acts() if act.act_id == act_id)

    daemon, gateway = start_daemon(ends.daemon), start_gateway(ends.gateway)
    try:
        with Labsem(ends.events, ends.requests) as lab:
            plan = Plan(places=(Place(x_mm=0.3, y_mm=0.2),), hfw_um=(250.0,), detector="bsd")
            wait_until(lambda: _asked(lab, plan), "the instrument's status")
            wait_until(lambda: bool(acts()) and acts()[0].state is ActState.RUNNING, "the rescan")
            before = stands()
            assert (before["x_mm"], before["y_mm"]) == (0.3, 0.2)
            (first,) = acts()
            assert first.reasons == (RescanReason.TOO_FEW,)
            wait_until(lambda: stands() != before, "its move", every_s=0.02)
            kill(gateway)
            assert state_of(first.act_id) is ActState.RUNNING
            gateway = start_gateway(ends.gateway)
            wait_until(lambda: stands() == before, "the instrument's old place", every_s=0.02)
            wait_until(lambda: state_of(first.act_id) is ActState.FAILED, "the report")
            wait_until(lambda: len(acts()) == 2, "the new decision")
            failed, again = sorted(acts(), key=lambda act: act.created_at)
            assert failed.failure.startswith("interrupted")
            assert (again.reasons, again.frame_before) == (first.reasons, first.frame_before)
            wait_until(lambda: state_of(again.act_id) is ActState.RESOLVED, "the second rescan's frame")

            # A planner's own is told of, and not asked for again; everything that it set is put back.
            before = stands()
            wanted = RescanParameters(
                position_x_mm=-0.4,
                hfw_um=100.0,
                detector="sed",
                accelerating_voltage_kv=6.0,
                autofocus=True,
            )
            own = lab.request_rescan(first.frame_before, wanted)
            wait_until(lambda: stands()["voltage_kv"] == 6.0, "the last setting", every_s=0.02)
            changed = stands()
            assert all(changed[name] != before[name] for name in RESTORED if name != "y_mm")
            kill(gateway)
            gateway = start_gateway(ends.gateway)
            wait_until(lambda: stands() == before, "everything put back", every_s=0.02)
            wait_until(lambda: state_of(own.act_id) is ActState.FAILED, "the report")
            assert len(acts()) == 3
            history = lab.history(SAMPLE)
            assert [act.state for act in sorted(history.acts, key=lambda act: act.created_at)] == [
                ActState.RESOLVED,
                ActState.FAILED,
                ActState.RESOLVED,
                ActState.FAILED,
            ]
            assert (len(history.frames), history.rejected) == (2, 0)
    finally:
        kill(gateway)
        kill(daemon)


def _asked(lab: Labsem, plan: Plan) -> bool:
    try:
        lab.request_acquisition(SAMPLE, "virtual-1", plan)
    except RequestRefusedError:  # the instrument's status is still on its way
        return False
    return True
