"""Which database a URL names, and whether it may lie there."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path, PurePosixPath

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from labsem.store.errors import StoreUnavailableError

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb2",
        "smb3",
        "smbfs",
    }
)
"""File systems of other machines, as Linux names them: SQLite's WAL needs memory that all its users share."""

_WINDOWS_REMOTE_DRIVE = 4


def parse_url(url: str) -> URL:
    """SQLAlchemy URL with its driver: ``sqlite`` by the standard library, ``postgresql`` by psycopg 3.

    Raises
    ------
    StoreUnavailableError
        Where the URL is malformed, of another database, or psycopg is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnavailableError(
            "database_url is not a URL; give sqlite:///FOLDER/labsem.sqlite or postgresql://USER@HOST/DATABASE"
        ) from error
    backend = parsed.drivername.split("+")[0]
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        if importlib.util.find_spec("psycopg") is None:
            raise StoreUnavailableError(
                f"{redacted(parsed)} needs psycopg, which is not installed: pip install 'labsem[analysis]'"
            )
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreUnavailableError(
        f"{redacted(parsed)}: {backend} is not supported; give a sqlite:/// or postgresql:// URL"
    )


def redacted(url: URL) -> str:
    """The URL as a person may see it: without driver and password."""
    return url.set(drivername=url.drivername.split("+")[0]).render_as_string(hide_password=True)


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite URL; None in memory or on PostgreSQL."""
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).expanduser().absolute()


def refuse_network_share(path: Path) -> None:
    """Refuse a folder on another machine, where that can be told.

    Raises
    ------
    StoreUnavailableError
        Where the folder lies on a network share.
    """
    share = _windows_share(path) if sys.platform == "win32" else _mounted_share(path.parent, _mounts())
    if share is not None:
        raise StoreUnavailableError(
            f"{path} lies on a network share ({share}), where SQLite loses data; "
            "set data_dir to a local disk, or database_url to a PostgreSQL"
        )


def _windows_share(path: Path) -> str | None:
    if path.drive.startswith("\\\\"):
        return path.drive
    if sys.platform == "win32":
        import ctypes

        if ctypes.windll.kernel32.GetDriveTypeW(path.anchor) == _WINDOWS_REMOTE_DRIVE:
            return path.drive
    return None


def _mounts() -> str:
    table = Path("/proc/self/mounts")
    return table.read_text(encoding="utf-8", errors="surrogateescape") if table.is_file() else ""


def _mounted_share(folder: Path, mounts: str) -> str | None:
    """File system of the innermost mount over a folder, where it is another machine's."""
    real = PurePosixPath(os.path.realpath(folder))
    depth, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = PurePosixPath(fields[1].replace("\\040", " "))
        if real.is_relative_to(point) and len(point.parts) >= depth:
            depth, kind = len(point.parts), fields[2]
    return kind if kind in NETWORK_FILE_SYSTEMS else None
