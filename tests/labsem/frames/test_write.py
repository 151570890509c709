"""What is written is read back, whole or not at all."""

from datetime import UTC

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labsem.frames import FrameMetadata, read_frame, write_atomically, write_frame
from schemas.image import Acquisition

_positive = st.floats(1e-3, 1e6)
_words = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), blacklist_characters="\ufffe\uffff"),
    min_size=1,
    max_size=30,
)
_acquisitions = st.builds(
    Acquisition,
    pixel_size_nm=st.none() | _positive,
    working_distance_mm=st.none() | _positive,
    accelerating_voltage_kv=st.none() | _positive,
    detector=st.none() | _words,
    dwell_time_ns=st.none() | _positive,
    frame_averages=st.none() | st.integers(1, 255),
)
_metadata = st.builds(
    FrameMetadata,
    acquisition=_acquisitions,
    instrument=st.none() | _words,
    instrument_serial=st.none() | _words,
    acquired_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    position_x_mm=st.none() | st.floats(-100, 100),
    position_y_mm=st.none() | st.floats(-100, 100),
    scan_rotation_deg=st.none() | st.floats(-180, 180),
    sample_name=st.none() | _words,
)
_pixels = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 40), st.integers(1, 40)))
)


@given(pixels=_pixels, metadata=_metadata, databar_rows=st.integers(0, 30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_written_frame_reads_back(tmp_path, pixels, metadata, databar_rows):
    path = tmp_path / "a.tiff"
    write_frame(path, pixels, metadata, databar_rows=databar_rows)
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.pixels.dtype == pixels.dtype
    assert frame.databar_rows == databar_rows
    found = frame.metadata
    for field in ("instrument", "instrument_serial", "acquired_at", "sample_name"):
        assert getattr(found, field) == getattr(metadata, field)
    for field in ("position_x_mm", "position_y_mm", "scan_rotation_deg"):
        expected = getattr(metadata, field)
        assert getattr(found, field) == (None if expected is None else pytest.approx(expected, abs=1e-9))
    for field, expected in metadata.acquisition:
        if expected is not None:
            assert getattr(found.acquisition, field) == (
                expected if isinstance(expected, str) else pytest.approx(expected)
            )
    assert (found.scale_source == "header") == (metadata.acquisition.pixel_size_nm is not None)
    assert [item.name for item in tmp_path.iterdir()] == ["a.tiff"]


def test_a_field_width_is_written_as_a_pixel_size(tmp_path):
    write_frame(
        tmp_path / "a.tif", np.zeros((10, 50), np.uint8), FrameMetadata(acquisition=Acquisition(hfw_um=5))
    )
    assert read_frame(tmp_path / "a.tif").pixel_size_nm == pytest.approx(100)


def test_characters_that_xml_cannot_hold_are_left_out(tmp_path):
    write_frame(
        tmp_path / "a.tif", np.zeros((10, 50), np.uint8), FrameMetadata(sample_name="a\x00\x08b  <&c>")
    )
    assert read_frame(tmp_path / "a.tif").metadata.sample_name == "ab <&c>"
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.compression == tifffile.COMPRESSION.LZW
        assert str(tiff.pages.first.tags[34683].value).startswith("<?xml")


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4)), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(tmp_path, pixels):
    with pytest.raises(ValueError, match="uint8 or uint16"):
        write_frame(tmp_path / "a.tif", pixels)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]
