"""One run of a job, in the process that runs it: what it has to say, and what it was told."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from typing import Any
from uuid import uuid4

from qrsocket.jobs.table import Advanced, Answer, Beat, JobKey, State
from qrsocket.settings import Settings

# Seconds between two reports of the progress of one job, and between two pieces of what it writes.
INTERVAL = 0.1
# Seconds after which the same progress is told again: who was catching up, or whose node missed it, has not heard it.
REPEAT = 5.0
MOST_UNWRITTEN = 256 * 1024
MOST_IN_A_PIECE = 32 * 1024
MOST_IN_A_TEXT = 500


class JobCancelled(BaseException):
    """
    Raised in a job that its owner has cancelled, by `job.check()` and `job.track()`, on prefork also by a signal.

    Not an `Exception`, as `asyncio.CancelledError` is none: no `except Exception` keeps the job from ending. `finally`
    blocks run.
    """


class Run:
    """
    Attributes:
        about: What is said with each event: see advance.lua.
        fence: Counts the runs of the job. 0 until Redis has said it.
        is_told: Redis knows of it.
        is_cancelled: The owner wants it to stop.
        is_stopping: It knows that, and cleans up.
        is_muted: Another run of the job counts, or it is over: nobody is told of this one.
        is_over: How it ended was said.
        raised: What its function has raised, or came before that could begin.
        chunks: Pieces that the job has written, of other runs, too.
        writing: Held by who writes the next one.
    """

    def __init__(
        self,
        settings: Settings,
        key: JobKey,
        about: Mapping[str, Any],
        wake: Callable[[], None],
        options: Any = None,
    ) -> None:
        """
        Args:
            wake: Called when there is something to say; must not block.
            options: How its task is told of.
        """
        self.settings, self.options = settings, options
        self.key, self.token, self.fence, self.chunks = key, uuid4().hex, 0, 0
        self.about = {**about, "run": self.token}
        self.is_told = self.is_cancelled = self.is_stopping = self.is_muted = self.is_over = False
        self.raised: Exception | None = None
        self.writing = threading.Lock()
        self._wake = wake
        self._progress: tuple[float | None, float | None, str | None] = (None, None, None)
        self._is_dirty = False
        self._told_at = self._progress_at = 0.0
        self._beat_at = time.monotonic()
        self._buffer = threading.Lock()
        self._unwritten: list[str] = []
        self._unwritten_size = self._written = 0
        self._piece = ""

    def raise_what_came(self) -> None:
        if self.raised is not None:
            raise self.raised

    def looks(self) -> bool:
        """Return whether it is to stop, which it knows then."""
        self.is_stopping = self.is_cancelled
        return self.is_cancelled

    @property
    def progress(self) -> dict[str, Any]:
        """Return how far it is: what can be told of what the job has said."""
        done, total, message = self._progress
        text = None if message is None else in_utf8(message)
        return {"done": _number(done), "total": _number(total), "message": text}

    def advance(self, done: float, total: float | None, message: str | None) -> None:
        """Note how far it is, for the watcher to tell. Often called, so that it does next to nothing."""
        self._progress = (done, total, message)
        if not self._is_dirty:
            self._is_dirty = True
            self._wake()

    def write(self, text: str) -> bool:
        """Note what is to be written. Returns whether so much waits that the writer has to wait."""
        with self._buffer:
            self._unwritten.append(text)
            self._unwritten_size += len(text)
        self._wake()
        return self._unwritten_size > MOST_UNWRITTEN

    def piece(self) -> tuple[int, str] | None:
        """Return the next piece of what is to be written, and its number. The same until it was `written`."""
        if self.is_muted:
            return None
        if not self._piece:
            with self._buffer:
                text = "".join(self._unwritten)
                self._piece, rest = text[:MOST_IN_A_PIECE], text[MOST_IN_A_PIECE:]
                self._unwritten, self._unwritten_size = [rest] if rest else [], len(rest)
        return (self._written + 1, self._piece) if self._piece else None

    def written(self, total: int) -> None:
        """The piece was written. *total* is its number among all that the job has written."""
        self._written, self._piece, self.chunks = self._written + 1, "", total

    def due_in(self, now: float, renew_interval: float) -> float:
        """Return in how many seconds something is to be said of it."""
        renew_at = self._beat_at + renew_interval
        has_news = self._is_dirty or self._unwritten or self._piece
        return (min(renew_at, self._told_at + INTERVAL) if has_news else renew_at) - now

    def beat(self, now: float) -> Beat:
        """Return its sign of life, with the progress if that has changed, or was told a while ago."""
        self._beat_at = self._told_at = now
        is_told, self._is_dirty = self._is_dirty or now - self._progress_at > REPEAT, False
        if is_told:
            self._progress_at = now
        return Beat(self.key, self.token, self.progress if is_told else None)

    def take_answer(self, advanced: Advanced) -> None:
        """Take the answer to its start."""
        self.is_told, self.is_muted = True, advanced.answer is not Answer.OK
        if not self.is_muted:
            self.fence = advanced.fence
        if self.is_muted and (advanced.job or {}).get("state") == State.CANCELLED:
            self.is_cancelled = True  # while it waited


def in_utf8(text: object) -> str:
    """Return *text* as JSON can have it, in short; one that cannot be made, a lazy one say, is empty."""
    try:
        return str(text)[:MOST_IN_A_TEXT].encode("utf-8", "replace").decode()
    except Exception:  # the job must not end with it, nor the log have what it is about
        return ""


def _number(value: Any) -> float | int | None:
    """Return *value* as JSON has it, since one that it has not would keep the others from being told, too."""
    try:
        number = float(value)
    except Exception:  # anybody's `__float__`
        return None
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() else number


_current: ContextVar[Run | None] = ContextVar("qrsocket run", default=None)


def current_run() -> Run | None:
    return _current.get()


@contextmanager
def running(run: Run) -> Iterator[None]:
    """Let *run* be the one that `job` speaks of, until the block ends."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
