"""What most commands begin with: settings, logging, the database, the running daemon."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from labsem.client import Labsem
    from labsem.store import Store
    from schemas.settings import Settings

DAEMON_TIMEOUT_S = 2.0


def settings(**overrides: Any) -> Settings:
    """Settings of this host."""
    from schemas.settings import load_settings

    return load_settings(**overrides)


def quiet_logging(level: str = "warning") -> None:
    """Warnings on stderr, for commands whose output is a table or a document."""
    from services.logs import configure_logging

    configure_logging(level=level)


@contextmanager
def database() -> Iterator[Session]:
    """A reading session on the database of this host's settings."""
    with opened_store() as store, store.read() as session:
        yield session


@contextmanager
def opened_store() -> Iterator[Store]:
    """The database of this host's settings; none is made where there is none."""
    from labsem.store import Store, StoreVersionError, check

    quiet_logging()
    url = settings().url
    found = check(url)
    if not found.ok:
        raise StoreVersionError(found.message)
    with Store.open(url, upgrade="never") as store:
        yield store


@contextmanager
def daemon() -> Iterator[Labsem]:
    """The running daemon, by its request socket; where it does not answer, a request raises."""
    from labsem.client import Labsem

    quiet_logging()
    ends = settings().daemon
    with Labsem(ends.events, ends.requests, timeout_s=DAEMON_TIMEOUT_S, attempts=2) as lab:
        yield lab
