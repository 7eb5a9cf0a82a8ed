"""Two uvicorn nodes, a Celery worker and Redis as processes: what reaches whom, and what happens when one is killed."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from redis import Redis

from qrsocket import Unavailable, socket
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from tests.app.speaking import VERSION_1, Speaker
from tests.clients import PATIENCE, Client, Open
from tests.conftest import MS, Configure, until
from tests.deaf import Deaf
from tests.running import Running, WebNode, web_node, worker

APP = "tests.processes.cluster:app"
JOBS = "tests.processes.cluster:jobs"
LEASE, TICK, GRACE = 1_500 * MS, 200 * MS, 500 * MS


@pytest.fixture
def quick_leases(configure: Configure) -> None:
    configure(lease=LEASE, renew_interval=TICK, offline_grace=GRACE)


@contextmanager
def two_nodes() -> Iterator[tuple[WebNode, WebNode]]:
    with web_node(app=APP) as first, web_node(app=APP) as second:
        yield first, second


@pytest.fixture
def nodes(redis_server: EmbeddedRedis, redis: Redis, quick_leases: None) -> Iterator[tuple[WebNode, WebNode]]:
    with two_nodes() as both:
        yield both


@pytest.fixture
def jobs(nodes: Any) -> Iterator[Running]:
    with worker(app=JOBS) as running:
        yield running


def address(node: WebNode) -> str:
    return f"127.0.0.1:{node.port}"


async def test_a_client_that_reads_nothing_keeps_no_node(
    redis_server: EmbeddedRedis, quick_leases: None, configure: Configure
) -> None:
    """
    Plain `uvicorn`, which waits for its connections without end, ends on SIGTERM with a client that reads nothing.
    """
    configure(max_queued_bytes=10**9)
    node = Running("web", [sys.executable, "-m", "uvicorn", APP, "--host", "127.0.0.1", "--port", "0"], {})
    try:
        port = int(node.wait_for(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")[1])
        with closing(Deaf(f"127.0.0.1:{port}")) as deaf:
            await deaf.opened()
            for _ in range(100):  # more than the kernel holds for it, and less than makes it a slow client
                await socket.to("alice").send("x" * 200_000)
            node.process.terminate()
            await asyncio.to_thread(node.process.wait, PATIENCE)
    finally:
        node.stop()


async def test_a_job_reaches_every_device(nodes: tuple[WebNode, WebNode], jobs: Running, open_client: Open) -> None:
    """
    What a job sends reaches the three devices, on two nodes, of the user whose message queued it, and nobody else.
    """
    first, second = nodes
    devices = [await open_client(address(node), "/socket?user=alice") for node in (first, first, second)]
    bob = await open_client(address(second), "/socket?user=bob")
    anonymous = await open_client(address(first))

    await devices[0].send({"n": 1})
    await bob.send({"n": 2})
    await anonymous.send({"n": 3})

    assert [{"echo": {"n": 1}}] * 3 == [await device.receive() for device in devices]
    assert {"echo": {"n": 2}} == await bob.receive()
    assert {"echo": {"n": 3}} == await anonymous.receive()


async def test_a_hundred_users_at_once(nodes: tuple[WebNode, WebNode], jobs: Running, open_client: Open) -> None:
    """
    One send in a job reaches a hundred users on two nodes.
    """
    users = [f"user{n}" for n in range(100)]
    clients = [await open_client(address(nodes[n % 2]), f"/socket?user={user}") for n, user in enumerate(users)]

    await clients[0].send("first")
    assert {"echo": "first"} == await clients[0].receive()
    delivery = await socket.to(users).send({"to": "all"})

    assert (100, 2) == (delivery.connections, delivery.nodes)
    assert [{"to": "all"}] * 100 == [await client.receive() for client in clients]


async def test_a_killed_nodes_users_are_told_offline(
    nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis
) -> None:
    """
    After SIGKILL of a node its users are told offline once, within lease + tick + grace; who is on the other node too
    is not; a client that comes back to the other node is online there.
    """
    killed, other = nodes
    lost = [await open_client(address(killed), f"/socket?user=lost{n}") for n in range(20)]
    await open_client(address(killed), "/socket?user=both")
    staying = await open_client(address(other), "/socket?user=both")
    await until(lambda: redis.llen("told") == 21 and not redis.keys("*claim:*"))
    redis.delete("told")

    killed.kill()
    killed_at = time.monotonic()
    back = await open_client(address(other), "/socket?user=lost0")
    await until(lambda: redis.llen("told") == 19)
    took = time.monotonic() - killed_at

    assert {f"offline lost{n}" for n in range(1, 20)} == {word.decode() for word in redis.lrange("told", 0, -1)}
    # Not a measurement: half a second of it is for a busy machine.
    assert took < LEASE + TICK + GRACE + 0.5
    assert {"both", "lost0"} == await socket.online()
    assert 1 == (await socket.to("both").send("hi")).connections
    assert ["hi"] == [await staying.receive_text()]
    assert 1 == (await socket.to("lost0").send("welcome back")).connections
    assert "welcome back" == await back.receive_text()
    assert 1006 == await lost[1].closed()


async def test_a_node_that_stops_hands_over(nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis) -> None:
    """
    SIGTERM closes a node's sockets with 1012 and gives up its lease: nothing of it is left in Redis.
    """
    stopped, other = nodes
    client = await open_client(address(stopped), "/socket?user=alice")

    stopped.process.terminate()

    assert 1012 == await client.closed()
    await until(lambda: stopped.process.poll() is not None)
    assert not await socket.is_online("alice")
    assert [] == list(redis.scan_iter("*route*"))
    await open_client(address(other), "/socket?user=alice")
    assert ["online alice"] == [word.decode() for word in redis.lrange("told", 0, -1)]


async def test_a_node_that_stops_says_when_to_come_back(nodes: tuple[WebNode, WebNode], open_client: Open) -> None:
    """
    Before SIGTERM closes them, clients that can be told hear when to come back; others hear nothing.
    """
    stopped, _ = nodes
    alice = Speaker(await open_client(address(stopped), "/socket?user=alice", subprotocols=[VERSION_1]))
    await alice.hello()
    plain = await open_client(address(stopped), "/socket?user=alice")

    stopped.process.terminate()

    assert 0 <= (await alice.control("draining"))["retry_after"] < 1
    assert (1012, 1012) == (await alice.closed(), await plain.closed())
    assert [] == plain.transcript[:-1]


async def test_a_stalled_node_is_fenced_and_comes_back(
    nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis
) -> None:
    """
    A node frozen for longer than its lease is given up; thawed, it comes back with its users, who kept their sockets.
    """
    stalled, _ = nodes
    client = await open_client(address(stalled), "/socket?user=alice")
    await until(lambda: redis.llen("told") == 1 and not redis.keys("*claim:*"))

    stalled.send_signal(signal.SIGSTOP)
    await until(lambda: redis.llen("told") == 2)
    assert not await socket.is_online("alice")
    stalled.send_signal(signal.SIGCONT)
    await until(lambda: redis.llen("told") == 3)

    assert ["online alice", "offline alice", "online alice"] == [word.decode() for word in redis.lrange("told", 0, -1)]
    await socket.to("alice").send("hi")
    assert "hi" == await client.receive_text()


async def test_redis_is_killed_and_comes_back(configure: Configure, quick_leases: None, open_client: Open) -> None:
    """
    Redis is killed and started again: sockets stay open, and messages from endpoints and jobs arrive again.
    """
    with ExitStack() as stack:
        server = stack.enter_context(embedded_redis())
        configure(redis_url=server.url, redis_timeout=500 * MS)
        first, second = stack.enter_context(two_nodes())
        stack.enter_context(worker(app=JOBS))
        devices = [await open_client(address(node), "/socket?user=alice") for node in (first, second)]

        server.process.kill()
        server.process.wait()
        stack.enter_context(embedded_redis(port=server.port))
        async with asyncio.timeout(2 * PATIENCE):
            while await _connections("alice") < 2:
                await asyncio.sleep(20 * MS)

        await socket.to("alice").send("from an endpoint")
        await asyncio.gather(*(_skip_to(device, "from an endpoint") for device in devices))
        await devices[0].send("from a job")
        await asyncio.gather(*(_skip_to(device, '{"echo":"from a job"}') for device in devices))
        for device in devices:
            await device.connection.close()


async def test_a_frozen_client_slows_nobody(nodes: tuple[WebNode, WebNode], open_client: Open) -> None:
    """
    A client process that is frozen is cut off; its neighbour on the node receives everything meanwhile.
    """
    node, _ = nodes
    code = (
        "import asyncio, sys; from websockets.asyncio.client import connect\n"
        "async def main():\n"
        f"    async with connect('ws://{address(node)}/socket?user=frozen') as socket:\n"
        "        print('connected', flush=True)\n"
        "        async for message in socket: pass\n"
        "asyncio.run(main())"
    )
    frozen = Running("client", [sys.executable, "-c", code], {})
    try:
        frozen.wait_for("connected")
        quick = await open_client(address(node), "/socket?user=quick")
        frozen.send_signal(signal.SIGSTOP)
        payload = "x" * 200_000

        for n in range(100):
            await socket.to(["frozen", "quick"]).send(f"{n} {payload}")
            assert (await quick.receive_text()).split(" ")[0] == str(n)  # type: ignore[arg-type]

        async with asyncio.timeout(PATIENCE):
            while await socket.is_online("frozen"):
                await asyncio.sleep(10 * MS)
    finally:
        frozen.stop()


async def _connections(user: str) -> int:
    """Send, and say how many connections that reached: none while Redis is away."""
    try:
        return (await socket.to(user).send("are you there?")).connections
    except Unavailable:
        return 0


async def _skip_to(client: Client, message: Any) -> None:
    while await client.receive_text() != message:
        pass
