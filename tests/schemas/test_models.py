"""What a model takes when it is read, what when it is written, and what its names must say."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.base import Schema
from schemas.envelope import Envelope, Heartbeat, topic
from schemas.image import Acquisition, ImageAcquired, PlainImage
from schemas.morphology import Distribution
from schemas.registry import (
    EVENTS,
    OTHERS,
    UnsupportedSchemaError,
    event_model,
    event_name,
    schema_id,
)
from schemas.requests import REQUEST, Replay
from schemas.settings import Settings

LENGTHS = ("_um", "_nm", "_mm", "_m", "_px", "_um2", "_px2")
UNITS = (*LENGTHS, "_kv", "_ns", "_s", "_days", "_deg", "_mib", "_fraction", "_ratio")
DIMENSIONLESS = {
    "magnification",
    "magnification_split",
    "n_effective",
    "log_d50_se",
    "p10",
    "p50",
    "p90",
    "value",
    "lower_95",
    "upper_95",
    "area_coverage",
    "area_coverage_max",
    "charging",
    "charging_max",
    "d50_interval_ratio_after",
    "d50_interval_ratio_before",
    "elsewhere_fields",
    "size_over_floor_min",
    "size_share_max",
    "size_share_max_of_few",
    "solidity_min",
    "specks_share_min",
    "focus",
    "focus_min",
    "focus_before",
    "focus_after",
    "signal_to_noise",
    "signal_to_noise_min",
    "scale_relative_uncertainty",
    "spot_size_range",
    "stigmator_range",
    "until_d50_within",
    "uncertain_fraction_before",
    "uncertain_fraction_after",
    "options",
}
WHOLE_NUMBERS_OF_SECONDS = {"seconds"}


def models() -> Iterator[type[BaseModel]]:
    """Every model that is reached from the registry and the settings."""
    waiting: list[type[BaseModel]] = [*EVENTS.values(), *OTHERS.values(), Settings]
    seen: set[type[BaseModel]] = set()
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            waiting += [
                part
                for part in parts(field.annotation)
                if isinstance(part, type) and issubclass(part, BaseModel)
            ]


def parts(annotation: object) -> Iterator[object]:
    """The types in an annotation: of ``tuple[float, float] | None`` tuple, float and NoneType."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return
    if not arguments or isinstance(annotation, types.GenericAlias):
        yield annotation
    for argument in arguments:
        yield from parts(argument)


def named_floats() -> list[str]:
    return sorted(
        f"{model.__name__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if any(part is float for part in parts(field.annotation))
    )


def test_the_walk_finds_floats_of_all_shapes():
    found = named_floats()
    assert {"Acquisition.hfw_um", "Capabilities.stage_x_range_mm", "FrameMorphology.seconds"} <= set(found)
    assert len(found) > 60


@pytest.mark.parametrize("field", named_floats())
def test_a_float_names_its_unit(field):
    name = field.partition(".")[2]
    assert name.endswith(UNITS) or name in DIMENSIONLESS | WHOLE_NUMBERS_OF_SECONDS, (
        f"{field} has neither a unit in its name nor a place among the dimensionless ones"
    )


def test_no_model_takes_a_naive_time():
    for model in models():
        for name, field in model.model_fields.items():
            if any(part is datetime for part in parts(field.annotation)):
                pytest.fail(f"{model.__name__}.{name} takes naive times; use UtcTime")


def an_image(**changes: object) -> dict[str, object]:
    return {
        "frame_id": "6f2a1c1e-9f8c-4b57-9f6f-0d8f5b7a1d11",
        "sample_id": "a",
        "instrument_id": "i",
        "image_root": "r",
        "path": "x/y.tif",
        "size_bytes": 1,
        "sha256": "0" * 64,
        "acquired_at": "2026-01-02T03:04:05Z",
    } | changes


def read_image(**changes: object) -> ImageAcquired:
    return ImageAcquired.read(json.dumps(an_image(**changes)))


