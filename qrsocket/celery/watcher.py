"""
The thread that watches over the jobs of this process.

It renews their leases, tells how far they are, learns which their owner wants to stop, and says what could not be said
while Redis was away. So no job ever waits for Redis to tell its progress.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.celery.run import Run, set_current_run
from qrsocket.celery.saying import jobs_of, say, write_pieces
from qrsocket.celery.stopping import stop, stoppable
from qrsocket.errors import Unavailable
from qrsocket.jobs.table import Answer, JobKey, Jobs, State
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import run as run_call
from qrsocket.settings import get_settings

logger = logging.getLogger(__name__)

# Seconds that a job has to notice that it is to stop, before it is stopped.
PATIENCE = 2.0
MOST_UNSAID = 1000


class Watcher:
    """Its thread begins with the first job of the process."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._unsaid: deque[tuple[JobKey, Mapping[str, Any]]] = deque(maxlen=MOST_UNSAID)
        self._cancelled_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        self._reaped_at = 0.0
        self._trouble = ""

    @contextmanager
    def watched(self, run: Run) -> Iterator[None]:
        """Watch over *run* until the block ends."""
        with self._lock:
            self._runs[run.token] = run
            self._start()
        self.wake()
        undo = set_current_run(run)
        try:
            with stoppable(run):
                yield
        finally:
            undo()
            with self._lock:
                del self._runs[run.token]
                self._cancelled_at.pop(run.token, None)

    def say_end(self, key: JobKey, said: Mapping[str, Any]) -> None:
        """Say that a run is over; if Redis is away, as soon as it is back."""
        try:
            say("ended", key, said)
        except Unavailable:
            logger.warning("end of a job told later", extra={"job": key.id, "state": said["state"]})
            with self._lock:
                self._unsaid.append((key, said))
                self._start()

    def wake(self) -> None:
        self._awake.set()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="qrsocket jobs", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while True:
            pause: float | None = get_settings().renew_interval
            try:
                pause = self._look()
                self._note("")
            except Unavailable as error:
                self._note(error.cause)
            except RedisError as error:
                self._note(f"{type(error).__name__}: {error}"[:200])
            except Exception:
                logger.exception("watching jobs failed")
            self._awake.wait(pause)
            self._awake.clear()

    def _look(self) -> float | None:
        """Say what is due. Returns in how many seconds to look again; None: when it is woken."""
        with self._lock:
            runs = [run for run in self._runs.values() if not run.is_muted]
        now, interval = time.monotonic(), get_settings().renew_interval
        due = [run for run in runs if run.due_in(now, interval) <= 0]
        self._begin([run for run in due if not run.is_told])
        self._beat([run for run in due if run.is_told], now)
        for run in due:
            write_pieces(run)
        self._say_unsaid()
        if not runs:
            return None
        self._reap(now, interval)
        return max(0.0, min(run.due_in(time.monotonic(), interval) for run in runs))

    def _say_unsaid(self) -> None:
        while self._unsaid:
            try:
                say("ended", *self._unsaid[0])
            except RedisError:  # it will not take this one: the others need not wait for it
                logger.exception("end of a job not told", extra={"job": self._unsaid[0][0].id})
            self._unsaid.popleft()

    def _begin(self, runs: Sequence[Run]) -> None:
        for run in runs:  # that began while Redis was away
            run.heed(say("started", run.key, run.about))

    def _beat(self, runs: Sequence[Run], now: float) -> None:
        by_shard: dict[Jobs, list[Run]] = {}
        for run in runs:
            by_shard.setdefault(jobs_of(run.key), []).append(run)
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
                run.heed(say("started", run.key, {**run.about, **run.progress, "fence": run.fence}))
            case Answer.CANCEL if not run.is_cancelled:
                run.is_cancelled, self._cancelled_at[run.token] = True, now
            case Answer.CANCEL if now - self._cancelled_at.get(run.token, now) >= PATIENCE:
                stop(run)

    def _reap(self, now: float, interval: float) -> None:
        """Look after the jobs of processes that were killed, as web nodes do."""
        if now - self._reaped_at < interval:
            return
        self._reaped_at = now
        settings = get_settings()
        for keys in Keyspace.of(settings).shards:
            while run_call(clients.blocking(settings), Jobs(keys, settings).reap(), timeout=settings.redis_timeout):
                pass

    def _note(self, trouble: str) -> None:
        """Log when trouble with Redis begins and ends."""
        if trouble and not self._trouble:
            logger.error("no word from Redis: jobs go on", extra={"cause": trouble})
        elif self._trouble and not trouble:
            logger.info("Redis hears of jobs again")
        self._trouble = trouble


_watcher = Watcher()


def watcher() -> Watcher:
    return _watcher


def begin(run: Run) -> State | None:
    """Say that *run* begins. Returns the state of its job if that is over; then nobody is told of this run."""
    try:
        return run.heed(say("started", run.key, run.about))
    except Unavailable:
        logger.warning("start of a job told later", extra={"job": run.key.id})
        return None


def end(run: Run, state: State, **fields: Any) -> None:
    """Say that *run* is over."""
    if not run.is_muted:
        with suppress(Unavailable):
            write_pieces(run)
        _watcher.say_end(run.key, {**run.about, **run.progress, **fields, "state": state})


def _after_fork() -> None:
    global _watcher  # its thread does not exist in the child
    _watcher = Watcher()


os.register_at_fork(after_in_child=_after_fork)
