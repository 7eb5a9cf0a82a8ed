"""Tasks that meet each fate that a job can meet. Of the application in `shapes`."""

import asyncio
import os
import signal
import time
from typing import Any

from celery.exceptions import Ignore, Reject

from qrsocket import SocketError
from qrsocket.celery import job, notify_user
from tests.clients import PATIENCE
from tests.processes.shapes import app, notebook

SECRET = "sesame"


def note(word: str, run: str) -> None:
    notebook().rpush(f"{word}:{run}", "here")


def wait(word: str, run: str) -> None:
    assert notebook().blpop([f"{word}:{run}"], timeout=3 * PATIENCE)


@app.task
@notify_user
def succeed(run: str) -> str:
    return SECRET


@app.task
@notify_user(title="The end", states=["succeeded", "failed", "timeout", "cancelled", "lost"])
def only_the_end(run: str) -> None: ...


@app.task
@notify_user
def fail(run: str) -> None:
    raise ValueError(SECRET)


@app.task(throws=(SocketError,))
@notify_user
def refuse(run: str) -> None:
    raise SocketError("The file is empty")


@app.task(bind=True)
@notify_user
def retry(self: Any, run: str) -> None:
    if job.attempt == 1:
        raise self.retry(countdown=0)


@app.task(bind=True)
@notify_user
def retry_later(self: Any, run: str) -> None:
    raise self.retry(countdown=3)


@app.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0})
@notify_user
def retry_in_vain(run: str) -> None:
    raise ValueError(SECRET)


@app.task(bind=True)
@notify_user
def be_replaced(self: Any, run: str) -> object:
    return self.replace(succeed.si(run))


@app.task
@notify_user
def ignore(run: str) -> None:
    raise Ignore


@app.task
@notify_user
def reject(run: str) -> None:
    raise Reject(SECRET, requeue=False)


@app.task
@notify_user
def take_long(run: str) -> None:
    """Sleep, in one call that only a signal breaks off."""
    note("begun", run)
    try:
        time.sleep(3 * PATIENCE)
    finally:
        note("cleaned up", run)


@app.task
@notify_user
def look_often(run: str) -> None:
    look(run)


def look(run: str) -> None:
    """Go on until told to stop."""
    note("begun", run)
    try:
        for _ in job.track(iter(lambda: time.sleep(0.01), 1), total=1_000_000):
            pass
    finally:
        note("cleaned up", run)


@app.task
@notify_user
async def look_in_a_group(run: str) -> None:
    """Go on in two coroutines of a group, and take a while to clean up."""

    async def look() -> None:
        while True:
            await asyncio.sleep(0.01)
            job.check()

    await asyncio.to_thread(note, "begun", run)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            group.create_task(look())
    finally:
        await asyncio.sleep(0.2)
        await asyncio.to_thread(note, "cleaned up", run)


@app.task
@notify_user
async def take_long_in_async(run: str) -> None:
    await asyncio.to_thread(note, "begun", run)
    try:
        await asyncio.sleep(3 * PATIENCE)
    finally:
        await asyncio.sleep(0.2)
        await asyncio.to_thread(note, "cleaned up", run)


@app.task
@notify_user
def write_a_lot(run: str) -> None:
    """Write more than Redis takes at once, for as long as told to."""
    note("begun", run)
    with job.stream() as out:
        while not notebook().lpop(f"go on:{run}"):
            out.write("x" * 10_000)


@app.task
@notify_user
def wait_for_word(run: str) -> str:
    job.progress(1, 2, message="Half-way")
    note("begun", run)
    wait("go on", run)
    return SECRET


@app.task
@notify_user
def kill_itself_once(run: str) -> None:
    if notebook().incr(f"runs:{run}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(reject_on_worker_lost=True)
@notify_user
def kill_itself_once_and_come_back(run: str) -> None:
    kill_itself_once.run(run)
