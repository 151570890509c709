"""Tables of messages: journals, cursors, gaps, the inbox and what was rejected."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from labsem.store.tables.base import Base, Name, RowId, Sha256Text


class StreamRow(Base):
    """Head of a journal that is written here; ``last`` numbers its messages."""

    __tablename__ = "streams"

    stream: Mapped[str] = mapped_column(Name, primary_key=True)
    epoch: Mapped[UUID]
    last: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]


class JournalRow(Base):
    """One message as it is sent."""

    __tablename__ = "journal"

    stream: Mapped[str] = mapped_column(Name, ForeignKey("streams.stream"), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    topic: Mapped[str] = mapped_column(String(200))
    envelope: Mapped[bytes]
    payload: Mapped[bytes]
    sample_id: Mapped[str | None] = mapped_column(Name)
    at: Mapped[datetime] = mapped_column(index=True)


class CursorRow(Base):
    """How far a reader has come in another publisher's stream."""

    __tablename__ = "cursors"

    reader: Mapped[str] = mapped_column(Name, primary_key=True)
    stream: Mapped[str] = mapped_column(Name, primary_key=True)
    epoch: Mapped[UUID]
    sequence: Mapped[int] = mapped_column(BigInteger)
    moved_at: Mapped[datetime]


class GapRow(Base):
    """Messages that were never received, and why."""

    __tablename__ = "gaps"

    gap_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    reader: Mapped[str] = mapped_column(Name)
    stream: Mapped[str] = mapped_column(Name)
    epoch: Mapped[UUID]
    first: Mapped[int] = mapped_column(BigInteger)
    last: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime]


class InboxRow(Base):
    """An event that was received; of a frame, the work that it means."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index(None, "state", "inbox_id"),
        Index(None, "sample_id", "state"),
        Index(None, "stream", "epoch", "sequence"),
    )

    inbox_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    stream: Mapped[str] = mapped_column(Name)
    epoch: Mapped[UUID | None]
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    event_id: Mapped[UUID | None]
    message_key: Mapped[str] = mapped_column(String(300), unique=True)
    schema_id: Mapped[str] = mapped_column(String(100))
    plain: Mapped[bool] = mapped_column(default=False)
    payload: Mapped[bytes]
    sample_id: Mapped[str | None] = mapped_column(Name)
    frame_id: Mapped[UUID | None] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(String(16))
    claimed_by: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    received_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class RejectedRow(Base):
    """What could not be processed: why, and what to do."""

    __tablename__ = "rejected"

    rejected_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    inbox_id: Mapped[int | None] = mapped_column(ForeignKey("inbox.inbox_id"), index=True)
    source: Mapped[str] = mapped_column(Name)
    code: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    remedy: Mapped[str] = mapped_column(Text)
    raw: Mapped[bytes]
    plain: Mapped[bool] = mapped_column(default=False)
    sample_id: Mapped[str | None] = mapped_column(Name, index=True)
    image_root: Mapped[str | None] = mapped_column(Name)
    path: Mapped[str | None] = mapped_column(String(1024))
    frame_id: Mapped[UUID | None]
    at: Mapped[datetime]
    retry_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class AnnouncedFileRow(Base):
    """A file under an image root for which an event was journalled; outlives the journal's pruning."""

    __tablename__ = "announced_files"
    __table_args__ = (UniqueConstraint("image_root", "path"),)

    frame_id: Mapped[UUID] = mapped_column(primary_key=True)
    image_root: Mapped[str] = mapped_column(Name)
    path: Mapped[str] = mapped_column(String(1024))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Sha256Text)
    announced_at: Mapped[datetime]
