"""
The thread that watches over the jobs of this process; one for each of the settings that its applications have, so that
a Redis which does not answer holds up its own jobs alone.

It renews their leases, tells how far they are, learns which their owner wants to stop, and says what could not be said
while Redis was away. So no job ever waits for Redis to tell its progress.
"""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from qrsocket import clients
from qrsocket.celery.reporting import Reports, jobs_of, report, write_piece
from qrsocket.celery.run import Run
from qrsocket.celery.stopping import stop
from qrsocket.errors import Unavailable
from qrsocket.jobs.noting import note_job
from qrsocket.jobs.table import Answer, Jobs, State
from qrsocket.keys import Keyspace
from qrsocket.logger import Logger
from qrsocket.roundtrip import run as run_call
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

logger = Logger(__name__)

# Seconds that a job has to notice that it is to stop, before it is stopped.
PATIENCE = 2.0
LAST_WAIT = 3.0


class Watcher:
    """
    Its thread begins with the first job of the process, or the first report that has to wait.

    Attributes:
        reports: All reports on jobs go through it.
        trouble: What keeps this process from Redis.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runs: dict[str, Run] = {}
        self.reports = Reports(settings, self._start)
        self._cancelled_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        self._reaped_at = 0.0
        self.trouble = Trouble("jobs go on")

    def watch(self, run: Run) -> None:
        with self._lock:
            self._runs[run.token] = run
        self._start()

    def unwatch(self, run: Run) -> None:
        with self._lock:
            self._runs.pop(run.token, None)
            self._cancelled_at.pop(run.token, None)

    def wake(self) -> None:
        self._awake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="qrsocket jobs", daemon=True)
                self._thread.start()
        self.wake()

    def _watch(self) -> None:
        while True:
            pause: float | None = self._settings.renew_interval
            try:
                with self.trouble.noted("jobs"):
                    pause = self._look()
            except Exception:
                logger.exception("watching jobs failed")
            self._awake.wait(pause)
            self._awake.clear()

    def _look(self) -> float | None:
        """Say what is due. Returns in how many seconds to look again; None: when it is woken."""
        with self._lock:
            runs = [run for run in self._runs.values() if not run.is_muted]
        now, interval = time.monotonic(), self._settings.renew_interval
        self.reports.deliver()
        due = [run for run in runs if run.is_told and run.due_in(now, interval) <= 0]
        self._beat(due, now)
        for run in due:
            write_piece(run)  # one, since the others want to be told, too
        if not runs:
            return None
        self._reap(now, interval)
        return max(0.0, min((run.due_in(time.monotonic(), interval) for run in runs if run.is_told), default=interval))

    def _beat(self, runs: Sequence[Run], now: float) -> None:
        by_shard: dict[Jobs, list[Run]] = {}
        for run in runs:
            by_shard.setdefault(jobs_of(self._settings, run.key), []).append(run)
        for jobs, those in by_shard.items():
            call = jobs.beat([run.beat(now) for run in those])
            answers = run_call(clients.blocking(jobs.settings), call, timeout=jobs.settings.redis_timeout)
            for run, answer in zip(those, answers, strict=True):
                self._hear(run, answer, now)

    def _hear(self, run: Run, answer: Answer, now: float) -> None:
        match answer:
            case Answer.STALE:
                run.is_muted = True
            case Answer.UNKNOWN:  # Redis forgot it
                known = {**run.progress, "fence": run.fence, "chunks": run.chunks or None}
                run.take_answer(report(self._settings, "started", run.key, {**run.about, **known}))
            case Answer.CANCEL if not run.is_cancelled:
                run.is_cancelled, self._cancelled_at[run.token] = True, now
            case Answer.CANCEL if now - self._cancelled_at.get(run.token, now) >= PATIENCE:
                stop(run)

    def _reap(self, now: float, interval: float) -> None:
        """Look after the jobs of processes that were killed, as web nodes do."""
        if now - self._reaped_at < interval:
            return
        self._reaped_at, settings = now, self._settings
        for keys in Keyspace.of(settings).shards:
            call, more = Jobs(keys, settings).reap(), True
            while more:
                overdue = run_call(clients.blocking(settings), call, timeout=settings.redis_timeout)
                more = overdue.more
                for owner, job in overdue.jobs:
                    note_job(owner, job)


_watchers: dict[Settings, Watcher] = {}
_lock = threading.Lock()


def watcher_of(settings: Settings) -> Watcher:
    with _lock:
        if settings not in _watchers:
            _watchers[settings] = Watcher(settings)
        return _watchers[settings]


def begin(run: Run) -> None:
    """Say that *run* begins. If its job is over already, nobody is told of this run."""
    advanced = watcher_of(run.settings).reports.report("started", run.key, run.about, run.take_answer)
    if advanced is not None:
        run.take_answer(advanced)


def end(run: Run, state: State, **fields: Any) -> None:
    """Say that *run* is over."""
    run.is_over = True
    if run.is_muted:
        return
    with suppress(Unavailable):
        while write_piece(run):
            pass
    said = {**run.about, **run.progress, **fields, "state": state}
    watcher_of(run.settings).reports.report("ended", run.key, said)


def deliver_the_rest() -> None:
    """Deliver the reports that still wait, before this process ends; not for long."""
    for watcher in tuple(_watchers.values()):
        with suppress(Unavailable):
            watcher.reports.deliver(wait=LAST_WAIT)


def _after_fork() -> None:
    global _watchers, _lock  # their threads do not exist in the child, and the lock may be held for ever
    _watchers, _lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
