"""A journal in a real store, a bench of publisher and request server, and a subscriber's own database."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from labsem.store import Store, journal
from labsem.streams import Position, Publisher, RequestServer, SqliteCursors, Subscriber
from labsem.streams.stored import StoreJournal
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus
from schemas.envelope import Envelope

STREAM = "gateway.test"


def status(number: int) -> InstrumentStatus:
    return InstrumentStatus(
        instrument_id="sem-1",
        state=InstrumentState.AVAILABLE,
        driver="virtual",
        capabilities=Capabilities(can_act=True),
        detail=str(number),
    )


class Source:
    """A store with one stream, and, between start and stop, its publisher and request server."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(f"sqlite:///{path.as_posix()}")
        self.journal = StoreJournal(self.store, STREAM)
        self.stream = STREAM
        self.events = "tcp://127.0.0.1:0"
        self.requests = "tcp://127.0.0.1:0"
        self.publisher: Publisher | None = None
        self.server: RequestServer | None = None

    def start(self, *, heartbeat_s: float = 0.1) -> None:
        self.server = RequestServer(self.requests, service="source", journals=[self.journal]).start()
        self.publisher = Publisher(self.journal, self.events, poll_s=0.02, heartbeat_s=heartbeat_s).start()
        self.requests, self.events = self.server.endpoint, self.publisher.endpoint

    def stop(self) -> None:
        if self.publisher is not None:
            self.publisher.stop()
        if self.server is not None:
            self.server.stop()

    def append(self, *numbers: int) -> None:
        with self.store.write() as session:
            for number in numbers:
                journal.append(session, STREAM, status(number))

    @property
    def epoch(self) -> UUID:
        return self.journal.bounds().epoch


class Reader:
    """A subscriber with its own database, in which each message is a row of the transaction of its cursor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cursors = SqliteCursors(path)
        with self.cursors.moving("-", Position(UUID(int=0), 0)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS message "
                "(stream TEXT, epoch TEXT, sequence INTEGER, detail TEXT, UNIQUE (stream, epoch, sequence))"
            )
        self.garbage: list[tuple[list[bytes], str]] = []
        self.gaps: list[object] = []
        self.fail: Callable[[int], None] = lambda number: None

    def take(self, connection: sqlite3.Connection, envelope: Envelope, topic: str, payload: bytes) -> None:
        detail = InstrumentStatus.read(payload).detail
        self.fail(int(detail))
        connection.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?)",
            (envelope.stream, str(envelope.epoch), envelope.sequence, detail),
        )

    def subscriber(self, source: Source, **options: object) -> Subscriber[sqlite3.Connection]:
        return Subscriber(
            "source",
            source.events,
            source.requests,
            self.cursors,
            self.take,
            on_garbage=lambda parts, reason: self.garbage.append((parts, reason)),
            on_gap=self.gaps.append,
            **options,
        )

    def __len__(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])

    @property
    def numbers(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [int(row[0]) for row in connection.execute("SELECT detail FROM message ORDER BY rowid")]


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Look until it holds; a failure after the (generous) limit, never a sleep of fixed length."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to be copied: making them takes a tenth of a second."""
    path = tmp_path_factory.mktemp("empty") / "empty.sqlite"
    Store.open(f"sqlite:///{path.as_posix()}").close()
    return path


@pytest.fixture
def source(tmp_path: Path, empty_store: Path) -> Iterator[Source]:
    made = Source(shutil.copy(empty_store, tmp_path / "source.sqlite"))
    yield made
    made.stop()
    made.store.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path / "reader.sqlite")
    yield made
    made.cursors.close()


@pytest.fixture
def new_reader(tmp_path: Path) -> Callable[[], Reader]:
    """Another run of the same subscriber: the same database, opened anew."""
    return lambda: Reader(tmp_path / "reader.sqlite")
