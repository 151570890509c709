"""``labsem simulate``: file formats and the sheet."""

from __future__ import annotations

import pytest

from labsem.frames import read_frame
from labsem.simulation import SIMULATOR_VERSION

SMALL = ("--width-px", "96", "--height-px", "72", "--seed", "5")


def test_tiffs_of_sixteen_bits_with_a_data_bar_and_a_sheet(labsem, tmp_path):
    sheet = tmp_path / "sheet.jpg"
    format_ = ("--format", "tiff", "--bits", "16", "--databar", "--sheet", sheet)
    ended = labsem("simulate", tmp_path / "set", "--frames", "2", *SMALL, *format_, "--json")
    assert ended.code == 0
    assert ended.json["simulator_version"] == SIMULATOR_VERSION
    for path in ended.json["images"]:
        frame = read_frame(path)
        assert (frame.pixels.shape, frame.pixels.dtype.name) == ((72, 96), "uint16")
        assert frame.databar_rows > 0 and frame.hfw_um > 0
    assert sheet.stat().st_size > 1000


@pytest.mark.parametrize("wrong", [("--databar",), ("--format", "bmp"), ("--bits", "12")])
def test_what_cannot_be_written_is_refused(labsem, tmp_path, wrong):
    ended = labsem("simulate", tmp_path / "set", "--frames", "1", *SMALL, *wrong)
    assert ended.code != 0
    assert not (tmp_path / "set").exists()
