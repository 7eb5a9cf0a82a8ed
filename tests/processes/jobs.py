"""Tasks that send, that are `async def`, and that tell how they fare. Of the application in `shapes`."""

import asyncio
import os
from typing import Any

from celery.signals import worker_init

from qrsocket import socket
from qrsocket.celery import async_task, job, notify_user
from qrsocket.sync import socket as blocking
from tests.clients import PATIENCE
from tests.processes.shapes import app, note, notebook, whom, write

if "SHAPES_VISIBILITY_TIMEOUT" in os.environ:
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ["SHAPES_VISIBILITY_TIMEOUT"]),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "polling_interval": 5,  # on gevent kombu looks only when 2 s pass without a word of the broker
    }


@worker_init.connect
def send_before_the_fork(**_: Any) -> None:
    """Open connections in the main process, which its children will find there."""
    blocking.to("nobody").send("hello")


@app.task
def send(name: str, times: int) -> list[str]:
    """Send to the user, and return the ids of the messages."""
    return [blocking.send({"from": name, "n": n}).message_id for n in range(times)]


@app.task
def send_beside(name: str, other: str, times: int) -> list[str]:
    """Send while *other* does, in another process or thread."""
    notebook().rpush(f"partner:{other}", name)
    assert notebook().blpop([f"partner:{name}"], timeout=PATIENCE)
    ids: list[str] = send(name, times)
    return ids


@app.task
@async_task
async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.task
@async_task
async def fail_later(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


@app.task
@async_task
async def see_whom() -> list[str]:
    """Return whom this runs for: here, in a task of the loop, in a thread, and in a task that is queued here."""

    async def look() -> str:
        await asyncio.sleep(0)
        return whom()

    return [await look(), await asyncio.create_task(look()), await asyncio.to_thread(whom)]


@app.task
@async_task
async def queue_later(run: str) -> None:
    await asyncio.sleep(0)
    note.delay(run, "child")
    await asyncio.to_thread(note.delay, run, "child from a thread")


@app.task
@async_task
async def send_at_once(name: str, times: int) -> list[str]:
    """Send to the user, without waiting for one before the next."""
    deliveries = await asyncio.gather(*(socket.send({"from": name, "n": n}) for n in range(times)))
    return [delivery.message_id for delivery in deliveries]


@app.task
@async_task
async def send_blocking() -> None:
    blocking.to("alice").send("hello")


@app.task
@async_task
async def block_the_loop(run: str) -> None:
    """Do what a coroutine should not: wait for Redis without `await`."""
    write(run, "begun")
    assert notebook().blpop([run], timeout=PATIENCE)


@app.task
def sees_a_loop() -> bool:
    """Look as Django does before it blocks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@app.task(bind=True)
@async_task
async def try_twice_later(self: Any, run: str) -> list[Any]:
    await asyncio.sleep(0)
    write(run, f"attempt {job.attempt}")
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return [job.id, self.request.id]


@app.task
@async_task
async def wait_for_ever(run: str) -> None:
    write(run, "begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        write(run, "cancelled")
        raise


@app.task
@async_task
async def call_another() -> int:
    three: int = add(1, 2)
    return three


@app.task
@notify_user
def succeed(secret: str) -> str:
    return secret


@app.task(bind=True)
@notify_user
def succeed_bound(self: Any, secret: str) -> list[Any]:
    return [job.id, self.request.id, secret]


@app.task
@notify_user
async def succeed_later(secret: str) -> str:
    await asyncio.sleep(0)
    return secret


@app.task
@notify_user
def fail(secret: str) -> None:
    raise ValueError(secret)


@app.task
@notify_user
async def fail_in_async(secret: str) -> None:
    raise ValueError(secret)


@app.task(bind=True)
@notify_user
def succeed_at_second(self: Any, secret: str) -> None:
    if job.attempt == 1:
        raise self.retry(countdown=0)


@app.task(autoretry_for=(ValueError,), default_retry_delay=0, max_retries=2)
@notify_user
def succeed_at_third(secret: str) -> None:
    if job.attempt < 3:
        raise ValueError(secret)


@app.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 0})
@notify_user
def fail_twice(secret: str) -> None:
    raise ValueError(secret)


@app.task(autoretry_for=(ValueError,), dont_autoretry_for=(UnicodeError,))
@notify_user
def fail_for_good(secret: str) -> None:
    raise UnicodeError(secret)


@app.task(bind=True)
@notify_user
def be_replaced(self: Any, secret: str) -> object:
    return self.replace(succeed.si(secret))


def send_half_and_half(run: str, name: str) -> None:
    """Send, be held up, and send the rest; one message says which run this is."""
    blocking.send({"from": name, "n": 1})
    blocking.send({"from": name, "run": notebook().incr(f"runs:{run}")})
    blocking.send({"from": name, "n": 3})
    blocking.to("bob").send({"from": name, "n": 4})
    notebook().rpush(f"halfway:{run}", "here")
    assert notebook().blpop([f"go on:{run}"], timeout=PATIENCE)
    blocking.send({"from": name, "n": 5})


@app.task(acks_late=True)
@notify_user
def be_killed_halfway(run: str) -> None:
    send_half_and_half(run, "me")


@app.task(acks_late=True)
@notify_user
async def be_killed_halfway_later(run: str) -> None:
    await socket.send({"from": "me", "n": 0})
    await asyncio.to_thread(send_half_and_half, run, "me")


@app.task(bind=True)
def send_and_retry(self: Any, times: int) -> list[str]:
    """Send one message more in each attempt, and return the ids of the last."""
    ids = [blocking.send({"n": n}).message_id for n in range(job.attempt)]
    if job.attempt < times:
        raise self.retry(countdown=0)
    return ids


@app.task(bind=True)
@async_task
async def send_and_retry_later(self: Any, times: int) -> list[str]:
    deliveries = await asyncio.gather(*(socket.send({"n": n}) for n in range(job.attempt)))
    if job.attempt < times:
        raise self.retry(countdown=0)
    return [delivery.message_id for delivery in deliveries]


@app.task(bind=True)
def send_and_be_replaced(self: Any, times: int) -> object:
    """Send the same as the one that takes its place."""
    blocking.send({"tick": True})
    if times > 1:
        return self.replace(send_and_be_replaced.si(times - 1))
    return None


@app.task
def send_around_another(depth: int) -> list[str]:
    """Send before and after a task that runs inside, which does the same. Eager."""
    ids = [blocking.send({"tick": True}).message_id]
    if depth:
        ids += send_around_another.delay(depth - 1).get(disable_sync_subtasks=False)
    return [*ids, blocking.send({"tick": True}).message_id]
