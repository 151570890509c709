"""What instruments write into their TIFFs: Phenom, FEI/Thermo, Zeiss and TESCAN headers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from labsem.frames.model import FrameMetadata
from schemas.image import Acquisition

FEI_IMAGE_TAG = 34683
ZEISS_TAG = 34118
FEI_TAGS = (34680, 34682)
TESCAN_TAG = 50431

_SCALES: dict[str, dict[str, float]] = {
    "nm": {"m": 1e9, "cm": 1e7, "mm": 1e6, "um": 1e3, "µm": 1e3, "μm": 1e3, "nm": 1.0, "pm": 1e-3},
    "mm": {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "nm": 1e-6},
    "kV": {"kV": 1.0, "V": 1e-3, "MV": 1e3},
    "ns": {"ns": 1.0, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9},
    "deg": {"deg": 1.0, "°": 1.0, "rad": 180 / math.pi},
    "x": {"": 1.0, "X": 1.0, "x": 1.0, "K": 1e3, "KX": 1e3},
}


class HeaderError(ValueError):
    """A header that is there and cannot be read."""


@dataclass(frozen=True)
class Header:
    """An instrument's header; ``databar_rows`` is none where it does not say."""

    metadata: FrameMetadata = field(default_factory=FrameMetadata)
    databar_rows: int | None = None


def read_header(tags: Mapping[int, Any], height_px: int) -> Header:
    """The header in a TIFF's tags; an empty one where there is none.

    Raises
    ------
    HeaderError
        Where a header is malformed, in an unknown unit, or of pixels that are not square.
    """
    if FEI_IMAGE_TAG in tags:
        return read_fei_image(tags[FEI_IMAGE_TAG])
    for tag in FEI_TAGS:
        if isinstance(tags.get(tag), dict):
            return _read_fei(tags[tag], height_px)
    if isinstance(tags.get(ZEISS_TAG), dict):
        return _read_zeiss(tags[ZEISS_TAG])
    if TESCAN_TAG in tags:
        return _read_tescan(tags[TESCAN_TAG])
    return Header()


def read_fei_image(xml: str | bytes) -> Header:
    """A Phenom's ``FeiImage`` document.

    Lengths carry a unit; ``samplePosition`` without one is in metres, ``rotation`` in radians, and ``highVoltage``
    is negative.
    """
    try:
        text = xml.decode("utf-8") if isinstance(xml, bytes) else xml
        root = fromstring(text.strip("\0 \r\n\t"))
    except (ParseError, DefusedXmlException, UnicodeDecodeError) as error:
        raise HeaderError(f"the FeiImage XML cannot be read ({error})") from error
    if root.tag != "FeiImage":
        raise HeaderError(f"the XML of tag {FEI_IMAGE_TAG} is a {root.tag!r}, not a FeiImage")
    scan = root.find("acquisition/scan")
    scan = Element("scan") if scan is None else scan
    pixel_size_nm = _square(_length(root, "pixelWidth", "nm", "m"), _length(root, "pixelHeight", "nm", "m"))
    rotation = _length(scan, "rotation", "deg", "rad")
    integrations = _length(root, "integrations", "x", "")
    databar = _length(root, "databarHeight", "x", "")
    metadata = FrameMetadata(
        acquisition=_acquisition(
            pixel_size_nm=pixel_size_nm,
            working_distance_mm=_length(root, "workingDistance", "mm", "m"),
            accelerating_voltage_kv=_length(scan, "highVoltage", "kV", "V"),
            detector=_text(scan, "detector"),
            dwell_time_ns=_length(scan, "dwellTime", "ns", "s"),
            frame_averages=integrations,
        ),
        instrument=_text(root, "instrument/type"),
        instrument_serial=_text(root, "instrument/uniqueID"),
        acquired_at=_time(_text(root, "time")),
        position_x_mm=_length(root, "samplePosition/x", "mm", "m"),
        position_y_mm=_length(root, "samplePosition/y", "mm", "m"),
        scan_rotation_deg=rotation,
        sample_name=_text(root, "databarLabel"),
    )
    return Header(metadata, None if databar is None else max(0, int(databar)))


def _read_fei(sections: Mapping[str, Mapping[str, Any]], height_px: int) -> Header:
    """FEI / Thermo INI-like header (SI units)."""

    def value(section: str, key: str, scale: float = 1.0) -> float | None:
        return _number(sections.get(section, {}).get(key), scale)

    bar = value("PrivateFei", "DatabarHeight")
    rows = value("Image", "ResolutionY")
    if bar is None and rows is not None and 0 < rows <= height_px:
        bar = height_px - rows
    system = sections.get("System", {})
    user = sections.get("User", {})
    metadata = FrameMetadata(
        acquisition=_acquisition(
            pixel_size_nm=_square(value("Scan", "PixelWidth", 1e9), value("Scan", "PixelHeight", 1e9)),
            working_distance_mm=value("Stage", "WorkingDistance", 1e3),
            accelerating_voltage_kv=value("Beam", "HV", 1e-3),
            detector=_word(sections.get("Detectors", {}).get("Name")),
            dwell_time_ns=value("Scan", "Dwelltime", 1e9),
            frame_averages=value("Scan", "Average") or value("Image", "Average"),
        ),
        instrument=_word(system.get("SystemType")) or _word(system.get("Type")),
        instrument_serial=_word(system.get("Dnumber")),
        acquired_at=_time(f"{user.get('Date', '')} {user.get('Time', '')}"),
        position_x_mm=value("Stage", "StageX", 1e3),
        position_y_mm=value("Stage", "StageY", 1e3),
        scan_rotation_deg=value("Beam", "ScanRotation", 180 / math.pi),
        sample_name=_word(user.get("UserText")),
    )
    return Header(metadata, None if bar is None else max(0, int(bar)))


