"""One entry: a file becomes a frame with its scale."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import TypeAdapter, ValidationError

from labsem.frames.databar import detect_databar
from labsem.frames.decode import AGAIN, decode
from labsem.frames.errors import EmptyFrameError, InvalidFrameError
from labsem.frames.files import sidecar_path
from labsem.frames.headers import Header, HeaderError, read_header
from labsem.frames.model import DISPLAY_WIDTH_M, Frame, FrameMetadata, ReadLimits
from schemas.base import UtcTime
from schemas.image import Acquisition

log = structlog.get_logger(__name__)

_SIDECAR_BYTES = 2**20
_SCALE_TOLERANCE = 0.02
_SCALE_FIELDS = ("pixel_size_nm", "hfw_um", "magnification")
_POSITION_FIELDS = ("position_x_mm", "position_y_mm", "scan_rotation_deg")
_TIME: TypeAdapter[Any] = TypeAdapter(UtcTime)


def read_frame(
    path: str | Path,
    *,
    limits: ReadLimits = ReadLimits(),  # noqa: B008 - frozen
    pixel_size_nm: float | None = None,
    hfw_um: float | None = None,
    acquisition: Acquisition | None = None,
    display_width_m: float = DISPLAY_WIDTH_M,
    databar: Literal["auto", "none"] = "auto",
) -> Frame:
    """Read one frame: grey pixels without data bar, and all that is known of how it was taken.

    Each field comes from the first that has it: explicit argument, ``acquisition`` (the event's), the sidecar
    ``NAME.json`` (an ``ImageAcquired`` payload, or its ``acquisition``), the file's header. The scale (pixel size
    or field width) comes whole from one of them. HFW = pixel size x width; magnification, where nobody at least as
    near as the scale gives one, is display width / HFW.

    The data bar's height is the header's; where that says nothing, the bar is looked for in the pixels.
    A header that cannot be read is left out with the note ``header``.

    Raises
    ------
    FrameError
        One of its kinds; limits are checked before anything is decoded.
    """
    path = Path(path)
    decoded = decode(path, limits)
    pixels = decoded.pixels
    height_px, width_px = pixels.shape
    notes = list(decoded.notes)
    try:
        header = read_header(decoded.tags, height_px)
    except HeaderError as error:
        log.warning("frame_header_unreadable", path=str(path), reason=str(error))
        header = Header()
        notes.append("header")
    rows = 0
    if databar == "auto":
        rows = header.databar_rows if header.databar_rows is not None else detect_databar(pixels)
    if rows >= height_px:
        raise EmptyFrameError(path, f"its data bar has {rows} of its {height_px} rows", AGAIN)
    argument = _argument(path, pixel_size_nm, hfw_um)
    sidecar = _read_sidecar(path)
    metadata = _combine(
        path,
        [
            ("argument", argument),
            ("event", FrameMetadata(acquisition=acquisition or Acquisition())),
            ("sidecar", sidecar),
            ("header", header.metadata),
        ],
        width_px,
        display_width_m,
    )
    return Frame(pixels[: height_px - rows], metadata, rows, path, tuple(dict.fromkeys(notes)))


def complete_scale(
    acquisition: Acquisition, width_px: int, display_width_m: float = DISPLAY_WIDTH_M
) -> Acquisition:
    """The same acquisition with pixel size, HFW and magnification filled in from whichever scale is known."""
    size, hfw = acquisition.pixel_size_nm, acquisition.hfw_um
    if size is None and hfw is not None:
        size = hfw * 1e3 / width_px
    if size is not None and hfw is None:
        hfw = size * width_px / 1e3
    if size is None or hfw is None:
        return acquisition
    magnification = acquisition.magnification or display_width_m * 1e6 / hfw
    return acquisition.model_copy(
        update={"pixel_size_nm": size, "hfw_um": hfw, "magnification": magnification}
    )


def _argument(path: Path, pixel_size_nm: float | None, hfw_um: float | None) -> FrameMetadata:
    try:
        return FrameMetadata(acquisition=Acquisition(pixel_size_nm=pixel_size_nm, hfw_um=hfw_um))
    except ValidationError as error:
        raise InvalidFrameError(
            path,
            f"pixel_size_nm={pixel_size_nm} and hfw_um={hfw_um} cannot be its scale",
            "give a positive number",
        ) from error


def _combine(
    path: Path, sources: Sequence[tuple[str, FrameMetadata]], width_px: int, display_width_m: float
) -> FrameMetadata:
    fields: dict[str, Any] = {}
    scale_source: str | None = None
    for name, source in sources:
        given = source.acquisition
        scaled = given.pixel_size_nm is not None or given.hfw_um is not None
        if scale_source is None and scaled:
            scale_source = name
            _check_scale(path, name, given, width_px)
            fields.update(pixel_size_nm=given.pixel_size_nm, hfw_um=given.hfw_um)
            fields.setdefault("magnification", given.magnification)
        elif scale_source is None and given.magnification is not None:
            fields.setdefault("magnification", given.magnification)
        for field, value in given:
            if value is not None and field not in _SCALE_FIELDS:
                fields.setdefault(field, value)
    combined = FrameMetadata()
    for _, source in sources:
        for field in (*_POSITION_FIELDS, "instrument", "instrument_serial", "acquired_at", "sample_name"):
            if getattr(combined, field) is None:
                combined = replace(combined, **{field: getattr(source, field)})
    acquisition = complete_scale(Acquisition(**fields), width_px, display_width_m)
    return replace(combined, acquisition=acquisition, scale_source=scale_source)


def _check_scale(path: Path, source: str, given: Acquisition, width_px: int) -> None:
    if given.pixel_size_nm is None or given.hfw_um is None:
        return
    hfw_um = given.pixel_size_nm * width_px / 1e3
    if abs(hfw_um - given.hfw_um) > _SCALE_TOLERANCE * given.hfw_um:
        raise InvalidFrameError(
            path,
            f"the {source} gives hfw_um={given.hfw_um:g} and pixel_size_nm={given.pixel_size_nm:g}, "
            f"but {width_px} pixels of that size are {hfw_um:g} um",
            "give one of the two, or mend the wrong one",
        )


def _read_sidecar(path: Path) -> FrameMetadata:
    beside = sidecar_path(path)
    if beside == path or not beside.is_file():
        return FrameMetadata()
    remedy = f"mend or remove {beside.name}"
    if beside.stat().st_size > _SIDECAR_BYTES:
        raise InvalidFrameError(beside, f"a sidecar of more than {_SIDECAR_BYTES} bytes", remedy)
    try:
        raw = json.loads(beside.read_text("utf-8"))
        if not isinstance(raw, dict):
            return FrameMetadata()
        values: dict[str, Any] = {}
        for field in _POSITION_FIELDS:
            if raw.get(field) is not None:
                values[field] = float(raw[field])
        if raw.get("acquired_at") is not None:
            values["acquired_at"] = _TIME.validate_python(raw["acquired_at"])
        if raw.get("sample_name") is not None:
            values["sample_name"] = str(raw["sample_name"])[:200]
        given = raw["acquisition"] if isinstance(raw.get("acquisition"), dict) else raw
        known = {name: given[name] for name in Acquisition.model_fields if name in given}
        return FrameMetadata(acquisition=Acquisition.model_validate(known), **values)
    except (ValueError, TypeError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidFrameError(beside, f"a sidecar that cannot be read ({reason})", remedy) from error
