"""What the README shows works as it stands there."""

from __future__ import annotations

import queue
import re
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest

from labsem.client import Labsem
from labsem.frames import FrameMetadata, write_frame
from schemas.image import Acquisition
from schemas.settings import DaemonSettings, Settings, SourceSettings, load_settings
from services.daemon import run_daemon

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def block(marker: str) -> str:
    """The code block after a marker."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None, marker
    return found.group(1)


def test_settings_load(tmp_path, monkeypatch):
    path = tmp_path / "labsem.toml"
    path.write_text(block("settings"))
    monkeypatch.setenv("LABSEM_CONFIG", str(path))
    settings = load_settings()
    given = tomllib.loads(path.read_text())
    assert {source.name for source in settings.sources} == {source["name"] for source in given["sources"]}
    assert settings.rescans.approval == "ask"
    assert set(settings.image_roots) == {"phenom-1", "bench"}


def test_links_and_commands_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    assert block("test-command").strip().endswith("pytest")
    assert len(block("publisher").splitlines()) <= 10


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """A daemon that takes the lab's own publisher, with Otsu's threshold: its settings and its addresses."""
    monkeypatch.setenv("LABSEM_DATA_DIR", str(tmp_path / "data"))
    source = SourceSettings(name="bench", events="tcp://127.0.0.1:0", plain=True, bind=True)
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=f"sqlite:///{(tmp_path / 'labsem.sqlite').as_posix()}",
        image_roots={"bench": tmp_path / "frames"},
        sources=(source,),
        daemon=DaemonSettings(events="tcp://127.0.0.1:0", requests="tcp://127.0.0.1:0", settle_after_s=0),
    )
    (tmp_path / "frames").mkdir()
    stop, ready = threading.Event(), queue.Queue()
    thread = threading.Thread(
        target=run_daemon, args=(settings, stop), kwargs={"ready": ready.put, "segmenter": "otsu"}
    )
    thread.start()
    try:
        yield settings, ready.get(timeout=300)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_publisher_and_planner(daemon, tmp_path, monkeypatch):
    settings, addresses = daemon
    rows, columns = np.mgrid[:120, :160]
    pixels = np.where((rows % 40 - 20) ** 2 + (columns % 40 - 20) ** 2 < 100, 190, 60).astype(np.uint8)
    metadata = FrameMetadata(acquisition=Acquisition(pixel_size_nm=100.0))
    for number, name in enumerate(("frame-1.tif", "frame-2.tif")):
        write_frame(settings.image_roots["bench"] / name, np.roll(pixels, 5 * number, axis=1), metadata)
    publisher = block("publisher").replace("tcp://127.0.0.1:5630", addresses.plain["bench"])
    exec(compile(publisher, "README.md", "exec"), {})
    with Labsem(addresses.events, addresses.requests) as lab:
        for _ in lab.follow(timeout_s=60):
            if lab.history("batch-17").frames_total == 2:
                break
    monkeypatch.chdir(tmp_path)
    ends = f'"{addresses.events}", "{addresses.requests}", cursor_file'
    planner = block("planner").replace("Labsem(cursor_file", f"Labsem({ends}")
    printed: list[tuple] = []
    exec(compile(planner, "README.md", "exec"), {"print": lambda *values: printed.append(values)})
    ((hfw_um, count, d50_um, *_),) = printed
    assert hfw_um == pytest.approx(16) and count > 10 and d50_um == pytest.approx(2, rel=0.1)
