"""Reports the events in the life of a job to Redis, from the process where they happen: at once, or when it is back."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import RedisError

from qrsocket.celery.run import Run
from qrsocket.errors import Unavailable
from qrsocket.failures import explain
from qrsocket.jobs.noting import note_job
from qrsocket.jobs.table import Advanced, Answer, JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.logger import Logger
from qrsocket.sender.ask import ask_blocking
from qrsocket.settings import Settings
from qrsocket.streams import user_of

logger = Logger(__name__)

OnAnswer: TypeAlias = Callable[[Advanced], None]
MOST_WAITING = 1_000


class Report(NamedTuple):
    event: str
    key: JobKey
    fields: Mapping[str, Any]
    on_answer: OnAnswer | None


class Reports:
    """The reports that wait until Redis is back. Those of one job keep their order."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: Called when one waits, for `deliver`; must not block.
        """
        self._settings = settings
        self._waiting: deque[Report] = deque()
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._wake = wake

    def __len__(self) -> int:
        return len(self._waiting)

    def report(
        self, event: str, key: JobKey, fields: Mapping[str, Any], on_answer: OnAnswer | None = None
    ) -> Advanced | None:
        """
        Report an event, and return the answer; None if it has to wait.

        Args:
            on_answer: Gets the answer if it comes later.
        """
        with self._lock:
            is_behind = any(waiting.key == key for waiting in self._waiting)
        if not is_behind:
            try:
                return report(self._settings, event, key, fields)
            except Unavailable:
                logger.warning("job event waits until Redis is back", **_facts(event, key, fields))
        with self._lock:
            if len(self._waiting) == MOST_WAITING:
                logger.error("job event dropped: too many wait for Redis", **_facts(event, key, fields))
                return None
            self._waiting.append(Report(event, key, fields, on_answer))
        self._wake()
        return None

    def deliver(self, wait: float | None = None) -> None:
        """
        Report what waits.

        Raises:
            Unavailable: Redis is away yet. What is left goes on waiting.
        """
        with self._delivering:
            while self._waiting:
                event, key, fields, on_answer = self._waiting[0]
                try:
                    advanced = report(self._settings, event, key, fields, wait)
                    if on_answer is not None:
                        on_answer(advanced)
                except RedisError as error:  # it does not take this one: the others need not wait for it
                    # Not the error's own text, which may quote what was sent.
                    text = "job event dropped, Redis refuses it: %s → %s"
                    logger.error(text, *explain(error), **_facts(event, key, fields))
                with self._lock:
                    self._waiting.popleft()


def _facts(event: str, key: JobKey, fields: Mapping[str, Any]) -> dict[str, object]:
    about = {"state": fields.get("state"), "task": fields.get("task"), "attempt": fields.get("attempt")}
    return {"job": key.id, "job_event": event, **about, "user": user_of(key.owner)}


def jobs_of(settings: Settings, key: JobKey) -> Jobs:
    return Jobs(Keyspace.of(settings).of_stream(key.owner), settings)


def report(
    settings: Settings, event: str, key: JobKey, fields: Mapping[str, Any], wait: float | None = None
) -> Advanced:
    """
    Report an event now. Redis may take it twice.

    Raises:
        Unavailable: Redis did not answer. It may or may not have heard it.
    """
    advanced = ask_blocking(settings, [jobs_of(settings, key).advance(event, key, fields)], wait)[0]
    if advanced.answer is Answer.OK and advanced.job is not None:
        note_job(key.owner, advanced.job)
    else:
        logger.debug("job event not taken", **_facts(event, key, fields), answer=advanced.answer.name.lower())
    return advanced


def write_piece(run: Run) -> bool:
    """
    Write the next piece of what *run* has to write. Returns whether that was done, and there may be more.

    Raises:
        Unavailable: Redis did not answer.
    """
    with run.writing:
        piece = run.piece()
        if piece is None or not run.is_told:
            return False
        number, text = piece
        call = jobs_of(run.settings, run.key).write(run.key, run.token, number, text)
        answer, total = ask_blocking(run.settings, [call])[0]
        # Otherwise it is taken for lost, or forgotten: the next beat mends that.
        if answer is Answer.OK:
            run.written(total)
        return answer is Answer.OK
