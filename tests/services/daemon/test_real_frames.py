"""Real Phenom frames and the shipped networks, from ten lines of pyzmq to the history."""

from __future__ import annotations

import json
import shutil

import pytest
import zmq

from labsem.client import Labsem
from labsem.networks.manifest import WeightsError, list_manifests
from schemas.morphology import FrameMorphology, Regime
from schemas.settings import SourceSettings

PATIENCE_S = 300


def test_real_frames_reach_the_planner(shared, tmp_path, sqlite_url, make_settings, running) -> None:
    try:
        list_manifests()
    except WeightsError:
        pytest.skip("needs the shipped weights")
    phenom = sorted((shared / "data" / "phenom").glob("*.tif*"))
    ampis = sorted((shared / "data" / "ampis").rglob("*.png"))[0]
    assert len(phenom) == 3
    images = tmp_path / "images"
    images.mkdir()
    for path in (*phenom, ampis):
        shutil.copy(path, images / path.name)
    source = SourceSettings(name="lab", events="tcp://127.0.0.1:0", plain=True, bind=True)
    settings = make_settings(source, database_url=sqlite_url, data_dir=tmp_path)
    with running(settings, "network") as daemon, Labsem(daemon.ready.events, daemon.ready.requests) as lab:
        with lab.follow(kinds=[FrameMorphology], timeout_s=PATIENCE_S) as follower:
            socket = zmq.Context.instance().socket(zmq.XPUB)  # a PUB that tells when it is subscribed to
            socket.connect(daemon.ready.plain["lab"])
            assert socket.poll(10_000)
            assert socket.recv() == b"\x01"
            for path in (*phenom, ampis):
                message = {"sample_id": path.stem, "image_root": "root", "path": path.name}
                socket.send(json.dumps(message).encode())
            summaries = {}
            while len(summaries) < 4:
                morphology = next(follower)
                summaries[morphology.sample_id] = morphology
            socket.close(linger=500)
        for sample_id, morphology in summaries.items():
            assert lab.history(sample_id).frames[0].morphology == morphology
            assert morphology.model.sha256 != "0" * 64
    fail_4 = summaries["Fail_Sample_4"]
    assert fail_4.acquisition.pixel_size_nm == pytest.approx(206.796, abs=0.001)
    assert fail_4.acquisition.hfw_um == pytest.approx(397.05, abs=0.1)
    assert fail_4.regime is Regime.LOW
    assert fail_4.particle_count > 0
    assert summaries[ampis.stem].regime is Regime.JOINT
