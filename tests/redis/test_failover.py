"""After a failover the old primary is up, as a replica, and the address leads new connections to another server."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as redis_py

from qrsocket.fanout.subscriber import Subscriber
from qrsocket.settings import get_settings
from qrsocket.trouble import Trouble
from tests.clients import PATIENCE
from tests.conftest import Configure, until
from tests.failover import Pair, a_pair
from tests.redis.conftest import Act, Node

AT_ONCE = 20


@pytest.fixture
async def pair(configure: Configure) -> AsyncIterator[Pair]:
    """Two servers of this test, and all verbs use the one that the address leads to."""
    async with a_pair() as pair:
        configure(redis_url=pair.url)
        yield pair


def refused_by(replica: redis_py.Redis) -> int:
    count: int = replica.info("errorstats").get("errorstat_READONLY", {}).get("count", 0)
    return count


async def test_pooled_connections_leave_the_old_primary(act: Act, pair: Pair) -> None:
    """
    After a failover a message goes to the new primary by the next `send`, and so do as many at once as have had a
    connection each.
    """

    async def send_many() -> list[Any]:
        return await asyncio.gather(*(act(lambda socket: socket.to("alice").send("hi")) for _ in range(AT_ONCE)))

    await send_many()
    pair.fail_over()
    pair.lead()
    node = Node(pair.primary, "n1")
    node.attach("alice")
    deliveries = await send_many()

    assert [1] * AT_ONCE == [delivery.connections for delivery in deliveries]
    assert [b"hi"] * AT_ONCE == node.messages()
    node.hang_up()


async def test_presence_is_not_read_from_the_old_primary(act: Act, pair: Pair) -> None:
    """
    A process that only asks who is online does not go on to ask the old primary, which is a replica that may lag.
    """
    assert not await act(lambda socket: socket.is_online("alice"))
    pair.fail_over()
    pair.lead()
    pair.replica.execute_command("REPLICAOF", "127.0.0.1", "1")  # it hears of nothing
    node = Node(pair.primary, "n1")
    node.attach("alice")

    assert await act(lambda socket: socket.is_online("alice"))
    assert {"alice"} == await act(lambda socket: socket.online())
    node.hang_up()


async def test_a_send_waits_for_the_new_primary(act: Act, pair: Pair, configure: Configure) -> None:
    """
    A send in the middle of the failover is tried again until the address leads to a primary, within its time.
    """
    configure(redis_timeout=PATIENCE)
    await act(lambda socket: socket.to("alice").send("opens the pool"))
    pair.fail_over()
    sending = asyncio.create_task(act(lambda socket: socket.to("alice").send("hi")))
    await until(lambda: refused_by(pair.replica) > 1)
    pair.lead()

    assert 0 == (await sending).connections
    assert 2 == pair.primary.xlen("qrsocket:app:{q0}:history:u:alice")


async def test_a_replica_without_its_primary(act: Act, pair: Pair, configure: Configure) -> None:
    """
    An old primary that answers nobody while it does not follow yet (MASTERDOWN) is left as well.
    """
    await act(lambda socket: socket.to("alice").send("opens the pool"))
    pair.replica.config_set("replica-serve-stale-data", "no")
    pair.primary.config_set("replica-serve-stale-data", "no")
    pair.fail_over()
    pair.replica.execute_command("REPLICAOF", "127.0.0.1", "1")
    pair.lead()

    assert 0 == (await act(lambda socket: socket.to("alice").send("hi"))).connections
    assert not await act(lambda socket: socket.is_online("alice"))


async def test_back_and_forth(act: Act, pair: Pair) -> None:
    """
    A failover back to a server that knows all scripts, since it was the primary before, begins a new epoch, too: what
    was sent in between may be lost.
    """
    epochs = []
    for _ in range(4):
        assert 0 == (await act(lambda socket: socket.to("alice").send("hi"))).connections
        epochs.append(pair.primary.hget("qrsocket:app:{q0}:server", "epoch"))
        await pair.in_step()
        pair.fail_over()
        pair.lead()

    assert 4 == len(set(epochs))


async def test_a_subscription_is_not_opened_on_a_replica(pair: Pair) -> None:
    """
    A node that subscribes while the address leads to the old primary yet does not count as subscribed there.
    """
    pair.fail_over()
    opened = asyncio.Event()
    subscription = Subscriber(get_settings(), "node", ["c"], Trouble("sockets stay open"))
    running = asyncio.create_task(subscription.run(lambda *_: None, opened.set))
    await until(lambda: refused_by(pair.replica) > 1)
    is_open_on_replica = opened.is_set()
    pair.lead()
    await asyncio.wait_for(opened.wait(), PATIENCE)

    assert not is_open_on_replica
    assert [(b"c", 1)] == pair.primary.pubsub_numsub("c")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_subscription_that_is_lost_in_a_failover(pair: Pair) -> None:
    """
    Where the old primary hangs up, as Sentinel has it do, it is the new subscription that begins a new epoch.
    """
    subscription = Subscriber(get_settings(), "node", ["c"], Trouble("sockets stay open"))
    running = asyncio.create_task(subscription.run(lambda *_: None, lambda: None))
    epochs = []
    for _ in range(3):
        await until(lambda: pair.primary.pubsub_numsub("c") == [(b"c", 1)])
        epochs.append(pair.primary.hget("qrsocket:app:{q0}:server", "epoch"))
        await pair.in_step()
        pair.fail_over()
        pair.lead()
        pair.replica.client_kill_filter(_type="pubsub")

    assert 3 == len(set(epochs))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


SCRIPT = """
from qrsocket.sync import socket
for line in open(0):
    print(socket.to("alice").send(line.strip()).connections, flush=True)
"""


async def test_a_script_of_blocking_code(pair: Pair) -> None:
    """
    A plain script that has sent before the failover sends after it, without a restart.
    """
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRIPT, stdin=PIPE, stdout=PIPE)
    assert process.stdin
    assert process.stdout
    for step in ("before", "after"):
        node = Node(pair.primary, "n1")
        node.attach("alice")
        process.stdin.write(f"{step}\n".encode())

        assert b"1\n" == await process.stdout.readline()
        assert [step.encode()] == node.messages()
        node.hang_up()
        pair.fail_over()
        pair.lead()
    process.stdin.close()
    assert 0 == await process.wait()