def test_a_time_with_a_zone_is_held_in_utc():
    assert read_image(acquired_at="2026-01-02T05:04:05+02:00").acquired_at == datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=UTC
    )
    assert read_image(acquired_at="2026-01-02T05:04:05+02:00").acquired_at.tzinfo is UTC
    with pytest.raises(ValidationError, match="timezone"):
        read_image(acquired_at="2026-01-02T03:04:05")


@pytest.mark.parametrize(
    "changes",
    [
        {"size_bytes": "1"},
        {"size_bytes": 1.5},
        {"size_bytes": -1},
        {"sha256": "ABC"},
        {"frame_id": 7},
        {"acquisition": {"hfw_um": "397"}},
        {"acquisition": {"hfw_um": 0}},
        {"acquisition": {"pixel_size_nm": float("nan")}},
        {"labels": [""]},
        {"labels": ["x"] * 17},
        {"index": -1},
        {"sample_name": "x" * 201},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_reading_is_strict(changes):
    with pytest.raises(ValidationError):
        read_image(**changes)


def test_a_field_of_a_later_minor_version_is_ignored_when_read_and_refused_when_written():
    later = an_image(acquisition={"hfw_um": 5.0, "stage_tilt_deg": 3.0}, vacuum_pa=1e-3)
    image = ImageAcquired.read(json.dumps(later))
    assert image.acquisition == Acquisition(hfw_um=5.0)
    with pytest.raises(ValidationError, match="vacuum_pa"):
        ImageAcquired(**later)
    with pytest.raises(ValidationError, match="hfw_mm"):
        Acquisition(hfw_mm=0.4)


@pytest.mark.parametrize("sample_id", ["a", "LFP-017.b_2", "x" * 64])
def test_a_sample_id_is_taken(sample_id):
    assert read_image(sample_id=sample_id).sample_id == sample_id


@pytest.mark.parametrize("sample_id", ["", "a b", "a/b", "ü", "x" * 65, "a\n", "a\x00"])
def test_a_sample_id_is_refused(sample_id):
    with pytest.raises(ValidationError, match="sample_id"):
        read_image(sample_id=sample_id)


@pytest.mark.parametrize("path", ["a.tif", "2026-01-02/a/b.tif", "a..b/c.tif", "µ/ä.tif"])
def test_a_path_under_its_root_is_taken(path):
    assert read_image(path=path).path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../a.tif",
        "a/../../b.tif",
        "a/..",
        "C:/a.tif",
        "..\\a.tif",
        "a\\b.tif",
        "a\x00.tif",
        "a\nb",
    ],
)
def test_a_path_out_of_its_root_is_refused(path):
    for model in (ImageAcquired, PlainImage):
        with pytest.raises(ValidationError, match="path"):
            model.read(json.dumps(an_image(path=path)))


def test_a_plain_image_needs_three_fields_and_can_answer_no_act():
    image = PlainImage.read(b'{"sample_id": "a", "image_root": "r", "path": "a.tif", "act_id": "x"}')
    assert not hasattr(image, "act_id")
    with pytest.raises(ValidationError, match="image_root"):
        PlainImage.read(b'{"sample_id": "a", "path": "a.tif"}')


def an_envelope(**changes: object) -> Envelope:
    return Envelope(
        **{
            "schema_id": "labsem.image-acquired/1",
            "stream": "gateway.phenom-1",
            "epoch": UUID(int=1),
            "sequence": 1,
            "event_id": UUID(int=2),
            "sent_at": datetime(2026, 1, 1, tzinfo=UTC),
            **changes,
        }
    )


def test_the_schema_id_is_called_schema_on_the_wire():
    sent = json.loads(an_envelope().to_bytes())
    assert sent["schema"] == "labsem.image-acquired/1"
    assert "schema_id" not in sent
    assert Envelope.read(json.dumps(sent)) == an_envelope()


