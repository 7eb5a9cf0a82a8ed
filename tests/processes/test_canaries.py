"""Whatever is said to a node or a worker, by whichever door, is in no line of our log: not at DEBUG, and in no fact."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from httpx2 import AsyncClient
from redis import Redis
from websockets.exceptions import InvalidStatus

from qrsocket.context import Context, running_for
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.keys import Keyspace
from qrsocket.settings import get_settings
from tests.app.speaking import VERSION_1
from tests.clients import PATIENCE, Client, Open
from tests.conftest import Configure, until
from tests.running import serve, worker

APP = "tests.processes.canaries"
KEY = f"canary-signing-key-{'0' * 32}"


@pytest.fixture
def written(redis_server: EmbeddedRedis, configure: Configure, tmp_path: Path) -> Path:
    """The file with all that our loggers were told in a process that has it as `CANARY_LOG`."""
    configure(signing_keys=KEY)
    return tmp_path / "canary.log"


def told_in(path: Path) -> str:
    return path.read_text()


def canaries(text: str) -> list[str]:
    return [line for line in text.splitlines() if "canary" in line.replace(APP, "").replace("canaries", "")]


async def refused(opening: Any) -> None:
    with pytest.raises(InvalidStatus):
        await opening


async def knock(open_client: Open, address: str) -> None:
    """Say something secret in each part of a handshake, and be refused."""
    headers = {"Authorization": "Bearer canary-token", "Cookie": "session=canary-cookie"}
    options: dict[str, Any] = {"additional_headers": headers, "subprotocols": ["canary-subprotocol"]}
    for query in ("refuse=1&token=canary-query", "fail=canary-query", "odd=canary-query"):
        await refused(open_client(address, f"/socket?{query}", origin=f"http://{address}", **options))
    await refused(open_client(address, "/socket?user=canary-query", **options))
    stranger = await open_client(address, "/strangers?token=canary-query")
    await stranger.send({"password": "canary-password"})
    assert 4100 == await stranger.closed()


async def speak(open_client: Open, address: str) -> None:
    """Say something secret in each kind of message."""
    plain = await open_client(address, "/socket?user=alice&token=canary-query")
    for frame in (
        *(json.dumps({"do": do, "text": "canary-message"}) for do in ("refuse", "fail", "send")),
        json.dumps({"do": "", "text": {"canary-key": "canary-message"}, "number": "canary-message"}),
        '{"canary-message',
        b"canary-message",
    ):
        await plain.send_text(frame)
        await plain.receive_text()

    page = await open_client(address, "/socket?user=alice", subprotocols=[VERSION_1])
    await page.send_text("!hello\n" + json.dumps({"auth": "canary-auth", "connection": "canary-connection"}))
    for frame in (
        '!join\n{"topic": "room"}',
        '!join\n{"topic": "closed"}',
        '!auth\n{"auth": "canary-auth", "request": "canary-1"}',
        '!canary-control\n{"request": "canary-2"}',
        '!cancel\n{"job": "canary-job", "request": "canary-3"}',
        "canary-4 want=reply\n" + json.dumps({"do": "send", "text": "canary-message"}),
    ):
        await page.send_text(frame)
    await until_told(page, "r=canary-4", '"request":"canary-3"')
    await page.connection.close(4321, "canary-reason")


async def until_told(page: Client, *answers: str) -> None:
    """Read until each of *answers* has come, in any order."""
    missing = set(answers)
    while missing:
        frame = str(await page.receive_text())
        missing -= {answer for answer in missing if answer in frame}


async def post(address: str) -> list[int]:
    """Queue a job over HTTP, well and badly."""
    bodies: tuple[Any, ...] = ({"text": "canary-body"}, {"text": {"canary-body": 1}, "canary-key": 2})
    async with AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        headers = {"Authorization": "Bearer canary-token"}
        answers = [
            await http.post("/socket/work?user=alice&token=canary-query", json=body, headers=headers) for body in bodies
        ]
        answers += [await http.post("/socket/work?refuse=canary-query", json={"text": "canary-body"}, headers=headers)]
    return [answer.status_code for answer in answers]


def forge(redis: Redis) -> None:
    """Say to the nodes what cannot be read, and what no key has signed."""
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)
    for envelope in (
        b"canary-envelope",
        b"canary-kind\t1\te\tm1\t\tu:alice\t1\n1",
        b"j\t1\te\tm1\t\tu:alice\t1\n canary-payload",
        b"c\t2\te\tm2\t\t*\t-\ncanary",
    ):
        redis.publish(keys.channel(node.decode()), envelope)
    redis.client_kill_filter(_type="pubsub")


async def test_a_node(written: Path, redis: Redis, open_client: Open) -> None:
    """
    Neither is anything in what `qrsocket serve --log-level debug` shows, uvicorn's lines included.
    """
    with serve(f"{APP}:app", "--log-level", "debug", env={"CANARY_LOG": str(written)}) as node:
        address = f"127.0.0.1:{node.port}"
        await knock(open_client, address)
        await speak(open_client, address)
        assert [202, 422, 401] == await post(address)
        forge(redis)
        node.wait_for("subscription lost")
        await speak(open_client, address)
        node.process.terminate()
        await until(lambda: node.process.poll() is not None)
        shown = "\n".join(node.log)

    told = told_in(written)
    for text in (
        "handshake refused by the application",
        "origin refused",
        "connection closed (",
        "connection closed by its client",
        "handler failed",
        "message handled",
        "message sent (",
        "message written",
        "topic refused",
        "job changed",
        "message from Redis dropped",
        "message refused: no key",
    ):
        assert text in told, text
        assert text in shown, text
    assert "as the application says" in told
    assert [] == canaries(told)
    assert [] == canaries(shown)


async def test_a_worker(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    Arguments, results, titles, errors, progress and text of jobs, and what they send; neither where they are queued.
    """
    from tests.processes import canaries as app  # which reads where Redis is

    caplog.set_level(logging.DEBUG, "qrsocket")
    with worker({"CANARY_LOG": str(written)}, app=f"{APP}:tasks", pool="threads"), running_for(Context(user="alice")):
        queued: list[AsyncResult[Any]] = [
            *(app.work.delay("canary-argument", how=how) for how in ("", "refuse", "fail")),
            *(app.show.delay(f"canary-argument {how}") for how in ("large", "odd")),
        ]
        for task in queued:
            await asyncio.to_thread(task.get, timeout=PATIENCE, propagate=False)
        for text in ("job without a title", "result not shown: larger", "result not shown: not JSON", "message sent ("):
            await until(lambda text=text: text in told_in(written))  # type: ignore[misc]

    queueing = [str(vars(one)) for one in caplog.records if one.name.startswith("qrsocket.celery")]
    assert "job changed" in caplog.text
    assert [] == canaries(told_in(written) + "\n".join(queueing))
