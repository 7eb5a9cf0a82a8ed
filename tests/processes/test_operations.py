"""What docs/operations.md says one sees when Redis is slow, a node deaf, or a queue without a worker."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from qrsocket.cli.app import app
from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE
from tests.conftest import MS, Configure
from tests.redis.outages import deafening
from tests.running import WebNode, web_node

APP = "tests.processes.watched_over:app"
# Some 0.3 s. By the clock it would not end: within a script Redis lets none pass.
BUSY = "for _ = 1, 20000000 do end"


def qrsocket(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def number(node: WebNode, name: str) -> float:
    """Return the sum of a metric, over its labels."""
    with urlopen(f"{node.url}/socket/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


@contextmanager
def busy(server: EmbeddedRedis) -> Iterator[None]:
    """Let others keep Redis busy, again and again."""
    ended = threading.Event()

    def keep() -> None:
        with Redis.from_url(server.url, socket_timeout=PATIENCE) as client:
            while not ended.is_set():
                client.eval(BUSY, 0)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_redis_is_slow(redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    The doctor says how long it takes to answer, and so do the node's metrics, of round trips and of heartbeats.
    """
    configure(redis_timeout=PATIENCE)
    with web_node(app=APP) as node, busy(redis_server):
        deadline = time.monotonic() + 2 * PATIENCE
        while not (_answers_in() > 50 and number(node, "qrsocket_heartbeat_seconds_sum") > 0.2):
            assert time.monotonic() < deadline


def _answers_in() -> float:
    """Return how many ms the doctor says."""
    said = qrsocket("doctor").stdout
    answered = re.search(r"connection: Redis answers in (\S+) ms", said)
    assert answered is not None, said
    return float(answered[1])


@pytest.mark.timeout(120)
async def test_a_node_is_deaf(redis_server: EmbeddedRedis, configure: Configure) -> None:
    """
    It is not ready and says why; `qrsocket status` names it, while its lease is renewed.
    """
    configure(lease=3_000 * MS, renew_interval=500 * MS, redis_timeout=PATIENCE)
    async with deafening(redis_server.port) as (port, is_deaf):
        env, stack = {"QRSOCKET_REDIS_URL": f"redis://127.0.0.1:{port}/0"}, ExitStack()
        try:
            node = await asyncio.to_thread(stack.enter_context, web_node(env=env, app=APP))
            is_deaf.set()
            ready, seen = await asyncio.to_thread(_watch, node)
        finally:
            await asyncio.to_thread(stack.close)

    (trouble,) = seen["troubles"]
    assert (503, "what Redis publishes does not arrive") == ready
    assert re.search(r"node \S+ is deaf, or late by", trouble)
    assert seen["nodes"][0]["lease_left"] > 0


def _watch(node: WebNode) -> tuple[tuple[int, str], Any]:
    """Look until something is wrong: return what `/ready` and `qrsocket status` say then."""
    deadline = time.monotonic() + 4 * PATIENCE
    while True:
        ready, seen = _ready(node), json.loads(qrsocket("status", "--json").stdout)
        if ready[0] != 200 and seen["troubles"]:
            return ready, seen
        assert time.monotonic() < deadline, (ready, seen)


def _ready(node: WebNode) -> tuple[int, str]:
    try:
        with urlopen(f"{node.url}/socket/ready", timeout=PATIENCE) as answer:
            return answer.status, ""
    except HTTPError as error:
        return error.code, json.load(error)["cause"]


def test_a_queue_has_no_worker(redis_server: EmbeddedRedis) -> None:
    """
    `qrsocket status` and the doctor name it, with how many jobs wait and since when.
    """
    with web_node(app=APP) as node:
        urlopen(Request(f"{node.url}/queue/imports", method="POST"), timeout=PATIENCE).close()
        status, doctor = qrsocket("status"), qrsocket("doctor")

    assert 1 == status.exit_code
    assert "queue imports has no worker: 1 waiting, the first for 0 s" in status.stdout
    assert "queue imports: 1 job waits in it" in doctor.stdout
