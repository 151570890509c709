"""Scheduled work: deadlines and settling every few seconds, daily jobs when their rows say that they are due.

Every sweep is short and idempotent, and runs in the daemon's own process, never in a worker.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from labsem.store import LeaseLostError, Store, acts, inbox, jobs, journal, samples
from schemas.settings import Settings
from services.daemon import summaries
from services.daemon.errors import TRANSIENT

log = structlog.get_logger(__name__)

DEADLINES_EVERY_S = 2.0
JOBS_EVERY_S = 60.0
JOB_LEASE_S = 600.0
DAY_S = 86_400.0

_POSTPONED: tuple[type[Exception], ...] = (*TRANSIENT, LeaseLostError)


class Sweeps:
    """The scheduler and what it runs.

    Parameters
    ----------
    owner : str
        Names this daemon in the leases of jobs.
    retry_plain : callable
        Reads plain messages again that a person wants tried again.
    committed : callable
        Called after each transaction that may have journalled something.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        owner: str,
        *,
        retry_plain: Callable[[], None],
        committed: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._owner = owner
        self._committed = committed
        self._jobs: dict[str, Callable[[], None]] = {
            f"prune_journal/{settings.daemon.stream}": self._prune_journal,
            "prune_inbox": self._prune_inbox,
        }
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        for sweep, every_s in (
            (self.end_overdue_acts, DEADLINES_EVERY_S),
            (self.settle_samples, DEADLINES_EVERY_S),
            (retry_plain, DEADLINES_EVERY_S),
            (self.run_due_jobs, JOBS_EVERY_S),
        ):
            self._scheduler.add_job(self._guarded, "interval", args=[sweep], seconds=every_s)

    def start(self) -> None:
        """Make the jobs known, run those that are due, and begin."""
        with self._store.write() as session:
            for name in self._jobs:
                jobs.register(session, name, DAY_S)
        self.run_due_jobs()
        self._scheduler.start()

    def stop(self) -> None:
        """Wait for what runs, and end."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def end_overdue_acts(self) -> None:
        """Expire or fail the acts whose deadline is over."""
        with self._store.write() as session:
            ended = acts.sweep(session)
        for act in ended:
            log.warning("act_ended", act_id=str(act.act_id), state=act.state.value, reason=act.failure)
        if ended:
            self._committed()

    def settle_samples(self) -> None:
        """Settle the samples of which nothing is expected any more, and tell their last summary."""
        with self._store.read() as session:
            due = samples.due_to_settle(session)
        for sample_id in due:
            with self._store.write() as session:
                if not samples.settle(session, sample_id):
                    continue
                summary = summaries.send(session, self._settings.daemon.stream, sample_id)
            log.info("sample_settled", sample_id=sample_id, revision=summary.sample_revision)
            self._committed()

    def run_due_jobs(self) -> None:
        """Run the daily jobs that are due and that no other daemon runs."""
        with self._store.read() as session:
            due = [name for name in jobs.due(session) if name in self._jobs]
        for name in due:
            with self._store.write() as session:
                taken = jobs.take(session, name, self._owner, JOB_LEASE_S)
            if taken:
                self._jobs[name]()
                with self._store.write() as session:
                    jobs.finish(session, name, self._owner)

    def _prune_journal(self) -> None:
        daemon = self._settings.daemon
        with self._store.write() as session:
            pruned = journal.prune(session, daemon.stream, older_than_s=daemon.journal_days * DAY_S)
        log.info("journal_pruned", stream=daemon.stream, messages=pruned)

    def _prune_inbox(self) -> None:
        with self._store.write() as session:
            pruned = inbox.prune(session, older_than_s=self._settings.daemon.journal_days * DAY_S)
        log.info("inbox_pruned", events=pruned)

    def _guarded(self, sweep: Callable[[], None]) -> None:
        """A busy database is no failure of a sweep: it runs again soon."""
        try:
            sweep()
        except _POSTPONED as error:
            log.warning("sweep_postponed", error=str(error).splitlines()[0])
