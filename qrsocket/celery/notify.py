"""Tasks that their user can watch: the decorator, and what it is told when."""

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

from celery import current_task
from celery.exceptions import Ignore, Reject, Retry

from qrsocket.audience import Audience
from qrsocket.celery.asynchronous import async_task
from qrsocket.celery.run import JobCancelled, Run, current_run, in_utf8
from qrsocket.celery.user import owner_of, redelivery_window
from qrsocket.celery.watcher import begin, end, watcher
from qrsocket.errors import MessageTooLarge, NotSerializable
from qrsocket.jobs.table import JobKey, State
from qrsocket.message import encode

P = ParamSpec("P")
R = TypeVar("R")
Picked: TypeAlias = Literal[True] | str | Iterable[str] | Callable[[Any], Any]

logger = logging.getLogger(__name__)

MARK = "__qrsocket__"
MOST_IN_A_RESULT = 64 * 1024
# More than any task is retried: one that takes the place of another comes after all retries of that.
MOST_RETRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    title: str | Callable[..., str] | None
    result: Picked | None
    states: Collection[str] | None


@overload
def notify_user(function: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, R]: ...
@overload
def notify_user(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def notify_user(
    *,
    title: str | Callable[..., str] | None = None,
    result: Picked | None = None,
    states: Collection[str] | None = None,
) -> Callable[[Callable[P, Any]], Callable[P, Any]]: ...
def notify_user(
    function: Callable[P, Any] | None = None,
    /,
    *,
    title: str | Callable[..., str] | None = None,
    result: Picked | None = None,
    states: Collection[str] | None = None,
) -> Any:
    """
    Let the user who queued the task watch it: `@app.task` above, `@notify_user` or `@notify_user(...)` below.

    The user gets `{"job": {"id", "task", "state", …}}` on all devices for each state that the job enters: queued,
    started, retrying, requeued, and one of succeeded, failed, timeout, cancelled, lost; what `job.progress` says in
    between; and can cancel it. Arguments and tracebacks are never told. The text of a `SocketError` that the task
    raises is told as `error`. Of a task without a user nobody is told. Without Redis the task runs all the same. An
    `async def` runs as with `async_task`.

    Args:
        title: What the user knows the job by, or a function that makes it from the task's arguments.
        result: What the user may see of what the task returns: True for all of it, a name or names to pick from it, or
            a function that makes what is shown. Nothing by default.
        states: Those to tell, of the ones above; all by default. What is not told is known all the same, to
            `ready.jobs` for one.
    """
    options = Options(title, result, None if states is None else tuple(State(state) for state in states))
    if function is not None:
        return _watched(function, options)
    return lambda function: _watched(function, options)


def _watched(function: Callable[P, Any], options: Options) -> Callable[P, Any]:
    if inspect.iscoroutinefunction(function):
        function = async_task(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        task: Any = current_task
        owner = owner_of(task.request) if task and options_of(task) is options else None
        if owner is None:
            return function(*args, **kwargs)
        return _run(task, owner, options, lambda: function(*args, **kwargs))

    setattr(run, MARK, options)
    return run


def options_of(task: Any) -> Options | None:
    """Return how *task* is to be told of; None if it is not decorated."""
    found = getattr(getattr(task, "run", None), MARK, None)
    return found if isinstance(found, Options) else None


def about(
    options: Options, request: Mapping[str, Any], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is said of a job with each event. *request* has `id`, `task`, `retries`, `replaced_task_nesting`."""
    retries = request.get("retries") or 0
    return {
        "id": request["id"],
        "task": request["task"],
        "title": _title(options, args, kwargs),
        "only": None if options.states is None else f" {' '.join(options.states)} ",
        "turn": (request.get("replaced_task_nesting") or 0) * MOST_RETRIES + retries,
        "attempt": retries + 1,
    }


def shown_result(options: Options, value: Any) -> str | None:
    """Return what the user may see of a result, in JSON; None for nothing."""
    if not options.result:
        return None
    try:
        shown = _pick(options.result, value)
        # In a list, since a text alone would not be encoded as JSON.
        return encode([shown], limit_bytes=MOST_IN_A_RESULT).payload[1:-1].decode()
    except (NotSerializable, MessageTooLarge) as error:
        logger.warning("result not shown: %s", type(error).__name__)
    except Exception as error:  # its text may hold the result
        logger.warning("result not shown: `result` of notify_user raised %s", type(error).__name__)
    return None


def _run(task: Any, owner: Audience, options: Options, call: Callable[[], Any]) -> Any:
    request, key = task.request, JobKey.of(owner, str(task.request.id))
    if (around := current_run()) is not None and around.key == key:
        return call()  # it calls itself
    said = about(options, {**vars(request), "task": task.name}, request.args or (), request.kwargs or {})
    said |= {"is_late": bool(task.acks_late), "window_ms": round(redelivery_window(task.app) * 1000)}
    run = Run(key, {**said, "worker": request.hostname}, watcher().wake)
    begin(run)
    if run.is_cancelled:
        raise Ignore("cancelled by its user before it began")
    request.qrsocket_run = run  # for the signals that tell how it ended
    try:
        with watcher().watched(run):
            return call()
    except JobCancelled:
        end(run, State.CANCELLED)
        raise Ignore("cancelled by its user") from None
    except BaseExceptionGroup as group:
        if not run.is_cancelled or group.split((JobCancelled, CancelledError))[1] is not None:
            raise
        end(run, State.CANCELLED)  # raised in an asyncio.TaskGroup
        raise Ignore("cancelled by its user") from None
    except Retry:
        raise  # was told when it was queued again
    except Reject as error:
        end(run, State.REQUEUED if getattr(error, "requeue", False) else State.FAILED)
        raise
    except Ignore:
        # The end, if nothing takes its place. `replace()` by another such task was told when that was queued.
        end(run, State.SUCCEEDED)
        raise


def _title(options: Options, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
    if options.title is None:
        return None
    if not callable(options.title):
        return in_utf8(options.title)
    try:
        return in_utf8(options.title(*args, **kwargs))
    except Exception as error:  # its text may hold an argument
        logger.warning("job without a title: `title` of notify_user raised %s", type(error).__name__)
        return None


def _pick(picked: Picked, value: Any) -> Any:
    if picked is True:
        return value
    if callable(picked):
        return picked(value)
    if isinstance(picked, str):
        return _field(value, picked)
    return {name: _field(value, name) for name in picked}


def _field(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else getattr(value, name)
