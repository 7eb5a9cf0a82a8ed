"""Tasks whose function others have wrapped or replaced, as tracers do. Of the application in `shapes`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Task, shared_task

from qrsocket.celery import job, notify_user
from tests.processes import fates
from tests.processes.shapes import app

HIDDEN: list[Callable[..., Any]] = []


def without_wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Timed:
    """A wrapper that is an object."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.__name__, self.__annotations__ = function, "timed", {}  # which Celery wants

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


@app.task(name="wrapped.without_wraps")
@without_wraps
@notify_user
def without(run: str) -> None: ...


@app.task(name="wrapped.twice", bind=True)
@without_wraps
@without_wraps
@notify_user
def twice(self: Any, run: str) -> None: ...


@notify_user
def timed(run: str) -> None: ...


@notify_user
def half(run: str, rest: int) -> None: ...


by_object = app.task(name="wrapped.by_object")(Timed(timed))
in_part = app.task(name="wrapped.in_part")(without_wraps(partial(half, rest=2)))
of_part = app.task(name="wrapped.of_part")(notify_user(partial(half, rest=2)))


@app.task
@notify_user
def replaced(run: str) -> None: ...


replaced.run = without_wraps(replaced.run)


@app.task
@notify_user
def mocked(run: str) -> None:
    """Never runs: something else does in its place, which has nothing of it."""


mocked.run = lambda run: None


@app.task(bind=True, autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0})
@without_wraps
@notify_user
def retried(self: Any, run: str) -> None:
    if job.attempt == 1:
        raise ValueError


class OfClass(Task):  # type: ignore[type-arg]
    name = "wrapped.of_class"

    @notify_user
    def run(self, run: str) -> None: ...


of_class = app.register_task(OfClass())


@shared_task(name="wrapped.shared")
@notify_user
def shared(run: str) -> None: ...


@app.task
@notify_user
def calls_itself(run: str, times: int = 2) -> None:
    if times:
        calls_itself.run(run, times - 1)


@app.task(name="wrapped.look_often")
@without_wraps
@notify_user
def look_often(run: str) -> None:
    fates.look(run)


WATCHED = [without, twice, by_object, in_part, of_part, replaced, mocked, of_class, shared, calls_itself]


@app.task
def calls_a_watched_one(run: str) -> None:
    """Not watched itself: what it calls is a function here, and no job."""
    fates.succeed.run(run)
    without.run(run)


@notify_user
def of_no_task(run: str) -> None: ...


HIDDEN.append(of_no_task)


@app.task
def calls_what_nobody_can_find(run: str) -> None:
    HIDDEN[0](run)


UNWATCHED = [calls_a_watched_one, calls_what_nobody_can_find]
