"""The application that `bench.dashboard` watches: a little of everything, and some of it goes wrong."""

import asyncio
import random
import time

from celery import Celery
from celery.signals import worker_init
from fastapi import FastAPI

from qrsocket import SocketError, User, socket
from qrsocket.celery import install, job, notify_user
from qrsocket.prometheus import collect, serve_metrics
from qrsocket.server import SocketRouter

WORKER_PORT = 9127

app, router = FastAPI(), SocketRouter("/socket")
tasks = install(Celery("watched"))
collect()


@worker_init.connect
def _serve(**_: object) -> None:
    serve_metrics(WORKER_PORT)


@tasks.task(acks_late=True, reject_on_worker_lost=True)
@notify_user
def count_words() -> None:
    for _ in job.track(range(random.randint(2, 20))):
        time.sleep(0.1)
    if random.random() < 0.05:
        raise ValueError("no words")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    if "user" not in query:
        raise SocketError("who are you?")
    return User(query["user"])


@router.on_join("room")
async def on_join() -> None: ...


@router.on_message
async def answer(data: str, user: User) -> None:
    await asyncio.sleep(random.expovariate(50))
    if random.random() < 0.02:
        raise LookupError("no answer")
    await socket.to(user).send(data)


@router.on_online
@router.on_offline
async def on_presence(user_id: str) -> None: ...


router.add_job("/count", count_words)
router.add_metrics()
app.include_router(router)
