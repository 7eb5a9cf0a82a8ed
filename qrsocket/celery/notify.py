"""Tasks that their user can watch: the decorator, and the run of such a task's function."""

import inspect
from asyncio import CancelledError
from collections.abc import Callable, Collection, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from celery import current_task

from qrsocket.celery.asynchronous import async_task, declare, refuse_task
from qrsocket.celery.revoking import revoked
from qrsocket.celery.run import JobCancelled, Run, current_run, running
from qrsocket.celery.signals import connect
from qrsocket.celery.stopping import stoppable
from qrsocket.celery.watched import MARK, Options, Picked, is_of_a_task
from qrsocket.celery.watcher import end
from qrsocket.jobs.table import State
from qrsocket.logger import Logger

P = ParamSpec("P")
R = TypeVar("R")

logger = Logger(__name__)


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

    The user gets `{"job": {"id", "task", "state", …}}` on all devices for each state that the job enters (queued,
    started, retrying, requeued, and one of succeeded, failed, timeout, cancelled, lost) and for its progress in
    between, and can cancel it. Arguments and tracebacks are never shown. The text of a `SocketError` that the task
    raises is shown as `error`. A task without a user is reported to nobody. Without Redis the task still runs. An
    `async def` runs as with `async_task`.

    Args:
        title: The name that the user sees, or a function that makes it from the task's arguments.
        result: The part of the return value that the user may see: True for all of it, a name or names to pick from
            it, or a function that returns what to show. Nothing by default.
        states: States to report, of those above; all by default. The others are still known, for example to
            `ready.jobs`.

    Raises:
        TypeError: Above `@app.task` instead of below.
    """
    options = Options(title, result, None if states is None else tuple(map(_state, states)))
    if function is not None:
        return _watched(function, options)
    return lambda function: _watched(function, options)


def _watched(function: Callable[P, Any], options: Options) -> Callable[P, Any]:
    refuse_task(function, "notify_user")
    connect()  # a worker that does not install the signals would have jobs taken for lost
    if inspect.iscoroutinefunction(function):
        function = async_task(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        task: Any = current_task
        if not task:
            return function(*args, **kwargs)
        job_run = vars(task.request).get("qrsocket_run")
        if job_run is None or job_run.options is not options:
            _warn_if_no_task_is_known(task, options)
        elif job_run is not current_run():  # otherwise it calls itself
            return _run(task, job_run, lambda: function(*args, **kwargs))
        return function(*args, **kwargs)

    setattr(run, MARK, options)
    return declare(run, function)


def _run(task: Any, run: Run, call: Callable[[], Any]) -> Any:
    if run.is_cancelled:
        raise revoked(task, "cancelled by its user before it began")
    try:
        run.raise_what_came()
        with running(run), stoppable(run):
            return call()
    except JobCancelled:
        end(run, State.CANCELLED)
        raise revoked(task, "cancelled by its user") from None
    except BaseExceptionGroup as group:
        if not run.is_cancelled or group.split((JobCancelled, CancelledError))[1] is not None:
            raise
        end(run, State.CANCELLED)  # raised in an asyncio.TaskGroup
        raise revoked(task, "cancelled by its user") from None
    except Exception as error:
        run.raised = error
        raise


def _warn_if_no_task_is_known(task: Any, options: Options) -> None:
    """Say once that a decorated function runs in a task, and is not known to be any task's own."""
    if task.request.id is None or options.is_warned or is_of_a_task(options, task.app):
        return  # called as a plain function
    options.is_warned = True
    logger.warning(
        "job not reported: its task runs a function decorated with @notify_user, but was not made from it; put "
        "@notify_user right below @app.task, or functools.wraps on the decorators between them",
        task=task.name,
    )


def _state(name: str) -> State:
    try:
        return State(name)
    except ValueError:
        raise ValueError(f"{name!r} is no state of a job: states are {', '.join(State)}") from None
