"""Jobs that tell their user how they fare."""

import inspect
import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from hashlib import sha1
from typing import Any, ParamSpec, TypeVar, overload

from celery import current_task
from celery.exceptions import Ignore, Reject, Retry

from qrsocket.celery.asynchronous import async_task
from qrsocket.errors import NoRecipient, Unavailable
from qrsocket.sync import socket

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


class Job:
    """The task that runs now."""

    @property
    def id(self) -> str:
        """Celery's task id; the same for every attempt."""
        return str(_request().id)

    @property
    def attempt(self) -> int:
        """1, then 2 for the first retry, and so on."""
        return int(_request().retries) + 1


job = Job()


@overload
def notify_user(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]: ...
@overload
def notify_user(function: Callable[P, R]) -> Callable[P, R]: ...
def notify_user(function: Callable[P, Any]) -> Callable[P, Any]:
    """
    Tell the user who queued the task when it starts, succeeds and fails: `@app.task` above, `@notify_user` below.

    The user gets `{"job": {"id": …, "task": <name>, "state": "started" | "succeeded" | "failed"}}` on all devices.
    Arguments, results and errors are not told. A retry starts again. Without a user nothing is told; without Redis the
    task runs all the same. An `async def` runs as with `async_task`.
    """
    if inspect.iscoroutinefunction(function):
        function = async_task(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        _tell("started")
        try:
            result = function(*args, **kwargs)
        except (Retry, Ignore, Reject):  # it is not over, or has said itself what became of it
            raise
        except Exception as error:
            if not _is_retried(error):
                _tell("failed")
            raise
        _tell("succeeded")
        return result

    return run


def _tell(state: str) -> None:
    if not current_task:
        return  # called as a plain function
    # A retry tells its start again. A run that takes the place of a killed one does not.
    told = repr((job.id, _request().replaced_task_nesting, job.attempt, state))
    message_id = sha1(told.encode(), usedforsecurity=False).hexdigest()
    try:
        socket.send({"job": {"id": job.id, "task": current_task.name, "state": state}}, message_id=message_id)
    except NoRecipient:
        pass  # from beat, or from a process where nobody is authenticated
    except Unavailable:
        logger.warning("job state not told", extra={"job": job.id, "state": state})


def _is_retried(error: Exception) -> bool:
    """
    Tell whether Celery is about to retry the task by itself, which it does outside of us.

    Source: https://docs.celeryq.dev/en/stable/userguide/tasks.html#automatic-retry-for-known-exceptions
    """
    task: Any = current_task
    if not task or isinstance(error, tuple(getattr(task, "dont_autoretry_for", ()))):
        return False
    limit = getattr(task, "retry_kwargs", {}).get("max_retries")
    limit = task.max_retries if limit is None else limit
    is_wanted = isinstance(error, tuple(getattr(task, "autoretry_for", ())))
    return is_wanted and (limit is None or task.request.retries < limit)


def _request() -> Any:
    if not current_task:
        raise RuntimeError("there is no job here: `job` is for code that runs in a Celery task")
    return current_task.request
