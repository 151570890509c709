"""Where this host keeps what messages name: image roots and sources."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from schemas.settings import Settings, SourceSettings


def image_folder(settings: Settings, image_root: str) -> Path | None:
    """Folder of an image root on this host; None where the settings name none.

    The root of the host's own instrument lies in ``data_dir/images`` where that is there and the settings say
    nothing else.
    """
    folder = settings.image_roots.get(image_root)
    if folder is None and image_root == settings.instrument.image_root:
        own = settings.data_dir / "images"
        return own if own.is_dir() else None
    return folder


def fetched_folder(settings: Settings, image_root: str) -> Path:
    """Where files of an image root without a folder on this host are kept once they were fetched."""
    return settings.data_dir / "fetched" / image_root


def frame_path(folder: Path, relative: str) -> Path | None:
    """A frame's real path; None where it leads out of its image root, by a link for example."""
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def modified_at(path: Path) -> datetime:
    """A file's own time: a plain source's frame has it until its header gives a better one."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def sources_of(settings: Settings) -> tuple[SourceSettings, ...]:
    """The publishers to listen to: those of the settings or, without any, the host's own instrument."""
    if settings.sources:
        return settings.sources
    instrument = settings.instrument
    return (
        SourceSettings(
            name=f"gateway.{instrument.instrument_id}",
            events=instrument.events,
            requests=instrument.requests,
        ),
    )
