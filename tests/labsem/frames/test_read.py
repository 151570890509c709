"""Reading: every kind of file is a frame or a typed error."""

import io
import json
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsem.frames import (
    EmptyFrameError,
    Frame,
    FrameError,
    FrameTooLargeError,
    InvalidFrameError,
    MissingFrameError,
    ReadLimits,
    TruncatedFrameError,
    UnsupportedFrameError,
    read_frame,
)
from schemas.image import Acquisition
from schemas.settings import ReadSettings

GREY = (np.arange(40 * 60).reshape(40, 60) * 7 % 251).astype(np.uint8)
DEEP = (np.arange(40 * 60).reshape(40, 60) * 27 % 65521).astype(np.uint16)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
LUMINANCE = np.rint(COLOUR @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_tiff_is_read_exactly(tmp_path, pixels, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression)
    frame = read_frame(path)
    assert frame.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert (frame.notes, frame.databar_rows, frame.pixel_size_nm) == ((), 0, None)


@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_png_is_read_exactly(tmp_path, pixels):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    np.testing.assert_array_equal(read_frame(path).pixels, pixels)


def test_jpeg_is_read(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    path = tmp_path / "a.jpg"
    path.write_bytes(imagecodecs.jpeg_encode(smooth, level=98))
    assert np.abs(read_frame(path).pixels.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_becomes_luminance(tmp_path, planar):
    path = tmp_path / "a.tif"
    data = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar)
    frame = read_frame(path)
    assert np.abs(frame.pixels - LUMINANCE).max() <= 1
    assert frame.notes == ("colour",)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_left_out(tmp_path, channels):
    data = np.concatenate([COLOUR if channels == 4 else GREY[..., None], GREY[..., None] // 2], axis=-1)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(data))
    frame = read_frame(path)
    expected = LUMINANCE if channels == 4 else GREY
    assert np.abs(frame.pixels - expected).max() <= 1
    assert "alpha" in frame.notes


def test_palette_is_looked_up(tmp_path):
    colours = np.stack([np.arange(256) * 257, np.full(256, 1000), np.full(256, 500)]).astype(np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="palette", colormap=colours)
    frame = read_frame(path)
    assert np.abs(frame.pixels - (0.299 * GREY + 0.587 * 3 + 0.114)).max() <= 1
    assert set(frame.notes) == {"palette", "colour"}


def test_white_is_zero_is_inverted(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="miniswhite")
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.pixels, 255 - GREY)
    assert frame.notes == ("inverted",)


def test_finite_floats_are_scaled_over_16_bits(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.linspace(-2.0, 3.0, 600).reshape(20, 30).astype(np.float32))
    frame = read_frame(path)
    assert (frame.pixels.min(), frame.pixels.max(), frame.pixels.dtype) == (0, 65535, np.uint16)
    assert frame.notes == ("float",)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path, bad):
    data = np.zeros((20, 30), np.float32)
    data[3, 4] = bad
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data)
    with pytest.raises(InvalidFrameError, match="1 pixels that are NaN or infinite"):
        read_frame(path)


def test_constant_image_is_read_and_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((20, 30), 7, np.uint8))
    assert read_frame(path).notes == ("constant",)


