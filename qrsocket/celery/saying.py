"""What is said to the state machine of jobs, from the process where it happens: at once, or when Redis is back."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import RedisError

from qrsocket.celery.run import Run
from qrsocket.errors import Unavailable
from qrsocket.jobs.table import Advanced, Answer, JobKey, Jobs
from qrsocket.keys import Keyspace
from qrsocket.sender.ask import ask_blocking
from qrsocket.settings import Settings

logger = logging.getLogger(__name__)

Heed: TypeAlias = Callable[[Advanced], None]
MOST_UNSAID = 1_000


class Word(NamedTuple):
    event: str
    key: JobKey
    said: Mapping[str, Any]
    heed: Heed | None


class Outbox:
    """The words that could not be said while Redis was away: those of one job in the order in which it came to them."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: Called when there is something in it, for `deliver`; must not block.
        """
        self._settings = settings
        self._words: deque[Word] = deque()
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._wake = wake

    def __len__(self) -> int:
        return len(self._words)

    def say(self, event: str, key: JobKey, said: Mapping[str, Any], heed: Heed | None = None) -> Advanced | None:
        """
        Say a word, and return the answer; None if it is said later.

        Args:
            heed: Gets the answer if it comes later.
        """
        with self._lock:
            is_behind = any(word.key == key for word in self._words)
        if not is_behind:
            try:
                return say(self._settings, event, key, said)
            except Unavailable:
                logger.warning("word of a job said later", extra={"job": key.id, "event": event})
        with self._lock:
            if len(self._words) == MOST_UNSAID:
                logger.error("word of a job dropped: too many wait", extra={"job": key.id, "event": event})
                return None
            self._words.append(Word(event, key, said, heed))
        self._wake()
        return None

    def deliver(self, wait: float | None = None) -> None:
        """
        Say what is in it.

        Raises:
            Unavailable: Redis is away yet. What is left stays in it.
        """
        with self._delivering:
            while self._words:
                event, key, said, heed = self._words[0]
                try:
                    advanced = say(self._settings, event, key, said, wait)
                    if heed is not None:
                        heed(advanced)
                except RedisError:  # it does not take this one: the others need not wait for it
                    logger.exception("Redis refused the event %s of job %s", event, key.id)
                with self._lock:
                    self._words.popleft()


def jobs_of(settings: Settings, key: JobKey) -> Jobs:
    return Jobs(Keyspace.of(settings).of_stream(key.owner), settings)


def say(settings: Settings, event: str, key: JobKey, said: Mapping[str, Any], wait: float | None = None) -> Advanced:
    """
    Raises:
        Unavailable: Redis did not answer. It may or may not have heard it, and takes it again.
    """
    return ask_blocking(settings, [jobs_of(settings, key).advance(event, key, said)], wait)[0]


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
