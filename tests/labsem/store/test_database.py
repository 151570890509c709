"""Opening a store: transactions of writers and readers, the lock, and what is refused in words."""

from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from labsem.store import (
    Store,
    StoreLockedError,
    StoreUnavailableError,
    StoreVersionError,
    cursors,
    journal,
    location,
)
from labsem.store.tables import AnalysisMaskRow
from schemas.image import ImageAcquired


def test_tables_are_made_in_an_empty_database(empty_database_url: str) -> None:
    with Store.open(empty_database_url) as store, store.write() as session:
        journal.ensure(session, "analysis.a")
    with Store.open(empty_database_url, upgrade="never") as store, store.read() as session:
        assert [head.stream for head in journal.streams(session)] == ["analysis.a"]
        store.ping()


def test_an_empty_database_is_refused_where_nothing_may_be_made(empty_database_url: str) -> None:
    with pytest.raises(StoreVersionError, match="is empty; run labsem db upgrade"):
        Store.open(empty_database_url, upgrade="never")


def test_another_version_is_refused_with_the_remedy(database_url: str) -> None:
    with Store.open(database_url) as store, store.write() as session:
        before = session.scalar(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        for upgrade in ("empty", "always", "never"):
            with pytest.raises(StoreVersionError, match=r"newer than this labsem.*upgrade labsem"):
                Store.open(database_url, upgrade=upgrade)
    finally:
        _set_version(database_url, before)


def _set_version(url: str, version: str | None) -> None:
    from labsem.store.engines import make_engines
    from labsem.store.location import parse_url

    writer, _ = make_engines(parse_url(url))
    with writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    writer.dispose()


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    with pytest.raises(StoreVersionError, match=r"recipes.*a database of its own"):
        Store.open(f"sqlite:///{path.as_posix()}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a URL"),
        ("mysql://ada:secret@db/lab", r"mysql://ada:\*\*\*@db/lab: mysql is not supported"),
        (
            "postgresql://ada:secret@127.0.0.1:1/lab",
            r"postgresql://ada:\*\*\*@127.0.0.1:1/lab.*check database_url",
        ),
    ],
)
def test_what_cannot_be_opened_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailableError, match=f"(?s){message}") as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labsem.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailableError, match="file is not a database"):
        Store.open(f"sqlite:///{path.as_posix()}")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "psycopg" else found(name, *rest)
    )
    with pytest.raises(StoreUnavailableError, match=r"pip install 'labsem\[analysis\]'"):
        Store.open("postgresql://db/lab")


def test_settings_that_keep_what_was_committed(store: Store) -> None:
    with store.write() as session:
        if store.dialect == "sqlite":
            pragmas = {
                name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert pragmas == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 5000,
            }
        else:
            assert session.scalar(text("SHOW synchronous_commit")) == "on"


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError), store.write() as session:
        session.add(AnalysisMaskRow(analysis_no=77, blob=b""))


def test_a_reader_sees_one_state_and_locks_nobody_out(database_url: str) -> None:
    with Store.open(database_url) as store, store.read() as page:
        assert cursors.all_cursors(page) == ()
        with store.write() as session:
            cursors.put(session, "gateway.sem-1", uuid4(), 1)
        assert cursors.all_cursors(page) == ()
        with store.read() as later:
            assert len(cursors.all_cursors(later)) == 1


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError), store.read() as session:
        journal.ensure(session, "analysis.a")


def test_a_database_in_memory_serves_threads_in_turn(make_event: Callable[..., ImageAcquired]) -> None:
    with Store.open("sqlite://") as store:
        with store.write() as session:
            journal.ensure(session, "analysis.a")

        def work() -> None:
            for _ in range(10):
                with store.write() as session:
                    journal.append(session, "analysis.a", make_event())

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.read() as session:
            assert journal.head(session, "analysis.a").last == 30


HOLDER = """
import sys
from labsem.store import Store
with Store.open(sys.argv[1], lock=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_daemon_is_refused_until_the_first_is_dead(sqlite_url: str) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, sqlite_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(StoreLockedError, match=rf"another daemon \(process {first.pid}\)"):
        Store.open(sqlite_url, lock=True)
    with Store.open(sqlite_url) as store:  # the command line may look in meanwhile
        store.ping()
    first.kill()
    first.communicate()
    with Store.open(sqlite_url, lock=True), pytest.raises(StoreLockedError):
        Store.open(sqlite_url, lock=True)
    Store.open(sqlite_url, lock=True).close()


def test_several_daemons_may_share_a_postgresql(postgres_url: str) -> None:
    with Store.open(postgres_url, lock=True), Store.open(postgres_url, lock=True) as second:
        second.ping()


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/lab /mnt/lab nfs4 rw 0 0
/dev/sdb1 /mnt/lab/fast ext4 rw 0 0
//nas/my\\040share /mnt/my\\040share cifs rw 0 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mounts are Linux's; Windows asks for the drive's type")
@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/home/a", None), ("/mnt/lab/data", "nfs4"), ("/mnt/lab/fast/x", None), ("/mnt/my share", "cifs")],
)
def test_a_network_share_is_told_by_its_mount(
    folder: str, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "_mounts", lambda: MOUNTS)
    if kind is None:
        location.refuse_network_share(Path(folder) / "labsem.sqlite")
    else:
        with pytest.raises(StoreUnavailableError, match=rf"network share \({kind}\).*local disk"):
            location.refuse_network_share(Path(folder) / "labsem.sqlite")


def test_opening_needs_no_torch_and_no_file_locks_of_one_platform(sqlite_url: str) -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None; sys.modules['msvcrt'] = None\n"
        "from labsem.store import Store\n"
        "Store.open(sys.argv[1], lock=True).close()\n"
        "bad = {'torch', 'alembic', 'psycopg'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, sqlite_url], check=True)
