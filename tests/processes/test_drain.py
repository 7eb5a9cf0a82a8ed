"""`qrsocket serve` is told to stop: its clients go to another node, a few at a time, and miss nothing."""

import asyncio
import json
import signal
import socket as sockets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from redis import Redis
from websockets.exceptions import InvalidStatus

from qrsocket import socket
from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until
from tests.deaf import Deaf
from tests.machine import pace
from tests.processes.following import LAST, NO_TIME, Follower, all_done, all_ready
from tests.running import Running, WebNode, serve

APP = "tests.processes.draining:app"
CLIENTS, AT_ONCE, SECONDS = 200, 20, 2.0


@contextmanager
def nodes(seconds: float) -> Iterator[tuple[WebNode, WebNode]]:
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(serve(APP, "--drain-seconds", str(seconds), env={"QRSOCKET_NODE_NAME": name}))
            for name in ("n1", "n2")
        )
        yield first, second


def address(node: WebNode) -> str:
    return f"127.0.0.1:{node.port}"


async def test_nothing_is_lost(redis_server: EmbeddedRedis, redis: Redis, configure: Configure) -> None:
    """
    200 clients on two nodes are sent to all the time. One node is told to stop: its clients are closed over the seconds
    that it has, come back to the other, and all have got everything once and in order. No hook has run. One client that
    reads nothing does not delay the end.
    """
    configure(max_queued_bytes=10**9)
    followers = [Follower(f"user{n}") for n in range(CLIENTS)]
    users = [follower.user for follower in followers]
    with nodes(SECONDS) as (stopped, other), closing(Deaf(address(stopped))) as deaf:
        await deaf.opened()
        for _ in range(30):  # more than the kernel holds for it
            await socket.to("alice").send("x" * 200_000, keep=False)
        ways = [[address(stopped), address(other)], [address(other)]]
        following: list[asyncio.Task[None]] = []
        for n, follower in enumerate(followers):
            following.append(asyncio.create_task(follower.follow(*ways[n % 2])))
            if n % AT_ONCE == AT_ONCE - 1:
                await all_ready(followers[: n + 1], following)
        await until(lambda: redis.llen("told") == CLIENTS + 1)
        redis.delete("told")

        began = time.monotonic()
        stopped.process.terminate()
        for number in count():
            await socket.to(users).send(number)
            await asyncio.sleep(100 * MS)
            if stopped.process.poll() is not None:
                break
        took = time.monotonic() - began
        await socket.to(users).send(LAST)
        await all_done(followers, following)

    assert [] == [follower for follower in followers if follower.received != [*range(number + 1), LAST]]
    codes = [[code for _, code in follower.closed if code != NO_TIME] for follower in followers]
    assert [[1012], []] * (CLIENTS // 2) == codes, followers
    assert [1, 0] * (CLIENTS // 2) == [follower.was_told for follower in followers], followers
    assert [] == [follower for follower in followers if not all(follower.recovered)]
    at = sorted(when - began for follower in followers for when, code in follower.closed if code == 1012)
    assert 0.3 * SECONDS < at[len(at) // 2], at  # spread: half of them were there that long
    assert took < SECONDS + 6 * pace()  # 4 s for the one that reads nothing
    assert {b"offline alice"} >= set(redis.lrange("told", 0, -1))  # she does not come back


@pytest.fixture
def draining(redis_server: EmbeddedRedis) -> Iterator[tuple[WebNode, WebNode]]:
    with nodes(600) as both:
        yield both


async def told_to_stop(node: WebNode, open_client: Open, clients: int = 100) -> list[Any]:
    """Open so many connections, tell *node* to stop, and return them once it has begun."""
    opened = [await open_client(address(node), f"/socket?user={n}") for n in range(clients)]
    node.process.terminate()
    node.wait_for("draining: ")
    return opened


def ready(node: WebNode) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(f"{node.url}/socket/ready", timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


async def test_a_node_that_drains_takes_nobody(draining: tuple[WebNode, WebNode], open_client: Open) -> None:
    """
    While its clients go it is not ready, and answers handshakes with 503. Those that are there are still sent to.
    """
    stopped, other = draining
    clients = await told_to_stop(stopped, open_client)

    code, said = ready(stopped)
    with pytest.raises(InvalidStatus) as refused:
        await open_client(address(stopped), "/socket?user=late")
    await socket.to(99).send("still here")

    assert (503, False, "the node stops") == (code, said["ready"], said["cause"])
    response = refused.value.response
    assert (503, "1") == (response.status_code, response.headers["Retry-After"])
    assert "still here" == await clients[99].receive_text()
    assert 200 == ready(other)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(
    draining: tuple[WebNode, WebNode], open_client: Open, number: signal.Signals
) -> None:
    """
    Whoever cannot wait sends another signal: the process is gone, and its clients with it.
    """
    stopped, _ = draining
    clients = await told_to_stop(stopped, open_client)

    stopped.process.send_signal(number)

    await until(lambda: stopped.process.poll() is not None)
    assert 128 + number == stopped.process.returncode
    assert 1006 == await clients[99].closed()


async def test_handlers_may_end(redis_server: EmbeddedRedis, redis: Redis, open_client: Open) -> None:
    """
    The handler of a message that was taken before the end may finish after its client was closed.
    """
    with nodes(1) as (stopped, _):
        client = await open_client(address(stopped), "/socket?user=alice")
        await client.send_text("work")
        await until(lambda: redis.llen("begun") == 1)

        stopped.process.terminate()
        code = await client.closed()
        redis.rpush("go on", "")
        await until(lambda: stopped.process.poll() is not None)

    assert 1012 == code
    assert [b"work"] == redis.lrange("ended", 0, -1)


async def test_a_handler_that_hangs_is_cancelled(redis_server: EmbeddedRedis, redis: Redis, open_client: Open) -> None:
    """
    A handler that does not finish keeps no node.
    """
    with nodes(0.5) as (stopped, _):
        client = await open_client(address(stopped), "/socket?user=alice")
        await client.send_text("work")
        await until(lambda: redis.llen("begun") == 1)

        began = time.monotonic()
        stopped.process.terminate()
        await until(lambda: stopped.process.poll() is not None)

    assert time.monotonic() - began < 8 * pace()
    assert 0 == redis.llen("ended")


# `qrsocket serve`, which waits for less time than it does.
IMPATIENT = """
from qrsocket.server import signals
signals.LAST_RESORT = 0.5
from qrsocket.cli import main
main()
"""


async def test_a_blocked_loop_does_not_keep_it(redis_server: EmbeddedRedis) -> None:
    """
    A process whose event loop is blocked cannot let anybody go: it ends all the same, and says why.
    """
    command = [sys.executable, "-c", IMPATIENT, "serve", APP, "--port", "0", "--drain-seconds", "0.5"]
    node = Running("serve", command, {})
    try:
        port = int(node.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")[1])
        with closing(sockets.create_connection(("127.0.0.1", port))) as client:
            client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
            node.wait_for("blocked")
            node.process.terminate()
            node.wait_for("something hangs in this process: it ends without it")
            await until(lambda: node.process.poll() is not None)
    finally:
        node.stop()

    assert 128 + signal.SIGALRM == node.process.returncode


async def test_the_only_node_closes_all_at_once(redis_server: EmbeddedRedis, open_client: Open) -> None:
    """
    Where no other node could take its clients it does not take its time: the sooner it is back, the better.
    """
    with serve(APP, "--drain-seconds", "600") as node:
        clients = await told_to_stop(node, open_client)

        assert [1012] * 100 == [await client.closed() for client in clients]
        await until(lambda: node.process.poll() is not None)


async def test_a_handshake_under_way(redis_server: EmbeddedRedis, redis: Redis, open_client: Open) -> None:
    """
    A client that has shaken hands, and not said hello, when the node is told to stop is closed in the end.
    """
    with nodes(0.5) as (stopped, _):
        client = await open_client(address(stopped), "/socket?user=alice", subprotocols=["qrsocket.v1"])
        stopped.process.terminate()

        assert 1012 == await client.closed()
        await until(lambda: stopped.process.poll() is not None)