def test_signed_integers(tmp_path):
    good, bad = tmp_path / "good.tif", tmp_path / "bad.tif"
    tifffile.imwrite(good, (DEEP // 2).astype(np.int16))
    tifffile.imwrite(bad, -(DEEP // 2).astype(np.int16))
    np.testing.assert_array_equal(read_frame(good).pixels, DEEP // 2)
    with pytest.raises(UnsupportedFrameError, match="int16"):
        read_frame(bad)


def test_content_counts_not_the_name(tmp_path):
    path = tmp_path / "a.png"
    tifffile.imwrite(path, GREY)
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.pixels, GREY)
    assert frame.notes == ("extension",)


def test_several_frames_in_a_file_are_refused_and_thumbnails_ignored(tmp_path):
    stack, thumbnailed, imagej = tmp_path / "stack.tif", tmp_path / "thumb.tif", tmp_path / "ij.tif"
    tifffile.imwrite(stack, np.stack([GREY, GREY]))
    tifffile.imwrite(imagej, np.stack([GREY, GREY, GREY]), imagej=True)
    with tifffile.TiffWriter(thumbnailed) as writer:
        writer.write(GREY)
        writer.write(GREY[::4, ::4])
    with pytest.raises(UnsupportedFrameError, match="2 images"):
        read_frame(stack)
    with pytest.raises(UnsupportedFrameError, match="3 images"):
        read_frame(imagej)
    frame = read_frame(thumbnailed)
    np.testing.assert_array_equal(frame.pixels, GREY)
    assert frame.notes == ("thumbnail",)


def _png_chunk_size(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    data = bytearray(imagecodecs.png_encode(GREY))
    data[16:26] = struct.pack(">IIBB", width, height, bits, colour)
    return bytes(data)


def test_limits_hold_before_decoding(tmp_path):
    png, tif, jpg = tmp_path / "a.png", tmp_path / "a.tif", tmp_path / "a.jpg"
    png.write_bytes(_png_chunk_size(100_000, 100_000))
    jpg.write_bytes(imagecodecs.jpeg_encode(GREY))
    tifffile.imwrite(tif, GREY)
    limits = ReadLimits(max_pixels=GREY.size - 1)
    for path in (png, tif, jpg):
        with pytest.raises(FrameTooLargeError, match="pixels"):
            read_frame(path, limits=limits)
    with pytest.raises(FrameTooLargeError, match="bytes"):
        read_frame(tif, limits=ReadLimits(max_file_bytes=100))
    assert read_frame(tif, limits=ReadLimits(max_pixels=GREY.size)).width_px == 60
    assert ReadLimits.from_settings(ReadSettings()) == ReadLimits()


def test_bomb_tiff_is_refused_by_its_header(tmp_path):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, GREY, compression="zlib")
    path = tmp_path / "a.tif"
    path.write_bytes(buffer.getvalue())
    with tifffile.TiffFile(path) as tiff:
        offsets = [tiff.pages.first.tags[code].offset for code in (256, 257)]
        kinds = [tiff.pages.first.tags[code].dtype for code in (256, 257)]
    data = bytearray(path.read_bytes())
    for offset, kind in zip(offsets, kinds, strict=True):
        data[offset + 8 : offset + 12] = (
            struct.pack("<I", 60_000) if kind == 4 else struct.pack("<HH", 60_000, 0)
        )
    path.write_bytes(data)
    with pytest.raises(FrameTooLargeError):
        read_frame(path)


def test_missing_folder_empty_and_unknown(tmp_path):
    empty, text, bmp = tmp_path / "e.tif", tmp_path / "t.tif", tmp_path / "b.bmp"
    empty.write_bytes(b"")
    text.write_text("not an image at all")
    bmp.write_bytes(b"BM" + bytes(100))
    for path, error, words in [
        (tmp_path / "none.tif", MissingFrameError, "cannot be opened"),
        (tmp_path, MissingFrameError, "folder"),
        (empty, EmptyFrameError, "no bytes"),
        (text, UnsupportedFrameError, "no known image"),
        (bmp, UnsupportedFrameError, "BMP"),
    ]:
        with pytest.raises(error, match=words) as caught:
            read_frame(path)
        assert str(path) in str(caught.value)
        assert caught.value.remedy


def test_images_of_no_pixels_and_of_one_bit_are_refused(tmp_path):
    none, bits, tif_bits = tmp_path / "0.png", tmp_path / "1.png", tmp_path / "1.tif"
    none.write_bytes(_png_chunk_size(0, 40))
    bits.write_bytes(_png_chunk_size(60, 40, bits=1))
    tifffile.imwrite(tif_bits, GREY > 100)
    with pytest.raises(EmptyFrameError):
        read_frame(none)
    for path in (bits, tif_bits):
        with pytest.raises(UnsupportedFrameError, match="1 bit"):
            read_frame(path)


def test_cmyk_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.dstack([COLOUR, GREY]), photometric="separated")
    with pytest.raises(UnsupportedFrameError, match="colour space"):
        read_frame(path)


def _encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    if kind == "png":
        return bytes(imagecodecs.png_encode(noise))
    if kind == "jpg":
        return bytes(imagecodecs.jpeg_encode(noise, level=90))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise, compression="lzw" if kind == "lzw" else None, rowsperstrip=8)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpg", "lzw", "tif"])
@given(fraction=st.floats(0.01, 0.97))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_files_are_refused(tmp_path, kind, fraction):
    data = _encoded(kind)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data[: max(1, int(len(data) * fraction))])
    with pytest.raises((TruncatedFrameError, UnsupportedFrameError, EmptyFrameError)):
        read_frame(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "lzw", "tif"])
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
    at_head=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_bytes_give_a_frame_or_a_typed_error(tmp_path, kind, changes, at_head):
    data = bytearray(_encoded(kind))
    for place, value in changes:
        data[int(place * (min(400, len(data)) if at_head else len(data)))] = value
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    try:
        frame = read_frame(path, limits=ReadLimits(max_pixels=10**6))
    except FrameError as error:
        assert error.code != "frame"
    else:
        assert frame.pixels.ndim == 2


