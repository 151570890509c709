"""Files that a gateway has journalled an event for: the journal is pruned, these rows are not."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from labsem.store import clock
from labsem.store.tables import AnnouncedFileRow
from labsem.store.writing import insert_missing
from schemas.image import ImageAcquired


def note(session: Session, event: ImageAcquired, *, replaced: bool = False) -> bool:
    """Note a frame's file, in the transaction that journals its event; False where it was noted before.

    Parameters
    ----------
    replaced
        Another file lies at that path now: it is noted instead of the old one, unless its bytes are the same.
    """
    if replaced:
        session.execute(
            delete(AnnouncedFileRow).where(
                AnnouncedFileRow.image_root == event.image_root,
                AnnouncedFileRow.path == event.path,
                AnnouncedFileRow.sha256 != event.sha256,
            )
        )
    return insert_missing(
        session,
        AnnouncedFileRow,
        {
            "frame_id": event.frame_id,
            "image_root": event.image_root,
            "path": event.path,
            "size_bytes": event.size_bytes,
            "sha256": event.sha256,
            "announced_at": clock.now(session),
        },
    )


def known(session: Session, image_root: str, path: str) -> bool:
    """Whether an event was journalled for a file."""
    query = select(AnnouncedFileRow.frame_id).where(
        AnnouncedFileRow.image_root == image_root, AnnouncedFileRow.path == path
    )
    return session.execute(query).first() is not None


def known_sizes(session: Session, image_root: str) -> dict[str, int]:
    """All files under an image root for which an event was journalled, and their sizes in bytes."""
    query = select(AnnouncedFileRow.path, AnnouncedFileRow.size_bytes).where(
        AnnouncedFileRow.image_root == image_root
    )
    return {row.path: row.size_bytes for row in session.execute(query)}
