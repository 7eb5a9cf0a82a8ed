"""The job that runs now, as its own code sees it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from operator import length_hint
from types import TracebackType
from typing import Any, Protocol, TypeVar, runtime_checkable

from celery import current_task

from qrsocket.celery.reporting import write_piece
from qrsocket.celery.run import JobCancelled, Run, current_run
from qrsocket.message import encode

T = TypeVar("T")


@runtime_checkable
class Hinted(Protocol):
    """An iterator that tells how much is left, as that of a list does."""

    def __length_hint__(self) -> int: ...


class Job:
    """
    The task that runs now. Its user sees what it says here if the task is decorated with `@notify_user`.

    Where nobody is to be told, since it was queued by nobody or is called as a plain function, what it says is dropped.
    """

    @property
    def id(self) -> str:
        """Celery's task id; the same for every attempt."""
        return str(_request().id)

    @property
    def attempt(self) -> int:
        """1, then 2 for the first retry, and so on."""
        return int(_request().retries) + 1

    @property
    def fence(self) -> int:
        """
        Grows with every run of the job, also when a run takes the place of a killed one. 0 while Redis cannot be asked.

        A run that was taken for dead may go on beside the next one. Write with it, where the store can compare: an
        update for a lower number than the last comes from the past.
        Source: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
        """
        run = current_run()
        return run.fence if run else 0

    def progress(self, done: float, total: float | None = None, *, message: str | None = None) -> None:
        """
        Tell how far the job is: *done* of *total*, and in a few words what it does.

        It never waits, however often it is called: the first and the last are told, of those in between ten a second.
        """
        run = current_run()
        if run is not None:
            run.advance(done, total, message)

    def track(self, iterable: Iterable[T], *, total: float | None = None, message: str | None = None) -> Iterator[T]:
        """
        Yield what *iterable* yields, and tell how far it is. Stops with `JobCancelled` when the user cancels.

        Args:
            total: How many there are, if *iterable* is no list, set, dict, range or the like. (The length of others is
                not asked: that of a query to a database may load it all.)
        """
        if total is None and isinstance(iterable, Sequence | Set | Mapping | Hinted):
            total = length_hint(iterable, 0) or None
        run = current_run()
        if run is None:
            yield from iterable
            return
        self.progress(0, total, message=message)
        for done, one in enumerate(iterable, 1):
            if run.is_cancelled and run.looks():
                raise JobCancelled
            yield one
            run.advance(done, total, message)

    @property
    def cancelled(self) -> bool:
        """
        Whether the user wants the job to stop. Known within a second or so.

        Who has asked is taken to stop by itself then, and is sent no signal.
        """
        run = current_run()
        return run is not None and run.looks()

    def check(self) -> None:
        """
        Raises:
            JobCancelled: The user wants the job to stop.
        """
        if self.cancelled:
            raise JobCancelled

    def stream(self) -> "Stream":
        """Return what to write text to, piece by piece, for pages that look on: tokens of a model, lines of a log."""
        return Stream(current_run())


class Stream:
    """
    Text that a page can join half-way. What is written is sent ten times a second at most; nothing is lost.

    May be used as `with job.stream() as out:`, so that all is written at the end of the block.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run

    def write(self, text: str) -> int:
        """
        Write *text*, and return its length. It waits for Redis only if over 256 KiB wait to be written.

        Raises:
            NotSerializable: *text* holds half a surrogate pair.
            Unavailable: So much waits, and Redis does not answer.
        """
        if text and self._run is not None:
            encode(text, limit_bytes=2**31)
            if self._run.write(text):
                self.flush()
        return len(text)

    def flush(self) -> None:
        """
        Wait until all is written.

        Raises:
            Unavailable: Redis did not answer in time.
        """
        while self._run is not None and write_piece(self._run):
            pass

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()


job = Job()


def _request() -> Any:
    if not current_task:
        raise RuntimeError("there is no job here: `job` is for code that runs in a Celery task")
    return current_task.request
