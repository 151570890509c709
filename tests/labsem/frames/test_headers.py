"""Instrument headers, written into real TIFFs and read back through tifffile."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from labsem.frames import InvalidFrameError, read_frame

GREY = (np.arange(48 * 64).reshape(48, 64) * 7 % 251).astype(np.uint8)


def _with_tag(path: Path, code: int, data: bytes, dtype: int = 2) -> Path:
    tifffile.imwrite(path, GREY, metadata=None, extratags=[(code, dtype, len(data), data, True)])
    return path


def _fei_image(body: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<FeiImage>{body}</FeiImage>\0'.encode()


def test_the_phenom_frame(shared):
    frame = read_frame(shared / "data" / "phenom" / "Fail_Sample_4.tiff")
    acquisition = frame.acquisition
    assert acquisition.pixel_size_nm == pytest.approx(206.796, abs=0.001)
    assert acquisition.hfw_um == pytest.approx(397.05, abs=0.1)
    assert acquisition.magnification == pytest.approx(1259.3, abs=0.1)
    assert acquisition.accelerating_voltage_kv == 5.3
    assert acquisition.working_distance_mm == pytest.approx(4.0768, abs=1e-4)
    assert (acquisition.detector, acquisition.dwell_time_ns, acquisition.frame_averages) == (
        "bsd-all",
        200,
        16,
    )
    assert frame.metadata.instrument == "PhenomXL"
    assert frame.metadata.instrument_serial == "MVE081392-10796-L"
    assert frame.metadata.position_x_mm == pytest.approx(38.915163)
    assert frame.metadata.sample_name == "Li1_1F0_1100C_20min_#2_"
    assert frame.metadata.acquired_at.isoformat() == "2023-03-10T19:29:33+00:00"
    assert (frame.pixels.shape, frame.databar_rows, frame.notes) == ((1200, 1920), 0, ())


@pytest.mark.parametrize(
    ("value", "unit", "nm"),
    [("2.5", "nm", 2.5), ("2.5e-9", "m", 2.5), ("0.0025", "um", 2.5), ("0.0025", "µm", 2.5)],
)
def test_units_of_the_pixel_width(tmp_path, value, unit, nm):
    xml = _fei_image(f'<pixelWidth unit="{unit}">{value}</pixelWidth>')
    frame = read_frame(_with_tag(tmp_path / "a.tif", 34683, xml))
    assert frame.pixel_size_nm == pytest.approx(nm)
    assert frame.hfw_um == pytest.approx(nm * 64 / 1e3)


def test_databar_height_is_cropped_and_reported(tmp_path):
    frame = read_frame(_with_tag(tmp_path / "a.tif", 34683, _fei_image("<databarHeight>9</databarHeight>")))
    np.testing.assert_array_equal(frame.pixels, GREY[:-9])
    assert frame.databar_rows == 9
    assert read_frame(tmp_path / "a.tif", databar="none").databar_rows == 0


_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    b'<FeiImage><pixelWidth unit="nm">5</pixelWidth><databarLabel>&b;</databarLabel></FeiImage>\0'
)


@pytest.mark.parametrize(
    "xml",
    [
        _BOMB,
        b"<FeiImage><pixelWidth>\0",
        _fei_image('<pixelWidth unit="furlong">3</pixelWidth>'),
        _fei_image('<pixelWidth unit="nm">3</pixelWidth><pixelHeight unit="nm">4</pixelHeight>'),
        b"<html></html>\0",
    ],
)
def test_a_header_that_cannot_be_read_gives_no_scale_and_a_note(tmp_path, xml):
    frame = read_frame(_with_tag(tmp_path / "a.tif", 34683, xml))
    assert (frame.pixel_size_nm, frame.notes, frame.metadata.sample_name) == (None, ("header",), None)


def test_values_that_say_nothing_are_left_out(tmp_path):
    xml = _fei_image(
        '<pixelWidth unit="nm">nan</pixelWidth><integrations>0</integrations>'
        '<workingDistance unit="mm">0</workingDistance>'
    )
    acquisition = read_frame(_with_tag(tmp_path / "a.tif", 34683, xml)).acquisition
    assert set(acquisition.model_dump().values()) == {None}


def test_fei_header(tmp_path):
    text = (
        "[User]\r\nDate=03/10/2023\r\nTime=07:29:33 PM\r\n[System]\r\nSystemType=Quanta\r\nDnumber=D9\r\n"
        "[Beam]\r\nHV=10000\r\n[Scan]\r\nPixelWidth=5e-9\r\nPixelHeight=5e-9\r\nDwelltime=3e-6\r\n"
        "[Stage]\r\nStageX=0.002\r\nWorkingDistance=0.0101\r\n[Detectors]\r\nName=ETD\r\n"
        "[Image]\r\nResolutionX=64\r\nResolutionY=40\r\n"
    )
    frame = read_frame(_with_tag(tmp_path / "a.tif", 34682, text.encode() + b"\0"))
    acquisition = frame.acquisition
    assert acquisition.pixel_size_nm == pytest.approx(5)
    assert acquisition.accelerating_voltage_kv == pytest.approx(10)
    assert acquisition.working_distance_mm == pytest.approx(10.1)
    assert acquisition.dwell_time_ns == pytest.approx(3000)
    assert (acquisition.detector, frame.metadata.instrument) == ("ETD", "Quanta")
    assert frame.metadata.position_x_mm == pytest.approx(2)
    assert frame.metadata.acquired_at.isoformat() == "2023-03-10T19:29:33+00:00"
    assert (frame.databar_rows, frame.height_px) == (8, 40)


def test_zeiss_header(tmp_path):
    text = (
        "0\r\n1\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5.5 nm\r\nAP_WD\r\nWD = 4.5 mm\r\n"
        "AP_ACTUALKV\r\nEHT = 5.00 kV\r\nAP_MAG\r\nMag = 20.00 K X\r\n"
        "DP_DETECTOR_CHANNEL\r\nSignal A = SE2\r\nSV_SERIAL_NUMBER\r\nSerial No. = Supra-1\r\n"
    )
    frame = read_frame(_with_tag(tmp_path / "a.tif", 34118, text.encode() + b"\0"))
    acquisition = frame.acquisition
    assert acquisition.pixel_size_nm == pytest.approx(5.5)
    assert acquisition.magnification == pytest.approx(20_000)
    assert acquisition.working_distance_mm == pytest.approx(4.5)
    assert (acquisition.accelerating_voltage_kv, acquisition.detector) == (5, "SE2")
    assert frame.metadata.instrument_serial == "Supra-1"


def test_tescan_header(tmp_path):
    text = (
        b"\x00\x01\x00[MAIN]\nDate=2021-05-06\nTime=07:08:09\nDevice=MIRA3\nSerialNumber=116-1\nImageStripSize=8\n"
        b"Magnification=5000\nPixelSizeX=2.2e-8\nPixelSizeY=2.2e-8\n[SEM]\nHV=15000\nWD=0.0098\nDetector=SE\n\x00"
    )
    frame = read_frame(_with_tag(tmp_path / "a.tif", 50431, text, dtype=1))
    acquisition = frame.acquisition
    assert acquisition.pixel_size_nm == pytest.approx(22)
    assert (acquisition.magnification, acquisition.detector) == (5000, "SE")
    assert acquisition.working_distance_mm == pytest.approx(9.8)
    assert acquisition.accelerating_voltage_kv == pytest.approx(15)
    assert (frame.metadata.instrument, frame.databar_rows) == ("MIRA3", 8)
    assert frame.metadata.acquired_at.isoformat() == "2021-05-06T07:08:09+00:00"


def test_an_argument_mends_a_header_without_a_scale(tmp_path):
    path = _with_tag(tmp_path / "a.tif", 34683, b"<FeiImage><pixelWidth>\0")
    assert read_frame(path, pixel_size_nm=3).pixel_size_nm == 3
    with pytest.raises(InvalidFrameError):
        read_frame(path, pixel_size_nm=float("nan"))
