"""
The application that runs beside each tool: a web side and a Celery side, with one of each thing that users do.

`SHOP_BROKER` names Celery's broker. A tool that wants to be started by code has a module of its own, which imports this
one afterwards.
"""

import asyncio
import os
import time
from contextlib import suppress
from typing import Any

from celery import Celery
from fastapi import FastAPI
from redis import Redis

from qrsocket import NoRecipient, User, socket
from qrsocket.celery import install, job, notify_user
from qrsocket.server import SocketRouter
from qrsocket.sync import socket as blocking

SECRET = "sesame"
HOOKS_KEY = "shop:hooks"
LONG = 300.0

jobs = install(Celery("shop", broker=os.environ.get("SHOP_BROKER", "memory://")))
jobs.conf.update(
    broker_connection_retry_on_startup=True,
    beat_schedule={"ring": {"task": "tests.tools.shop.ring", "schedule": 0.5}},
    redbeat_redis_url=os.environ.get("SHOP_BROKER"),
    redbeat_lock_timeout=3,
)


@jobs.task
@notify_user(title="Counting", result=True)
def count(words: list[str]) -> int:
    for word in job.track(words):
        blocking.send({"word": word})
    return len(words)


@jobs.task
@notify_user
async def count_later(words: list[str]) -> None:
    for word in words:
        await asyncio.sleep(0)
        await socket.send({"word": word})


@jobs.task
@notify_user
def fail(secret: str) -> None:
    raise ValueError("as the test wants")


@jobs.task(bind=True)
@notify_user
def succeed_at_second(self: Any) -> None:
    if job.attempt == 1:
        raise self.retry(countdown=0)


@jobs.task
@notify_user
def take_long() -> None:
    """Wait in one call that only a signal breaks off."""
    time.sleep(LONG)


@jobs.task(acks_late=True)
@notify_user
def take_long_once() -> None:
    """Wait as above, but in the first run only."""
    with Redis.from_url(os.environ["QRSOCKET_REDIS_URL"]) as redis:
        runs = redis.incr(f"shop:runs:{job.id}")
    blocking.send({"begun": job.id})
    if runs == 1:
        time.sleep(LONG)


@jobs.task
@notify_user
def queue_another(words: list[str]) -> None:
    """Have a task without a watcher send to the user of this one."""
    say.delay(words[0])


@jobs.task
def say(word: str) -> None:
    blocking.send({"word": word})


@jobs.task
@notify_user
def ring() -> None:
    """Of a schedule: it runs for nobody, and nobody watches it."""
    with suppress(NoRecipient):
        blocking.send("for whom?")
    blocking.to("alice").send({"ring": job.id})


router = SocketRouter("/socket")
for path, task in (
    ("/count", count),
    ("/count-later", count_later),
    ("/fail", fail),
    ("/succeed-at-second", succeed_at_second),
    ("/take-long", take_long),
    ("/take-long-once", take_long_once),
    ("/queue-another", queue_another),
):
    router.add_job(path, task)


@router.on_connect
async def on_connect(query: dict[str, str]) -> User | None:
    return User(query["user"]) if "user" in query else None


@router.authenticate
async def authenticate(data: Any) -> User:
    return User(data["name"])


@router.on_message
async def on_message(data: Any) -> Any:
    if data == {"fail": SECRET}:
        raise ValueError("as the test wants")
    await socket.send({"heard": data})
    return {"answer": data}


@router.on_join("room:{name}", members=True)
async def on_join(name: str) -> None: ...


def note_hook(word: str) -> None:
    with Redis.from_url(os.environ["QRSOCKET_REDIS_URL"]) as redis:
        redis.rpush(HOOKS_KEY, word)


@router.on_online
def on_online(user_id: str) -> None:
    note_hook(f"online {user_id}")


@router.on_offline
def on_offline(user_id: str) -> None:
    note_hook(f"offline {user_id}")


app = FastAPI()
app.include_router(router)


@app.post("/send/{user}")
async def send_to(user: str, message: Any = None) -> int:
    return (await socket.to(user).send(message)).connections