@pytest.mark.parametrize(
    "changes",
    [{"sequence": 0}, {"schema_id": "image-acquired/1"}, {"schema_id": "labsem.x"}, {"stream": "a b"}],
)
def test_an_envelope_is_refused(changes):
    with pytest.raises(ValidationError):
        an_envelope(**changes)


def test_topics_of_samples_whose_names_begin_alike_differ():
    assert topic("image-acquired", "a") == "image-acquired/a/"
    assert topic("instrument-status", None) == "instrument-status//"
    assert not topic("image-acquired", "ab").startswith(topic("image-acquired", "a"))


def test_numbers_that_are_none_are_null_in_json():
    assert b"null" in Distribution(n=0, n_effective=0.0, d50_um=float("inf")).to_bytes()
    with pytest.raises(ValidationError):
        Distribution.read(b'{"n": 0, "n_effective": NaN}')


def test_an_unknown_major_is_named():
    assert event_model("labsem.image-acquired/1") is ImageAcquired
    with pytest.raises(UnsupportedSchemaError, match=r"labsem\.image-acquired/2.*upgrade"):
        event_model("labsem.image-acquired/2")


def test_an_event_names_its_schema_and_topic():
    image = read_image()
    assert schema_id(image) == "labsem.image-acquired/1"
    assert event_name(image) == "image-acquired"
    with pytest.raises(KeyError):
        schema_id(Acquisition())


def test_a_request_is_told_by_its_name():
    request = Replay(stream="s", epoch=UUID(int=1), after=3)
    assert REQUEST.validate_json(request.to_bytes(), strict=True) == request
    with pytest.raises(ValidationError):
        REQUEST.validate_json(b'{"request": "format_disk"}')


def test_models_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        read_image().sample_id = "b"


names = st.text("abzAZ059._-", min_size=1, max_size=64)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours))),
)
positive = st.none() | st.floats(min_value=1e-9, max_value=1e9)
acquisitions = st.builds(
    Acquisition,
    hfw_um=positive,
    pixel_size_nm=positive,
    magnification=positive,
    working_distance_mm=positive,
    accelerating_voltage_kv=positive,
    dwell_time_ns=positive,
    detector=st.none() | st.text(max_size=20),
    frame_averages=st.none() | st.integers(1, 255),
)
images = st.builds(
    ImageAcquired,
    frame_id=st.uuids(),
    sample_id=names,
    sample_name=st.none() | st.text(max_size=200),
    instrument_id=names,
    image_root=names,
    path=st.lists(st.text("aZ0_- ä", min_size=1, max_size=12), min_size=1, max_size=4).map("/".join),
    size_bytes=st.integers(0, 2**53),
    sha256=st.text("09af", min_size=64, max_size=64),
    acquired_at=times,
    position_x_mm=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    acquisition=acquisitions,
    act_id=st.none() | st.uuids(),
    labels=st.lists(st.text(min_size=1, max_size=64), max_size=16).map(tuple),
)
envelopes = st.builds(
    lambda **fields: Envelope(**fields),  # builds() would look into the model and find the alias
    schema_id=st.sampled_from(sorted(EVENTS)),
    stream=names,
    epoch=st.uuids(),
    sequence=st.integers(1, 2**62),
    event_id=st.uuids(),
    sent_at=times,
)
heartbeats = st.builds(
    Heartbeat, stream=names, epoch=st.uuids(), first=st.integers(0, 2**62), last=st.integers(0, 2**62)
)


@settings(max_examples=50, deadline=None)
@given(images | envelopes | heartbeats)
def test_what_is_written_is_read_again(message: Schema):
    assert type(message).read(message.to_bytes()) == message


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_is_refused_by_a_validation_error_and_nothing_else(raw: bytes):
    for model in (Envelope, ImageAcquired):
        with pytest.raises(ValidationError):
            model.read(raw)
