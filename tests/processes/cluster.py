"""An application of two kinds of process, for tests that kill them."""

import os
from typing import Any

from celery import Celery
from fastapi import FastAPI
from redis import Redis

from qrsocket import User, socket
from qrsocket.celery import install
from qrsocket.server import SocketRouter
from qrsocket.sync import socket as blocking

REDIS_URL = os.environ["QRSOCKET_REDIS_URL"]

jobs = Celery("cluster", broker=REDIS_URL)
jobs.conf.task_ignore_result = True
install(jobs)


@jobs.task
def send(message: Any, users: list[str] | None = None) -> None:
    """Send *message* to *users*, or to whom queued this."""
    if users is None:
        blocking.send(message)
    else:
        blocking.to(users).send(message)


router = SocketRouter("/socket")
told = Redis.from_url(REDIS_URL)


@router.on_connect
async def on_connect(query: dict[str, str]) -> User | None:
    return User(query["user"]) if "user" in query else None


@router.on_message
def on_message(data: Any) -> None:
    """Queue a job that answers the sender."""
    send.delay({"echo": data})


@router.on_online
def on_online(user_id: str) -> None:
    told.rpush("told", f"online {user_id}")


@router.on_offline
def on_offline(user_id: str) -> None:
    told.rpush("told", f"offline {user_id}")


app = FastAPI()
app.include_router(router)


@app.post("/send/{user}")
async def send_to(user: str, message: Any = None) -> int:
    return (await socket.to(user).send(message)).connections
