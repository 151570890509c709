"""Writes a frame as a Phenom would: a TIFF with its acquisition as XML in tag 34683."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import tifffile
from numpy.typing import NDArray

from labsem.frames.files import write_atomically
from labsem.frames.headers import FEI_IMAGE_TAG
from labsem.frames.model import FrameMetadata

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_frame(
    path: str | Path, pixels: NDArray[Any], metadata: FrameMetadata | None = None, *, databar_rows: int = 0
) -> None:
    """Write (H, W) uint8 or uint16 pixels as a TIFF (LZW) that :func:`read_frame` reads back.

    What has no place in a FeiImage document, an instrument's own magnification, is left out. The pixel size is
    taken from ``hfw_um`` where only that is given. ``databar_rows`` rows are added below the pixels: black, with a
    line as long as the width that they name.

    Raises
    ------
    ValueError
        Where pixels have another shape or type.
    """
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"{path}: pixels are {pixels.shape} {pixels.dtype}; give (H, W) of uint8 or uint16, not empty"
        )
    metadata = metadata or FrameMetadata()
    if databar_rows > 0:
        bar = np.zeros((databar_rows, pixels.shape[1]), pixels.dtype)
        bar[databar_rows // 2, pixels.shape[1] // 10 : pixels.shape[1] // 10 * 3] = np.iinfo(pixels.dtype).max
        image = np.vstack([pixels, bar])
    else:
        image = np.ascontiguousarray(pixels)
    xml = fei_image_xml(metadata, pixels.shape[1], databar_rows)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        image,
        photometric="minisblack",
        compression="lzw",
        predictor=2,
        rowsperstrip=max(1, 2**18 // max(1, image.shape[1] * image.itemsize)),
        metadata=None,
        software="labsem",
        extratags=[(FEI_IMAGE_TAG, 2, len(xml) + 1, xml + b"\0", True)],
    )
    write_atomically(path, buffer.getvalue())


def fei_image_xml(metadata: FrameMetadata, width_px: int, databar_rows: int = 0) -> bytes:
    """The ``FeiImage`` document of a frame, in ASCII."""
    acquisition = metadata.acquisition
    root = Element("FeiImage")

    def add(parent: Element, name: str, value: object, unit: str | None = None) -> Element:
        node = SubElement(parent, name, {} if unit is None else {"unit": unit})
        node.text = _clean(repr(value) if isinstance(value, float) else str(value))
        return node

    add(root, "databarHeight", databar_rows)
    if metadata.sample_name:
        add(root, "databarLabel", metadata.sample_name)
    size_nm = acquisition.pixel_size_nm
    if size_nm is None and acquisition.hfw_um is not None:
        size_nm = acquisition.hfw_um * 1e3 / width_px
    if size_nm is not None:
        add(root, "pixelWidth", float(size_nm), "nm")
        add(root, "pixelHeight", float(size_nm), "nm")
    if metadata.acquired_at is not None:
        add(root, "time", metadata.acquired_at.isoformat())
    if acquisition.frame_averages is not None:
        add(root, "integrations", acquisition.frame_averages)
    if metadata.position_x_mm is not None or metadata.position_y_mm is not None:
        position = SubElement(root, "samplePosition")
        for axis, value in (("x", metadata.position_x_mm), ("y", metadata.position_y_mm)):
            if value is not None:
                add(position, axis, value / 1e3)
    scan = SubElement(SubElement(root, "acquisition"), "scan")
    if acquisition.dwell_time_ns is not None:
        add(scan, "dwellTime", float(acquisition.dwell_time_ns), "ns")
    if metadata.scan_rotation_deg is not None:
        add(scan, "rotation", math.radians(metadata.scan_rotation_deg))
    if acquisition.detector:
        add(scan, "detector", acquisition.detector)
    if acquisition.accelerating_voltage_kv is not None:
        add(scan, "highVoltage", -float(acquisition.accelerating_voltage_kv), "kV")
    if acquisition.working_distance_mm is not None:
        add(root, "workingDistance", float(acquisition.working_distance_mm), "mm")
    instrument = SubElement(root, "instrument")
    if metadata.instrument:
        add(instrument, "type", metadata.instrument)
    if metadata.instrument_serial:
        add(instrument, "uniqueID", metadata.instrument_serial)
    document: bytes = tostring(root, encoding="us-ascii", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + document


def _clean(text: str) -> str:
    return " ".join(_NOT_XML.sub("", text).split())
