"""
An application whose tasks are of classes of its own: they run within a context, as Flask's documentation has it.

`CLASSES_BROKER` names the broker.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery import Celery, Task, shared_task
from fastapi import FastAPI

from qrsocket import User
from qrsocket.celery import install, job, notify_user
from qrsocket.server import SocketRouter
from qrsocket.sync import socket

LONG = 300.0

_context: ContextVar[str] = ContextVar("context", default="none")


@contextmanager
def context(name: str) -> Iterator[None]:
    """Let tasks know that they run within *name*; the user is told when it is left."""
    token = _context.set(name)
    try:
        yield
    finally:
        _context.reset(token)
        socket.send({"left": name, "task": job.id})


class InContext(Task):  # type: ignore[type-arg]
    """As Flask's documentation has it."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with context("by run"):
            return self.run(*args, **kwargs)


class InContextBySuper(Task):  # type: ignore[type-arg]
    """As Celery's has it; and its methods that tell of the end send to the user."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with context("by super"):
            return super().__call__(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        socket.send({"before": task_id})

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        socket.send({"succeeded": task_id})

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        socket.send({"failed": task_id})

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        socket.send({"returned": task_id})


class Shop(Celery):
    """A Celery with a task class, names and headers of its own."""

    task_cls = InContext

    def gen_task_name(self, name: str, module: str) -> str:
        return f"shop.{name}"

    def send_task(self, *args: Any, **options: Any) -> Any:
        options["headers"] = {"tenant": "t1", **(options.get("headers") or {})}
        return super().send_task(*args, **options)


jobs = install(Shop("classes", broker=os.environ.get("CLASSES_BROKER", "memory://")))


def say_where() -> None:
    socket.send({"within": _context.get(), "task": job.id})


@jobs.task
@notify_user
def of_the_application() -> None:
    say_where()


@jobs.task(base=InContextBySuper)
@notify_user
def by_super(times: int) -> None:
    for _ in job.track(range(times)):
        pass
    say_where()


@shared_task
@notify_user
def shared() -> None:
    say_where()


@jobs.task
@notify_user
async def in_async() -> None:
    say_where_later = _context.get()
    assert say_where_later == "by run", say_where_later


@jobs.task(base=InContextBySuper, bind=True)
@notify_user
def succeed_at_second(self: Any) -> None:
    if job.attempt == 1:
        raise self.retry(countdown=0)
    say_where()


@jobs.task(base=InContextBySuper, autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0})
@notify_user
def fail_twice() -> None:
    raise ValueError


@jobs.task(base=InContextBySuper)
@notify_user
def take_long() -> None:
    time.sleep(LONG)


@jobs.task(base=InContextBySuper)
@notify_user
def call_another() -> None:
    """Call a watched task as a function, and itself: they are part of this one."""
    of_the_application()


WATCHED = (of_the_application, by_super, shared, in_async, succeed_at_second, fail_twice, take_long, call_another)

router = SocketRouter("/socket")
for task in WATCHED:
    router.add_job(f"/{task.name.rpartition('.')[2]}", task)


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    return User(query["user"])


app = FastAPI()
app.include_router(router)
