"""``labsem acquire`` against a running daemon and gateway: a grid on a slot, followed to its end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from labsem.streams import RequestClient
from schemas.holder import Holder, Slot
from schemas.requests import HolderAnswer, SetHolder
from schemas.settings import SourceSettings
from services.gateway import AcquisitionPlan
from tests.chaos.processes import free_ports
from tests.services.daemon.test_fetching import a_gateway

WHERE = ("--instrument", "far", "--hfw-um", "250")


@pytest.fixture
def ends(tmp_path, make_settings, running, monkeypatch):
    events, requests, daemon_events, daemon_requests = free_ports(4)
    there, here = tmp_path / "gateway", tmp_path / "daemon"
    for folder in (there, here):
        folder.mkdir()
    settings = make_settings(
        SourceSettings(name="gateway.far", events=events, requests=requests),
        database_url=f"sqlite:///{(here / 'labsem.sqlite').as_posix()}",
        data_dir=here,
        daemon={"events": daemon_events, "requests": daemon_requests},
    )
    monkeypatch.setenv("LABSEM_DAEMON__EVENTS", daemon_events)
    monkeypatch.setenv("LABSEM_DAEMON__REQUESTS", daemon_requests)
    with (
        a_gateway(there, [events, requests, daemon_events, daemon_requests], AcquisitionPlan(())),
        running(settings),
    ):
        yield requests


def acquire(*arguments):
    from services.cli.main import app

    return CliRunner().invoke(app, ["acquire", *map(str, arguments)])


def test_a_grid_is_followed_to_its_end_and_may_end_early(ends):
    import time

    slot = Slot(slot="A1", sample_id="grid-1", x_mm=0.5, y_mm=0.5, radius_mm=4.0)
    RequestClient(ends, timeout_s=10.0).ask(SetHolder(holder=Holder(slots=(slot,))), HolderAnswer)
    for _ in range(50):  # until the instrument's status has come
        said = acquire("grid-1", *WHERE, "--grid", "2x2", "--label", "t-1", "--json")
        if said.exit_code == 0:
            break
        time.sleep(0.2)
    assert said.exit_code == 0, said.output
    act = json.loads(said.stdout)
    assert (act["state"], act["frames_done"], act["labels"]) == ("resolved", 4, ["t-1"])
    assert "all 4 planned" in act["outcome"]["detail"]
    said = acquire("grid-1", *WHERE, "--at", "0.5,0.5", "--grid", "20x20", "--until-particles", 5, "--json")
    early = json.loads(said.stdout)
    assert early["state"] == "resolved"
    assert early["frames_done"] < 400
    assert "were wanted" in early["outcome"]["detail"]
    said = acquire("other", *WHERE, "--at", "0.5,0.5")
    assert said.exit_code == 1
    assert "not on the holder" in said.output
    said = acquire("grid-1", *WHERE, "--at", "99,0", "--json")
    assert "outside the stage" in str(said.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--grid", "2"),
        ("--grid", "2x2", "--at", "0,0", "--at", "1,1"),
        ("--at", "here"),
        ("--until-d50-within", "x"),
    ],
)
def test_misuse_ends_with_2_and_asks_nobody(arguments):
    assert acquire("s-1", "--hfw-um", "80", *arguments).exit_code == 2