def _sidecar(path: Path, content: object) -> Path:
    path.with_suffix(".json").write_text(json.dumps(content), "utf-8")
    return path


def _frame_with_scale(folder: Path) -> Path:
    from labsem.frames import FrameMetadata, write_frame

    path = folder / "f.tif"
    write_frame(path, GREY, FrameMetadata(acquisition=Acquisition(pixel_size_nm=10, detector="header")))
    return path


def test_scale_precedence(tmp_path):
    path = _frame_with_scale(tmp_path)

    def scale(**arguments: object) -> tuple[float | None, str | None]:
        frame: Frame = read_frame(path, **arguments)
        assert frame.hfw_um == pytest.approx(frame.pixel_size_nm * 60 / 1e3)
        assert frame.magnification == pytest.approx(0.5e6 / frame.hfw_um)
        return pytest.approx(frame.pixel_size_nm), frame.metadata.scale_source

    assert scale() == (10, "header")
    _sidecar(path, {"acquisition": {"hfw_um": 1.2}})
    assert scale() == (20, "sidecar")
    assert scale(acquisition=Acquisition(pixel_size_nm=30)) == (30, "event")
    assert scale(acquisition=Acquisition(pixel_size_nm=30), hfw_um=2.4) == (40, "argument")
    assert scale(pixel_size_nm=50) == (50, "argument")
    assert read_frame(path).acquisition.detector == "header"


def test_an_instruments_own_magnification_stays_unless_a_nearer_scale_comes(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    _sidecar(path, {"acquisition": {"pixel_size_nm": 10, "magnification": 777}})
    assert read_frame(path).magnification == 777
    assert read_frame(path, pixel_size_nm=20).magnification == pytest.approx(0.5e6 / 1.2)
    assert read_frame(path, acquisition=Acquisition(magnification=999)).magnification == 999
    assert read_frame(path, pixel_size_nm=20, display_width_m=0.3).magnification == pytest.approx(0.3e6 / 1.2)


def test_whole_payload_is_a_sidecar(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    _sidecar(
        path,
        {
            "frame_id": "x",
            "sample_name": "S",
            "position_x_mm": 1.5,
            "acquired_at": "2026-01-02T03:04:05+01:00",
            "acquisition": {"working_distance_mm": 4.0},
        },
    )
    metadata = read_frame(path).metadata
    assert metadata.acquired_at.isoformat() == "2026-01-02T02:04:05+00:00"
    assert (metadata.sample_name, metadata.position_x_mm, metadata.scale_source) == ("S", 1.5, None)
    assert metadata.acquisition.working_distance_mm == 4


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"acquisition": {"pixel_size_nm": -1}}',
        '{"position_x_mm": "far"}',
        '{"acquired_at": "2026-01-01T00:00:00"}',
    ],
)
def test_broken_sidecars_are_named(tmp_path, content):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    path.with_suffix(".json").write_text(content)
    with pytest.raises(InvalidFrameError, match=r"a\.json"):
        read_frame(path)


def test_contradictory_and_impossible_scales_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)
    with pytest.raises(InvalidFrameError, match="60 pixels of that size"):
        read_frame(path, pixel_size_nm=10, hfw_um=5)
    assert read_frame(path, pixel_size_nm=10, hfw_um=0.605).pixel_size_nm == 10
    with pytest.raises(InvalidFrameError, match="positive"):
        read_frame(path, pixel_size_nm=-4)
