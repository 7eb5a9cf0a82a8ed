"""Hooks run once for each time that a user comes or goes, in order, also when the node that runs them is killed."""

import asyncio
import signal
from collections.abc import Iterator

import pytest
from redis import Redis

from qrsocket import socket
from qrsocket.embedded_redis import EmbeddedRedis
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until
from tests.running import WebNode, web_node

LEASE, TICK, GRACE = 1_500 * MS, 200 * MS, 500 * MS
MANY = 1_000
OPENED_AT_ONCE = 50


@pytest.fixture
def quick_leases(configure: Configure) -> None:
    configure(lease=LEASE, renew_interval=TICK, offline_grace=GRACE, hook_timeout=6 * PATIENCE)


@pytest.fixture
def nodes(redis_server: EmbeddedRedis, redis: Redis, quick_leases: None) -> Iterator[tuple[WebNode, WebNode]]:
    app = "tests.processes.slow_hooks:app"
    with (
        web_node(app=app, env={"QRSOCKET_NODE_NAME": "n1"}) as first,
        web_node(app=app, env={"QRSOCKET_NODE_NAME": "n2"}) as second,
    ):
        yield first, second


def lines(redis: Redis, key: str) -> list[str]:
    return [word.decode() for word in redis.lrange(key, 0, -1)]


async def test_a_hook_whose_node_is_killed(nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis) -> None:
    """
    A hook that its node could not end is run again on another, as the second attempt at the same event; what happened
    meanwhile is told after it.
    """
    killed, _ = nodes
    await open_client(f"127.0.0.1:{killed.port}", "/socket?user=alice")
    await until(lambda: redis.llen("begun") == 1)

    killed.kill()
    await until(lambda: redis.llen("begun") == 2)
    await until(lambda: redis.zcard("qrsocket:app:{q0}:grace") == 0)  # alice is known to be gone
    assert [] == lines(redis, "ended")
    redis.rpush("go on", "")
    await until(lambda: redis.llen("ended") == 2)

    event = lines(redis, "begun")[0].split(" ")[2]
    following = f"alice:{int(event.split(':')[1]) + 1}"
    assert [f"n1 online {event} 1", f"n2 online {event} 2"] == lines(redis, "begun")
    assert [f"n2 online {event} 2", f"n2 offline {following} 1"] == lines(redis, "ended")


async def test_hooks_of_one_user_wait_for_each_other(
    nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis
) -> None:
    """
    A user who comes, goes and comes again while the first hook still runs is told so afterwards, in order.
    """
    for node in nodes:
        client = await open_client(f"127.0.0.1:{node.port}", "/socket?user=alice")
        await until(lambda: redis.llen("begun") == 1)
        await client.connection.close()
        await until(lambda: redis.hget("qrsocket:app:{q0}:state:u:alice", "online") == b"0")

    redis.rpush("go on", *"12")
    await until(lambda: redis.llen("ended") == 4)

    told = [line.split(" ") for line in lines(redis, "ended")]
    first = int(told[0][2].split(":")[1])
    assert [("online", f"alice:{first}"), ("offline", f"alice:{first + 1}")] == [
        (kind, event) for _, kind, event, _ in told[:2]
    ]
    assert [("online", f"alice:{first + 2}"), ("offline", f"alice:{first + 3}")] == [
        (kind, event) for _, kind, event, _ in told[2:]
    ]
    assert {"1"} == {attempt for *_, attempt in told}


async def test_a_stalled_node_does_not_repeat_what_others_told(
    nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis
) -> None:
    """
    A node that was frozen while its hook ran, for longer than its lease, ends the hook when it thaws, and tells nothing
    of it to Redis: the hook is the other node's by then.
    """
    frozen, _ = nodes
    await open_client(f"127.0.0.1:{frozen.port}", "/socket?user=alice")
    await until(lambda: redis.llen("begun") == 1)

    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: redis.llen("begun") == 2)
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: not redis.exists("qrsocket:app:{q0}:reaping"))
    redis.rpush("go on", *"12345")
    event = lines(redis, "begun")[0].split(" ")[2]
    runs = {f"n1 online {event} 1", f"n2 online {event} 2"}
    await until(lambda: runs <= set(lines(redis, "ended")))
    await until(lambda: not redis.keys("*claim:*"))

    # Its user is there under its new name.
    await until(lambda: redis.hlen("qrsocket:app:{q0}:route:u:alice") == 1)

    assert sorted(runs) == sorted(line for line in lines(redis, "ended") if event in line)
    assert await socket.is_online("alice")


async def test_a_thousand_users_of_a_killed_node(
    nodes: tuple[WebNode, WebNode], open_client: Open, redis: Redis
) -> None:
    """
    SIGKILL of a node with 1 000 users: all of them are told offline, each once. How soon, `bench.killed_node` says.
    """
    killed, _ = nodes
    redis.rpush("go on", *range(MANY))
    for start in range(0, MANY, OPENED_AT_ONCE):
        users = range(start, start + OPENED_AT_ONCE)
        await asyncio.gather(*(open_client(f"127.0.0.1:{killed.port}", f"/socket?user={user}") for user in users))
    await until(lambda: redis.llen("ended") == MANY and not redis.keys("*claim:*"), timeout=3 * PATIENCE)
    redis.delete("ended")

    killed.kill()
    await until(lambda: redis.llen("ended") >= MANY, timeout=3 * PATIENCE)
    await until(lambda: not redis.keys("*claim:*"))

    told = [line.split(" ") for line in lines(redis, "ended")]
    assert {str(user) for user in range(MANY)} == {event.split(":")[0] for _, _, event, _ in told}
    assert [("n2", "offline", "1")] * MANY == [(node, kind, attempt) for node, kind, _, attempt in told]
