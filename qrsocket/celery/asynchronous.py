"""`async def` tasks, on one event loop for the whole process."""

import asyncio
import inspect
import os
import selectors
import sys
import threading
from asyncio import _set_running_loop  # for who writes an event loop, or as here its selector
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from celery import Task
from celery.local import Proxy

from qrsocket.context import current, running_for
from qrsocket.internals.celery import current_task, run_in

# Seconds for the `finally` blocks of a coroutine that is cancelled.
CLEANUP_TIMEOUT = 10.0
# Python 3.14 raises for an annotation that names what only a type checker imports, unless told so.
FORGIVING: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    FORGIVING = {"annotation_format": annotationlib.Format.FORWARDREF}

P = ParamSpec("P")
R = TypeVar("R")


def async_task(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """
    Make an `async def` function one that Celery can run: `@app.task` above, `@async_task` below.

    Celery would not await it: the task would succeed with nothing done. The coroutine runs on a loop in a thread of its
    own, which all tasks of the process share, so that clients of databases and of Redis keep their connections. The
    task's slot in the worker is taken until it is done. The user is kept, and with `bind=True` so is `self`: its
    `request`, `retry` and `replace`. A soft time limit cancels it, and its `finally` blocks have 10 s. While it blocks,
    all the others wait.

    Raises:
        TypeError: Above `@app.task` instead of below.
        RuntimeError: When called in an `async def` task, which would wait for itself. Queue it, or await the function.
    """

    refuse_task(function, "async_task")

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        loop = _running_loop()
        if threading.current_thread() is _thread:
            raise RuntimeError(
                f"{function.__name__}() was called in an `async def` task: queue it with `.delay()`, "
                "or share an `async def` function with it and await that"
            )
        task, ended = current_task(), threading.Event()
        coroutine = _until_end(function(*args, **kwargs), ended)
        with running_for(replace(current(), may_block=False)):  # the task may block, the coroutine may not
            future = asyncio.run_coroutine_threadsafe(_InTask(coroutine, task) if task else coroutine, loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():  # a soft time limit, a cancel or a shutdown came while we waited
                ended.wait(CLEANUP_TIMEOUT)
            raise

    return declare(run, function)


def refuse_task(function: Any, name: str) -> None:
    """
    Raises:
        TypeError: *function* is a task already, which is not called by way of what stands above it.
    """
    # A Proxy first: to ask it more would make the task.
    if isinstance(function, Proxy | Task) or (isinstance(function, type) and issubclass(function, Task)):
        raise TypeError(f"@{name} decorates the function of a task: write @app.task above, @{name} below")


def declare(run: Callable[P, R], function: Callable[..., Any]) -> Callable[P, R]:
    """Let *run* take what *function* takes in the eyes of Celery too, whose check does not look at `__wrapped__`."""
    with suppress(ValueError, TypeError):  # it has none, as some that are written in C
        run.__signature__ = inspect.signature(function, **FORGIVING)  # type: ignore[attr-defined]
    return run


async def _until_end(coroutine: Coroutine[Any, Any, R], ended: threading.Event) -> R:
    try:
        return await coroutine
    finally:
        ended.set()


class _InTask(Coroutine[Any, Any, R]):
    """
    A coroutine that takes each of its steps in the Celery task of its caller.

    Celery asks the thread for its task, and the loop's thread has many at once. Outside of its task, `self.retry()`
    would lose it without a word.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, R], task: "Task[Any, Any]") -> None:
        self._coroutine, self._task, self._request = coroutine, task, task.request

    def send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine.__await__()

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        with run_in(self._task, self._request):
            return step(*args)


class _Selector(selectors.DefaultSelector):
    """
    Waits for events with no loop running.

    On gevent a thread is a greenlet, and while the loop waits here the others run in the same thread: code of theirs
    that blocks must not take the loop for its own, or it refuses to (`socket` of `qrsocket.sync` does, Django does).
    A thread outside of gevent is no way out: with its own hub it crashed after about 10 tasks (gevent 26.9).
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = asyncio.get_running_loop()
        _set_running_loop(None)
        try:
            return super().select(timeout)
        finally:
            _set_running_loop(loop)


_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.SelectorEventLoop(_Selector())
            _thread = threading.Thread(target=_loop.run_forever, name="qrsocket async tasks", daemon=True)
            _thread.start()
        return _loop


def _after_fork() -> None:
    global _lock, _loop, _thread  # the thread does not exist in the child, and the lock may be held for ever
    _lock, _loop, _thread = threading.Lock(), None, None


os.register_at_fork(after_in_child=_after_fork)
