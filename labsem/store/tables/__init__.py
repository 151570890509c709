"""Typed models of all tables; migrations, not these classes, make them in a database."""

from labsem.store.tables.acts import ActRow, JobRow, SiteRow
from labsem.store.tables.base import NAMING_CONVENTION, Base
from labsem.store.tables.frames import (
    AnalysisMaskRow,
    AnalysisRow,
    FrameRow,
    InstrumentRow,
    ModelRow,
    ParticleRow,
    SampleRow,
    SummaryRow,
)
from labsem.store.tables.messages import (
    AnnouncedFileRow,
    CursorRow,
    GapRow,
    InboxRow,
    JournalRow,
    RejectedRow,
    StreamRow,
)

__all__ = [
    "NAMING_CONVENTION",
    "ActRow",
    "AnalysisMaskRow",
    "AnalysisRow",
    "AnnouncedFileRow",
    "Base",
    "CursorRow",
    "FrameRow",
    "GapRow",
    "InboxRow",
    "InstrumentRow",
    "JobRow",
    "JournalRow",
    "ModelRow",
    "ParticleRow",
    "RejectedRow",
    "SampleRow",
    "SiteRow",
    "StreamRow",
    "SummaryRow",
]
