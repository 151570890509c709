"""Which version a database has, and bringing it to this program's.

There is no way down: going back is by the copy that :func:`upgrade` makes of a SQLite file first, or by a backup
of PostgreSQL.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from labsem.store.engines import make_engines, reason
from labsem.store.errors import StoreUnavailableError, StoreVersionError
from labsem.store.location import parse_url, redacted, refuse_network_share, sqlite_path

HEAD = "0003"
"""Revision that this program needs; the last one in ``migrations/versions``."""

REVISIONS = ("0001", "0002", "0003")
"""All that this program knows, oldest first."""

_SCRIPTS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class UpgradeResult:
    """Revisions before (None: it was empty) and after, and the copy that was made of a SQLite file."""

    before: str | None
    after: str
    backup: Path | None


@dataclass(frozen=True)
class CheckResult:
    """Revision of a database (None: empty), the one that this program needs, and what to do."""

    revision: str | None
    head: str
    ok: bool
    message: str


def check(url: str) -> CheckResult:
    """Say whether a database has this program's version; changes nothing.

    Raises
    ------
    StoreUnavailableError
        Where it does not exist or cannot be reached.
    StoreVersionError
        Where it is not labsem's.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None and not path.is_file():
        raise StoreUnavailableError(f"{path} does not exist; labsem serve or labsem demo makes it")
    writer, _ = make_engines(parsed)
    try:
        revision = current_revision(writer)
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"cannot read {redacted(parsed)}: {reason(error)}; check database_url and that the server runs"
        ) from error
    finally:
        writer.dispose()
    problem = _problem(redacted(parsed), revision)
    return CheckResult(revision, HEAD, problem is None, problem or "the database is up to date")


def upgrade(url: str) -> UpgradeResult:
    """Bring a database to this program's version, after copying a SQLite file beside itself.

    Raises
    ------
    StoreUnavailableError
        Where it cannot be reached.
    StoreVersionError
        Where it is newer than this program, or not labsem's.
    """
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        refuse_network_share(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    writer, _ = make_engines(parsed)
    try:
        before = current_revision(writer)
        if before == HEAD:
            return UpgradeResult(before, HEAD, None)
        _refuse_newer(redacted(parsed), before)
        backup = copy_file(path, before) if path is not None and before is not None else None
        run(writer)
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"cannot upgrade {redacted(parsed)}: {reason(error)}; nothing was changed"
        ) from error
    finally:
        writer.dispose()
    return UpgradeResult(before, HEAD, backup)


def prepare(engine: Engine, shown: str, mode: str) -> None:
    """Make a database usable, or say why it is not (``mode`` as in :meth:`labsem.store.Store.open`).

    Raises
    ------
    StoreVersionError
        Where its tables are of another version.
    """
    revision = current_revision(engine)
    if revision == HEAD:
        return
    _refuse_newer(shown, revision)
    if mode == "always" or (mode == "empty" and revision is None):
        if revision is not None and engine.url.database and engine.dialect.name == "sqlite":
            copy_file(sqlite_path(engine.url), revision)
        run(engine)
        return
    raise StoreVersionError(_problem(shown, revision))


def current_revision(engine: Engine) -> str | None:
    """Revision of the tables; None where there are none.

    Raises
    ------
    StoreVersionError
        Where there are tables, but not labsem's.
    """
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if "alembic_version" in tables:
            revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    if tables:
        raise StoreVersionError(
            f"{redacted(engine.url)} holds other tables ({', '.join(sorted(tables)[:3])}, …) and none of "
            "labsem's; give labsem a database of its own"
        )
    return None


def run(engine: Engine) -> None:
    """Run the missing migrations in one transaction."""
    from alembic import command  # only a database that changes needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["engine"] = engine
    command.upgrade(config, "head")


def copy_file(path: Path | None, revision: str) -> Path | None:
    """Copy a SQLite database, as it stands with its WAL, beside itself."""
    if path is None:
        return None
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    copy = path.with_name(f"{path.name}.{revision}.{moment}.backup")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _refuse_newer(shown: str, revision: str | None) -> None:
    if revision is not None and revision not in REVISIONS:
        raise StoreVersionError(_problem(shown, revision))


def _problem(shown: str, revision: str | None) -> str | None:
    if revision == HEAD:
        return None
    if revision is None:
        return f"{shown} is empty; run labsem db upgrade"
    if revision in REVISIONS:
        return f"{shown} has tables of version {revision}, this labsem needs {HEAD}; run labsem db upgrade"
    return f"{shown} has tables of version {revision}, newer than this labsem ({HEAD}) knows; upgrade labsem"
