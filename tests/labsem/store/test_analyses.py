"""Analyses: one current, none overwritten, found again from any number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import func, select

from labsem.segmentation import Segmentation
from labsem.store import NotFoundError, Store, analyses, queries
from labsem.store.tables import AnalysisMaskRow, AnalysisRow, FrameRow, ModelRow, ParticleRow
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import FrameMorphology, ModelReference

Record = Callable[..., FrameMorphology]


def test_numbers_and_masks_come_back(
    store: Store,
    record: Record,
    make_event: Callable[..., ImageAcquired],
    make_segmentation: Callable[..., Segmentation],
    make_particles: Callable[[Segmentation], dict[str, Any]],
) -> None:
    event, segmentation = make_event(), make_segmentation(4)
    with store.write() as session:
        morphology = record(session, event, segmentation=segmentation)
    with store.read() as session:
        row = analyses.current_analysis(session, event.frame_id)
        particles = analyses.particles(session, row)
        masks = analyses.segmentation(session, event.frame_id)
        answer = queries.frame(session, event.frame_id)
        frame = session.get_one(FrameRow, event.frame_id)
        model = session.get_one(ModelRow, row.model_sha256)
    given = make_particles(segmentation)
    for name in analyses.PARTICLE_COLUMNS:
        np.testing.assert_array_equal(particles[name], given[name], err_msg=name)
        assert particles[name].dtype.kind == np.asarray(given[name]).dtype.kind, name
    np.testing.assert_allclose(particles["ecd_um"], particles["ecd_px"] * 0.09765625)
    np.testing.assert_allclose(particles["area_um2"], particles["area_px"] * 0.09765625**2)
    np.testing.assert_array_equal(masks.label_image, segmentation.label_image)
    assert answer.morphology == morphology
    assert (answer.path, answer.sha256) == (event.path, event.sha256)
    assert frame.event == event.to_bytes()
    assert (row.code_version, row.settings) == ("0.1.0", {"min_ecd_um": None, "limits": [1, 2]})
    assert model.name == "labsem-low"


def test_a_frame_without_a_scale_has_pixels_only(
    store: Store, record: Record, make_event: Callable[..., ImageAcquired]
) -> None:
    event = make_event(acquisition=Acquisition())
    with store.write() as session:
        record(session, event)
        particles = analyses.particles(session, analyses.current_analysis(session, event.frame_id))
    assert np.isnan(particles["ecd_um"]).all()
    assert np.isfinite(particles["ecd_px"]).all()


def test_a_later_analysis_becomes_current_and_the_earlier_stays(
    store: Store, record: Record, make_event: Callable[..., ImageAcquired]
) -> None:
    event = make_event()
    other = ModelReference(name="labsem-low", version="2", sha256="cd" * 32)
    with store.write() as session:
        first = record(session, event)
    with store.write() as session:
        second = record(session, event, model=other)
        third = record(session, event, model=other, code_version="0.2.0")
    with store.read() as session:
        assert analyses.current_analysis(session, event.frame_id).analysis_id == third.analysis_id
        ids = set(session.scalars(select(AnalysisRow.analysis_id)))
        assert ids == {first.analysis_id, second.analysis_id, third.analysis_id}
        assert session.scalar(select(func.count()).select_from(ParticleRow)) == 9


def test_the_same_analysis_again_stores_nothing(
    store: Store,
    record: Record,
    make_event: Callable[..., ImageAcquired],
    make_morphology: Callable[..., FrameMorphology],
    make_segmentation: Callable[..., Segmentation],
    make_particles: Callable[[Segmentation], dict[str, Any]],
) -> None:
    event, segmentation = make_event(), make_segmentation()
    with store.write() as session:
        first = record(session, event)
    with store.write() as session:
        assert not analyses.record_analysis(
            session,
            event=event,
            payload=event.to_bytes(),
            stream="gateway.sem-1",
            morphology=make_morphology(event),
            particles=make_particles(segmentation),
            segmentation=segmentation,
            settings={"limits": [1, 2], "min_ecd_um": None},
            code_version="0.1.0",
        )
    with store.read() as session:
        assert analyses.current_analysis(session, event.frame_id).analysis_id == first.analysis_id
        assert session.scalar(select(func.count()).select_from(AnalysisMaskRow)) == 1


def test_a_missing_column_is_named_and_nothing_is_stored(
    store: Store,
    make_event: Callable[..., ImageAcquired],
    make_morphology: Callable[..., FrameMorphology],
    make_segmentation: Callable[..., Segmentation],
    make_particles: Callable[[Segmentation], dict[str, Any]],
) -> None:
    event, segmentation = make_event(), make_segmentation()
    particles = make_particles(segmentation)
    del particles["solidity"]
    with pytest.raises(ValueError, match="lack the columns solidity"), store.write() as session:
        analyses.record_analysis(
            session,
            event=event,
            payload=event.to_bytes(),
            stream="gateway.sem-1",
            morphology=make_morphology(event),
            particles=particles,
            segmentation=segmentation,
            settings={},
            code_version="0.1.0",
        )
    with store.read() as session, pytest.raises(NotFoundError, match="labsem frames list"):
        queries.frame(session, event.frame_id)


def test_a_superseded_frame_no_longer_counts(
    store: Store, record: Record, make_event: Callable[..., ImageAcquired]
) -> None:
    before, after = make_event(), make_event()
    with store.write() as session:
        record(session, before)
        record(session, after)
        analyses.supersede(session, before.frame_id, after.frame_id)
        with pytest.raises(NotFoundError):
            analyses.supersede(session, before.frame_id, uuid4())
    with store.read() as session:
        assert [each.frame_id for each in queries.current_frames(session, "powder-1")] == [after.frame_id]
        assert queries.frame(session, before.frame_id).superseded_by == after.frame_id


def test_a_particle_takes_little_room(sqlite_url: str, record: Record) -> None:
    count = 400
    discs = np.hypot(*np.mgrid[-10:11, -10:11]) < 9.5
    places = np.array([(y, x) for y in range(0, 460, 23) for x in range(0, 460, 23)], np.int32)[:count]
    rng = np.random.default_rng(1)
    segmentation = Segmentation(
        height_px=480,
        width_px=480,
        boxes=np.hstack((places, places + 21)).astype(np.int32),
        probabilities=tuple((discs * 255).astype(np.uint8) for _ in range(count)),
        objectness=rng.random(count),
        confidence=rng.random(count),
        mask_quality=rng.random(count),
    )
    with Store.open(sqlite_url) as store:

        def pages() -> int:
            with store.read() as session:
                return int(session.connection().exec_driver_sql("PRAGMA page_count").scalar_one())

        before = pages()
        with store.write() as session:
            record(session, segmentation=segmentation)
        size = (pages() - before) * 4096 / count
    assert size < 400, f"{size:.0f} bytes a particle; JSON contours take 3000"


def test_thousands_of_particles_keep_their_order(
    store: Store, record: Record, make_segmentation: Callable[..., Segmentation]
) -> None:
    with store.write() as session:
        morphology = record(session, segmentation=make_segmentation(2000))
    with store.read() as session:
        row = analyses.current_analysis(session, morphology.frame_id)
        particles = analyses.particles(session, row)
    np.testing.assert_array_equal(particles["label"], np.arange(1, 2001))
