"""An application whose processes have accounts of their own in Redis: a node, and a worker with a watched job."""

import os
from typing import Any

from celery import Celery
from fastapi import FastAPI

from qrsocket import User, socket
from qrsocket.celery import install, job, notify_user
from qrsocket.server import SocketRouter
from qrsocket.sync import revoke
from qrsocket.sync import socket as blocking

BROKER = os.environ.get("GUARDED_BROKER", "memory://")
jobs = install(Celery("guarded", broker=BROKER, backend=BROKER))


@jobs.task
@notify_user(title="Counting", result=True)
def count(words: list[str]) -> int:
    """A job with all that a job can tell, and all that a worker can ask."""
    with job.stream() as out:
        for word in job.track(words):
            out.write(word)
    blocking.send({"counted": len(words)})
    blocking.topic("room:tea").send("counted")
    asked = [
        blocking.is_online("alice"),
        sorted(blocking.topic("room:tea").members()),
        blocking.topic("room:tea").count(),
    ]
    blocking.send({"asked": asked})
    blocking.to("alice").join("room:cake")
    revoke("bob", for_seconds=60)
    return len(words)


router = SocketRouter("/socket")


@router.on_connect
async def on_connect(query: dict[str, str]) -> User:
    return User(query["user"])


@router.on_join("room:{name}", members=True)
async def on_join(name: str) -> None: ...


@router.on_online
async def on_online(user_id: str) -> None:
    await socket.to(user_id).send(f"hello {user_id}")


@router.on_message
async def on_message(data: Any) -> Any:
    return data


router.add_job("/count", count)
app = FastAPI()
app.include_router(router)
