"""Scheduled jobs run once wherever they are due; announced files are remembered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labsem.store import LeaseLostError, NotFoundError, Store, files, jobs
from schemas.image import ImageAcquired


def test_a_job_is_due_at_once_and_then_after_its_interval(store: Store) -> None:
    with store.write() as session:
        jobs.register(session, "prune", 3600)
        jobs.register(session, "sweep", 0)
    with store.write() as session:
        assert jobs.due(session) == ("prune", "sweep")
        assert jobs.take(session, "prune", "a", 60)
        assert not jobs.take(session, "prune", "b", 60), "one daemon runs it"
        assert jobs.due(session) == ("sweep",)
        jobs.finish(session, "prune", "a")
        assert jobs.due(session) == ("sweep",)
        assert not jobs.take(session, "prune", "a", 60)
    with store.write() as session:
        jobs.register(session, "prune", 3600)  # a restart does not make it due
        assert jobs.due(session) == ("sweep",)
        jobs.register(session, "prune", 0)
        assert set(jobs.due(session)) == {"prune", "sweep"}


def test_a_job_of_a_dead_daemon_is_taken_over(store: Store) -> None:
    with store.write() as session:
        jobs.register(session, "prune", 3600)
        assert jobs.take(session, "prune", "dead", 0)
    with store.write() as session:
        assert jobs.take(session, "prune", "b", 60)
        with pytest.raises(LeaseLostError):
            jobs.finish(session, "prune", "dead")
        with pytest.raises(NotFoundError):
            jobs.take(session, "unheard-of", "b", 60)


def test_a_file_is_announced_once(store: Store, make_event: Callable[..., ImageAcquired]) -> None:
    event = make_event(path="a/b.tif")
    with store.write() as session:
        assert files.note(session, event)
        assert not files.note(session, event)
        assert not files.note(session, make_event(path="a/b.tif"))
    with store.read() as session:
        assert files.known(session, "sem-1", "a/b.tif")
        assert not files.known(session, "sem-2", "a/b.tif")
        assert set(files.known_sizes(session, "sem-1")) == {"a/b.tif"}
