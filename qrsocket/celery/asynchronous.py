"""`async def` tasks, on one event loop for the whole process."""

import _thread
import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def async_task(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """
    Make an `async def` function one that Celery can run: `@app.task` above, `@async_task` below.

    Celery would not await it: the task would succeed with nothing done. The coroutine runs on a loop in a thread of its
    own, which all tasks of the process share, so that clients of databases and of Redis keep their connections. The
    task's slot in the worker is taken until it is done. The user is kept. A time limit cancels it.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), _running_loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()  # a soft time limit or a shutdown came while we waited
            raise

    return run


_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _start_thread(_loop.run_forever)
        return _loop


def _start_thread(run: Callable[[], None]) -> None:
    # On gevent a Thread is a greenlet of this thread, and a loop that runs in it seems to run everywhere: all blocking
    # code that looks for one, ours or Django's, would be refused from then on.
    monkey = sys.modules.get("gevent.monkey")
    start = monkey.get_original("_thread", "start_new_thread") if monkey else _thread.start_new_thread
    start(run, ())


def _after_fork() -> None:
    global _lock, _loop  # the parent's thread does not exist in the child, and its lock may be held for ever
    _lock, _loop = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)
