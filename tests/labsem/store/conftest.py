"""Events and rows that the store's tests share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy.orm import Session

from labsem.segmentation import Segmentation
from labsem.store import analyses
from labsem.store.analyses import PARTICLE_COLUMNS
from schemas.base import Schema
from schemas.envelope import Envelope
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import (
    Distribution,
    FrameMorphology,
    ModelReference,
    Populations,
    Regime,
    Shapes,
    Sizes,
    UncertainFraction,
)
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


@pytest.fixture
def make_segmentation() -> Callable[..., Segmentation]:
    """Makes ``count`` blobs in a frame of 48 x 64 pixels."""

    def make(count: int = 3, seed: int = 0) -> Segmentation:
        rng = np.random.default_rng(seed)
        corners = np.stack((rng.integers(0, 36, count), rng.integers(0, 52, count)), axis=1)
        sizes = rng.integers(3, 12, (count, 2))
        return Segmentation(
            height_px=48,
            width_px=64,
            boxes=np.hstack((corners, corners + sizes)).astype(np.int32),
            probabilities=tuple(rng.integers(0, 256, size).astype(np.uint8) for size in sizes),
            objectness=rng.random(count),
            confidence=rng.random(count),
            mask_quality=rng.random(count),
        )

    return make


@pytest.fixture
def make_particles() -> Callable[[Segmentation], dict[str, Any]]:
    """Makes columns of particles with distinct numbers; some null, as small particles have them."""

    def make(segmentation: Segmentation) -> dict[str, Any]:
        count = len(segmentation)
        columns: dict[str, Any] = {
            name: np.arange(count) + 10.0 * place for place, name in enumerate(PARTICLE_COLUMNS)
        }
        columns["label"] = np.arange(1, count + 1)
        for place, name in enumerate(("y0", "x0", "y1", "x1")):
            columns[name] = segmentation.boxes[:, place].astype(np.int64)
        columns["certain"] = segmentation.certain
        columns["cut_by_edge"] = np.zeros(count, bool)
        columns["perimeter_px"] = np.full(count, np.nan)
        columns["ecd_um"] = columns["ecd_px"] * 0.1  # derived columns are not stored
        return columns

    return make


@pytest.fixture
def make_morphology() -> Callable[..., FrameMorphology]:
    """Makes summaries of an event's frame."""

    def make(event: ImageAcquired, **fields: Any) -> FrameMorphology:
        none = Distribution(n=0, n_effective=0)
        some = Populations(certain=none, all=Distribution(n=3, n_effective=3, d50_um=1.5, d50_px=15.0))
        return FrameMorphology(
            **{
                "frame_id": event.frame_id,
                "analysis_id": uuid4(),
                "sample_id": event.sample_id,
                "instrument_id": event.instrument_id,
                "acquired_at": event.acquired_at,
                "analysed_at": event.acquired_at,
                "acquisition": event.acquisition,
                "regime": Regime.LOW,
                "model": ModelReference(name="labsem-low", version="1", sha256="ab" * 32),
                "width_px": 64,
                "height_px": 48,
                "databar_rows": 0,
                "particle_count": 3,
                "certain_count": 2,
                "uncertain_count": 1,
                "cut_by_edge_count": 0,
                "area_coverage": 0.1,
                "uncertain_fraction": UncertainFraction(value=1 / 3, n=3, lower_95=0.1, upper_95=0.7),
                "sizes": Sizes(number=some, area=some, volume=some),
                "shapes": Shapes(),
                "saturated_fraction": 0.0,
                **fields,
            }
        )

    return make


@pytest.fixture
def record(
    make_event: Callable[..., ImageAcquired],
    make_segmentation: Callable[..., Segmentation],
    make_particles: Callable[[Segmentation], dict[str, Any]],
    make_morphology: Callable[..., FrameMorphology],
) -> Callable[..., FrameMorphology]:
    """Stores an analysed frame in a session; gives its summary."""

    def store_frame(
        session: Session,
        event: ImageAcquired | None = None,
        *,
        code_version: str = "0.1.0",
        segmentation: Segmentation | None = None,
        **fields: Any,
    ) -> FrameMorphology:
        event = event or make_event()
        segmentation = segmentation or make_segmentation()
        morphology = make_morphology(event, **fields)
        assert analyses.record_analysis(
            session,
            event=event,
            payload=event.to_bytes(),
            stream="gateway.sem-1",
            morphology=morphology,
            particles=make_particles(segmentation),
            segmentation=segmentation,
            settings={"min_ecd_um": None, "limits": [1, 2]},
            code_version=code_version,
        )
        return morphology

    return store_frame
