"""Migrations: they agree with the models, upgrade every released schema, and lose nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from labsem.store import (
    Store,
    StoreUnavailableError,
    StoreVersionError,
    analyses,
    check,
    journal,
    migration,
    queries,
    upgrade,
)
from labsem.store.engines import make_engines
from labsem.store.location import parse_url
from labsem.store.tables import Base
from schemas.acts import ActState

DUMPS = Path(__file__).parent / "dumps"
RELEASED = sorted({path.name.split(".")[0] for path in DUMPS.glob("*.sql")})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    writer, _ = make_engines(parse_url(database_url))
    yield writer
    writer.dispose()


def load(url: str, revision: str) -> None:
    """Make a database as a release left it."""
    if url.startswith("sqlite"):
        script = (DUMPS / f"{revision}.sqlite.sql").read_text(encoding="utf-8")
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(script)
        return
    import psycopg

    script = (DUMPS / f"{revision}.postgresql.sql").read_text(encoding="utf-8")
    with psycopg.connect(url) as connection:
        connection.execute(script)  # type: ignore[arg-type]


def test_models_and_migrations_agree(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_constants_name_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(migration._SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migration.HEAD]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migration.REVISIONS
    assert RELEASED
    assert set(RELEASED) <= set(migration.REVISIONS)


@pytest.mark.parametrize("revision", RELEASED)
def test_a_released_schema_is_upgraded_with_its_rows(empty_database_url: str, revision: str) -> None:
    load(empty_database_url, revision)
    result = upgrade(empty_database_url)
    assert (result.before, result.after) == (revision, migration.HEAD)
    assert check(empty_database_url).ok
    with Store.open(empty_database_url) as store:
        with store.read() as session:
            for table in Base.metadata.sorted_tables:
                assert session.scalar(select(func.count()).select_from(table)), table.name
            history = queries.history(session, "powder-1")
            masks = analyses.segmentation(session, history.frames[0].morphology.frame_id)
            particles = queries.current_frames(session, "powder-1")[0].particles
            last = journal.head(session, "analysis.bench-a").last
        assert [frame.superseded_by is None for frame in history.frames] == [False, True]
        assert [act.state for act in history.acts] == [ActState.RUNNING]
        assert history.rejected == 1
        assert len(masks) == len(particles["label"]) == 2
        with store.write() as session:
            journal.append(session, "analysis.bench-a", history.sample)
        with store.read() as session:
            assert journal.head(session, "analysis.bench-a").last == last + 1


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    with op.batch_alter_table("frames", recreate="auto") as batch:
        batch.alter_column("path", type_=sa.String(2048), existing_type=sa.String(1024))
        batch.add_column(sa.Column("note", sa.String(10)))
    {then}
"""


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A program with one migration more, which copies the table of frames."""
    scripts = tmp_path / "scripts"
    shutil.copytree(migration._SCRIPTS, scripts)
    (scripts / "versions" / "9999_next.py").write_text(
        NEXT.format(head=migration.HEAD, then=getattr(request, "param", "pass")), encoding="utf-8"
    )
    monkeypatch.setattr(migration, "_SCRIPTS", scripts)
    monkeypatch.setattr(migration, "HEAD", "9999")
    monkeypatch.setattr(migration, "REVISIONS", (*migration.REVISIONS, "9999"))


@pytest.mark.usefixtures("next_version")
def test_an_upgrade_keeps_every_child_row_and_copies_the_file_first(empty_database_url: str) -> None:
    load(empty_database_url, "0001")
    stale = check(empty_database_url)
    assert not stale.ok
    assert "run labsem db upgrade" in stale.message
    with pytest.raises(StoreVersionError, match="run labsem db upgrade"):
        Store.open(empty_database_url)
    result = upgrade(empty_database_url)
    assert (result.before, result.after) == ("0001", "9999")
    with Store.open(empty_database_url) as store, store.read() as session:
        for table in ("frames", "analyses", "particles", "analysis_masks"):
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) > 0, table
    if empty_database_url.startswith("sqlite"):
        assert result.backup is not None
        backup = f"sqlite:///{result.backup.as_posix()}"
        with Store.open(backup, upgrade="always") as store, store.read() as session:
            assert len(queries.frames(session)) == 2
        with closing(sqlite3.connect(result.backup)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    else:
        assert result.backup is None
    assert upgrade(empty_database_url) == migration.UpgradeResult("9999", "9999", None)


@pytest.mark.usefixtures("next_version")
@pytest.mark.parametrize("next_version", ["op.execute('SELECT no_such_function()')"], indirect=True)
def test_an_upgrade_that_fails_changes_nothing(empty_database_url: str) -> None:
    load(empty_database_url, "0001")
    with pytest.raises(StoreUnavailableError, match=r"no_such_function.*nothing was changed"):
        upgrade(empty_database_url)
    assert check(empty_database_url).revision == "0001"
    writer, _ = make_engines(parse_url(empty_database_url))
    with writer.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(text("SELECT note FROM frames"))
    writer.dispose()


@pytest.mark.usefixtures("next_version")
@pytest.mark.parametrize("next_version", ["op.execute('DELETE FROM samples')"], indirect=True)
def test_an_upgrade_that_would_orphan_rows_is_undone(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'labsem.sqlite').as_posix()}"
    load(url, "0001")
    with pytest.raises(StoreVersionError, match="without the row they belong to"):
        upgrade(url)
    with closing(sqlite3.connect(tmp_path / "labsem.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (1,)


def test_a_missing_database_is_not_made_by_a_check(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        check(f"sqlite:///{path.as_posix()}")
    assert not path.exists()
