"""Celery's tasks: which one runs in a thread, and which of an application's are made already."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery, Task, _state

from qrsocket.internals import require

require("celery", _state, "get_current_task", "push_current_task", "pop_current_task", "_get_active_apps")
require("celery", Celery, "_tasks", "autofinalize", "finalized")
require("celery", Task, "request_stack")


def current_task() -> Any:
    """Return the task that runs in this thread, itself and no proxy; None if there is none."""
    return _state.get_current_task()


@contextmanager
def run_in(task: Any, request: Any) -> Iterator[None]:
    """Take *task*, with *request*, for the one that runs in this thread, until the block ends."""
    _state.push_current_task(task)  # type: ignore[attr-defined]
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _state.pop_current_task()  # type: ignore[attr-defined]


def applications() -> tuple[Any, ...]:
    """Return the applications of this process."""
    return tuple(_state._get_active_apps())  # type: ignore[attr-defined]


def made_tasks(app: Any) -> Mapping[str, Any]:
    """Return the tasks of *app* that are made already. `app.tasks` would make those that are only declared."""
    tasks: Mapping[str, Any] = app._tasks
    return tasks


def may_make_tasks(app: Any) -> bool:
    return bool(app.finalized or app.autofinalize)
