"""Events and rows that the store's tests share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.base import Schema
from schemas.envelope import Envelope
from schemas.image import Acquisition, ImageAcquired
from schemas.registry import schema_id

EPOCH = UUID("6f7e7f0a-6d0a-4e0e-8f10-0a4b9c1d2e3f")


@pytest.fixture
def make_event() -> Callable[..., ImageAcquired]:
    """Makes events of frames of sample ``powder-1`` on instrument ``sem-1``."""

    def make(**fields: Any) -> ImageAcquired:
        frame_id = fields.pop("frame_id", None) or uuid4()
        return ImageAcquired(
            **{
                "frame_id": frame_id,
                "sample_id": "powder-1",
                "instrument_id": "sem-1",
                "image_root": "sem-1",
                "path": f"powder-1/{frame_id}.tif",
                "size_bytes": 1000,
                "sha256": frame_id.hex * 2,
                "acquired_at": datetime(2026, 5, 4, 12, tzinfo=UTC),
                "position_x_mm": 1.0,
                "position_y_mm": -2.0,
                "acquisition": Acquisition(hfw_um=100.0, pixel_size_nm=97.65625),
                **fields,
            }
        )

    return make


@pytest.fixture
def make_envelope() -> Callable[..., Envelope]:
    """Makes envelopes of stream ``gateway.sem-1``."""

    def make(payload: Schema, sequence: int = 1, **fields: Any) -> Envelope:
        return Envelope(
            **{
                "schema_id": schema_id(payload),
                "stream": "gateway.sem-1",
                "epoch": EPOCH,
                "sequence": sequence,
                "event_id": uuid4(),
                "sent_at": datetime(2026, 5, 4, 12, tzinfo=UTC),
                **fields,
            }
        )

    return make