def _read_zeiss(header: Mapping[str, Any]) -> Header:
    """Zeiss header as tifffile splits it: key -> (name, value[, unit]).

    Its data bar is burnt into the image without a word about its height.
    """

    def value(unit: str, *keys: str) -> float | None:
        for key in keys:
            entry = header.get(key)
            if isinstance(entry, tuple) and len(entry) > 1:
                number, found = _split(entry[1], str(entry[2]) if len(entry) > 2 else "")
                if number is not None:
                    return number * _factor(unit, found, key)
        return None

    def word(*keys: str) -> str | None:
        for key in keys:
            entry = header.get(key)
            if isinstance(entry, tuple) and len(entry) > 1:
                return _word(entry[1])
        return None

    metadata = FrameMetadata(
        acquisition=_acquisition(
            pixel_size_nm=value("nm", "ap_image_pixel_size", "ap_pixel_size"),
            magnification=value("x", "ap_mag"),
            working_distance_mm=value("mm", "ap_wd"),
            accelerating_voltage_kv=value("kV", "ap_actualkv", "ap_manualkv"),
            detector=word("dp_detector_channel", "dp_detector_type"),
        ),
        instrument=word("dp_sem", "sv_instrument") or "Zeiss",
        instrument_serial=word("sv_serial_number"),
        position_x_mm=value("mm", "ap_stage_at_x"),
        position_y_mm=value("mm", "ap_stage_at_y"),
        sample_name=word("sv_sample_id"),
    )
    return Header(metadata)


def _read_tescan(raw: Any) -> Header:
    """TESCAN header: ``key=value`` lines (SI units) inside a binary block."""
    data = bytes(raw) if not isinstance(raw, str) else raw.encode("latin-1", "replace")
    found = dict(
        re.findall(r"(?m)^([A-Za-z][A-Za-z0-9]*)=([^\r\n\0]*)", data.decode("latin-1").replace("\0", "\n"))
    )

    def value(key: str, scale: float = 1.0) -> float | None:
        return _number(found.get(key), scale)

    strip = value("ImageStripSize")
    metadata = FrameMetadata(
        acquisition=_acquisition(
            pixel_size_nm=_square(value("PixelSizeX", 1e9), value("PixelSizeY", 1e9)),
            magnification=value("Magnification"),
            working_distance_mm=value("WD", 1e3),
            accelerating_voltage_kv=value("HV", 1e-3) or value("AcceleratorVoltage", 1e-3),
            detector=_word(found.get("Detector")),
            dwell_time_ns=value("DwellTime", 1e9),
            frame_averages=value("AccFrames"),
        ),
        instrument=_word(found.get("Device")) or "TESCAN",
        instrument_serial=_word(found.get("SerialNumber")),
        acquired_at=_time(f"{found.get('Date', '')} {found.get('Time', '')}"),
        position_x_mm=value("StageX", 1e3),
        position_y_mm=value("StageY", 1e3),
        scan_rotation_deg=value("ScanRotation"),
    )
    return Header(metadata, None if strip is None else max(0, int(strip)))


def _acquisition(**values: float | str | None) -> Acquisition:
    """An acquisition of what is positive and finite; voltages are given without their sign."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str):
            kept[name] = value
        elif value is not None and abs(value) > 0:
            if name == "frame_averages":
                kept[name] = max(1, round(value))
            elif name == "accelerating_voltage_kv":
                kept[name] = abs(value)
            elif value > 0:
                kept[name] = value
    return Acquisition(**kept)


def _text(node: Element, path: str) -> str | None:
    found = node.find(path)
    return None if found is None else _word(found.text)


def _length(node: Element, path: str, unit: str, default: str) -> float | None:
    found = node.find(path)
    number = None if found is None else _number(found.text)
    if found is None or number is None:
        return None
    return number * _factor(unit, (found.get("unit") or default).strip(), path)


def _factor(unit: str, found: str, name: str) -> float:
    scales = _SCALES[unit]
    if found not in scales:
        raise HeaderError(f"{name} is given in {found!r}, which is none of {', '.join(sorted(scales))}")
    return scales[found]


def _number(value: Any, scale: float = 1.0) -> float | None:
    try:
        number = float(value) * scale
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _split(value: Any, unit: str) -> tuple[float | None, str]:
    """``10.0 K X`` and its like."""
    number = _number(value)
    if number is None and isinstance(value, str):
        first, _, rest = value.partition(" ")
        return _number(first), rest.replace(" ", "")
    return number, unit


def _word(value: Any) -> str | None:
    text = "" if value is None or isinstance(value, bool) else " ".join(str(value).split())
    return text[:200] or None


def _square(width_nm: float | None, height_nm: float | None) -> float | None:
    if width_nm and height_nm and abs(width_nm - height_nm) > 0.01 * width_nm:
        raise HeaderError(f"its pixels are {width_nm:.6g} x {height_nm:.6g} nm, not square")
    return width_nm


_TIME_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S")


def _time(text: str | None) -> datetime | None:
    """A time in UTC; one without a zone is taken as UTC."""
    if not text or not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        for form in _TIME_FORMATS:
            try:
                found = datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
                break
            except ValueError:
                continue
        else:
            return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
