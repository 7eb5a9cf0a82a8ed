"""An application, web and worker, that writes all that our loggers are told into a file."""

import logging
import os
from pathlib import Path
from typing import Any

from celery import Celery
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from qrsocket import SocketError, User, socket
from qrsocket.celery import install, job, notify_user
from qrsocket.server import SocketRouter
from qrsocket.server.handshake import Subprotocols
from qrsocket.sync import socket as blocking
from tests.processes.cluster import REDIS_URL


class Recorder(logging.Handler):
    """Writes the text, the traceback and the attributes of each record."""

    def emit(self, record: logging.LogRecord) -> None:
        traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        with Path(os.environ["CANARY_LOG"]).open("a") as file:
            file.write(f"{record.getMessage()} {traceback} {vars(record)}\n")


if "CANARY_LOG" in os.environ:  # not where a test queues
    logging.getLogger("qrsocket").addHandler(Recorder())
    logging.getLogger("qrsocket").setLevel(logging.DEBUG)

tasks = install(Celery("canaries", broker=REDIS_URL, backend=REDIS_URL))
tasks.conf.update(task_default_queue="canaries", result_expires=60)


def title(text: str, how: str = "") -> str:
    raise ValueError(text)


def shown(result: str) -> str:
    raise ValueError(result)


@tasks.task
@notify_user(title=title, result=shown)
def work(text: str, how: str = "") -> str:
    job.progress(1, 2, message=text)
    with job.stream() as out:
        out.write(text)
    blocking.send({"text": text})
    if how == "refuse":
        raise SocketError(text)
    if how == "fail":
        raise ValueError(text)
    return f"canary-result {text}"


@tasks.task
@notify_user(result=True)
def show(text: str) -> Any:
    """Return what cannot be shown: too large, or not JSON."""
    return 100_000 * "canary-result" if text.endswith("large") else {"canary-result": float("nan")}


router = SocketRouter("/socket")
strangers = SocketRouter("/strangers")


@router.on_connect
async def on_connect(query: dict[str, str], subprotocols: Subprotocols, token: str | None = None) -> User | None:
    if "refuse" in query:
        raise HTTPException(401, f"{query} {token} {subprotocols}")
    if "fail" in query:
        raise SocketError(f"{query} {token}")
    if "odd" in query:
        return User("\n" + query["odd"])
    return User(query["user"])


class Message(BaseModel):
    do: str
    text: str
    number: int = 0


@router.on_message
async def on_message(data: Message) -> Any:
    if data.do == "refuse":
        raise SocketError(data.text)
    if data.do == "fail":
        raise ValueError("as the application says")
    if data.do == "send":
        await socket.send({"text": data.text}, latest=data.text)
        await socket.topic("room").send(data.text.encode(), message_id="m1")
        await socket.topic("room").send(data.text.encode(), message_id="m1")
    return {"answer": data.text}


@router.on_join("room")
def on_join(topic: str) -> None: ...


@router.on_join("closed")
def refuse_all(topic: str) -> None:
    raise SocketError("canary-refusal")


@strangers.authenticate
async def authenticate(data: Any) -> User:
    raise HTTPException(401, f"{data} is wrong")


router.add_job("/work", work)
app = FastAPI()
for one in (router, strangers):
    app.include_router(one)
