"""The public surface, written as an application author writes it: every name, decorator and signature."""

from pathlib import Path

import pytest

from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import Open
from tests.running import web_node, worker

SOCKETS = """
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from qrsocket import User, authenticated, socket
from qrsocket.server import SocketRouter

from author_tasks import import_csv, team


class ChatIn(BaseModel):
    text: str


router = SocketRouter("/socket")


@router.on_connect
async def on_connect(request: Request, cookies: dict[str, str]) -> User | None:
    if "banned" in cookies:
        raise HTTPException(403)
    return None


@router.authenticate
async def authenticate(data: Any) -> User | None:
    return User(data["token"])


@router.on_message(type="json", timeout=10)
async def on_message(data: ChatIn, user: User | None, connection: str, request_id: str) -> None:
    await socket.send({"reply": "👋 Welcome!"})
    import_csv.delay(data.text)


@router.on_online
async def on_online(user_id: str) -> None:
    await socket.to(user_id).send({"you are": "online"})


@router.on_offline
async def on_offline(user_id: str) -> None:
    await socket.to("watcher").send({"offline": user_id})


app = FastAPI()
app.include_router(router)
"""

TASKS = """
import os

from celery import Celery

from qrsocket.celery import install, job, notify_user
from qrsocket.sync import socket

app = Celery("worker", broker=os.environ["QRSOCKET_REDIS_URL"]); install(app)
app.conf.task_ignore_result = True
team = ["watcher", "nobody"]


@app.task
@notify_user
def import_csv(path: str) -> int:
    n = len(path)
    socket.send({"imported": n, "by": job.id != ""})
    socket.to(team).send({"imported": n})
    return n
"""


@pytest.fixture
def author(tmp_path: Path, redis_server: EmbeddedRedis) -> dict[str, str]:
    (tmp_path / "author_sockets.py").write_text(SOCKETS)
    (tmp_path / "author_tasks.py").write_text(TASKS)
    return {"PYTHONPATH": str(tmp_path), "QRSOCKET_OFFLINE_GRACE": "0.1", "QRSOCKET_RENEW_INTERVAL": "0.05"}


async def test_an_author_can_write_this(author: dict[str, str], open_client: Open) -> None:
    """
    One application uses everything at once: a first message signs in, a message is answered and queues a job, the job
    reaches its user and a team, and hooks tell who comes and goes.
    """
    with worker(author, app="author_tasks"), web_node(env=author, app="author_sockets:app") as node:
        address = f"127.0.0.1:{node.port}"
        alice, watcher = await open_client(address), await open_client(address)
        await watcher.send({"token": "watcher"})
        assert {"you are": "online"} == await watcher.receive()
        await alice.send({"token": "alice"})
        assert {"you are": "online"} == await alice.receive()

        await alice.send({"text": "seven.."})
        received = [await alice.receive()]
        while received[-1].get("job", {}).get("state") != "succeeded":
            received.append(await alice.receive())

        assert {"reply": "👋 Welcome!"} == received[0]
        assert {"imported": 7, "by": True} in received
        states = [message["job"]["state"] for message in received if "job" in message]
        assert ["queued", "started", "succeeded"] == list(dict.fromkeys(states))
        assert {"imported": 7} == await watcher.receive()
        await alice.connection.close()
        assert {"offline": "alice"} == await watcher.receive()
