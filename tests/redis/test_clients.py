"""The connections of a process: shared while they serve, and closed with the event loop that they belong to."""

import asyncio
import gc
import random
from pathlib import Path

import pytest
import redis as redis_py

import qrsocket
import qrsocket.sync
from qrsocket import Unavailable, clients
from qrsocket.embedded_redis import embedded_redis
from qrsocket.settings import get_settings
from tests.conftest import MS, Configure, until
from tests.redis.conftest import Act, Node


def open_connections(redis: redis_py.Redis) -> int:
    return [client["name"] for client in redis.client_list()].count("qrsocket")


async def test_a_connection_is_used_again(act: Act, node: Node, redis: redis_py.Redis) -> None:
    """
    Many sends one after another open one connection.
    """
    before = open_connections(redis)
    await act(lambda socket: socket.to("alice").send("opens the pool"))
    after_one = open_connections(redis)
    for _ in range(20):
        await act(lambda socket: socket.to("alice").send("hi"))

    assert before + 1 >= after_one == open_connections(redis)


def test_asyncio_run_leaves_no_connection(node: Node, redis: redis_py.Redis) -> None:
    """
    A script that calls `asyncio.run` again and again, as some tasks do, keeps no connection and gets no warning.
    """

    async def send() -> None:
        await asyncio.gather(*(qrsocket.socket.to("alice").send("hi") for _ in range(3)))

    before = open_connections(redis)
    for _ in range(3):
        asyncio.run(send())
    gc.collect()

    asyncio.run(until(lambda: open_connections(redis) == before))


async def test_closed_clients_connect_again(node: Node, redis: redis_py.Redis) -> None:
    """
    After `aclose` the next send opens a connection.
    """
    before = open_connections(redis)
    await qrsocket.socket.to("alice").send("hi")
    await clients.aclose()
    await until(lambda: open_connections(redis) == before)

    assert not await qrsocket.socket.to("alice").send("hi")
    assert before + 1 == open_connections(redis)


async def test_a_connection_that_redis_has_closed(act: Act, node: Node, redis: redis_py.Redis) -> None:
    """
    Redis closes connections that were idle for long, and all of them when it ends: the next send opens one, nobody
    notices, and the message arrives once.
    """
    node.attach("alice")
    await act(lambda socket: socket.to("alice").send("before"))
    idle = [client["id"] for client in redis.client_list() if client["name"] == "qrsocket"]
    for id in idle:
        redis.client_kill_filter(_id=id)
    delivery = await act(lambda socket: socket.to("alice").send("after"))

    assert idle
    assert (1, False) == (delivery.connections, delivery.repeated)
    assert [b"before", b"after"] == node.messages()


async def test_many_threads_at_once(node: Node, redis: redis_py.Redis) -> None:
    """
    Threads that send at once have a connection each, and get their own answers.
    """
    users = [f"user{number}" for number in range(8)]
    for user in users[::2]:
        node.attach(user)
    sending = [asyncio.to_thread(qrsocket.sync.socket.to(user).send, user) for user in users * 20]
    deliveries = await asyncio.gather(*sending)

    assert [1, 0] * 80 == [delivery.connections for delivery in deliveries]


async def test_other_settings_are_another_client(node: Node, configure: Configure) -> None:
    """
    The client is that of the settings: a process may change its timeout, and keeps the client while it does not.
    """
    first = clients.awaiting(get_settings()), clients.blocking(get_settings())
    configure(redis_timeout=1_500 * MS)
    other = clients.awaiting(get_settings()), clients.blocking(get_settings())

    assert first[0] is not other[0]
    assert first[1] is not other[1]
    assert other == (clients.awaiting(get_settings()), clients.blocking(get_settings()))


async def test_a_unix_socket(act: Act, configure: Configure, tmp_path: Path) -> None:
    """
    Redis may be reached by the path of its socket, by the verbs and by a subscriber.
    """
    path = tmp_path / "redis.sock"
    with embedded_redis("--unixsocket", str(path)):
        configure(redis_url=f"unix://{path}")

        assert not await act(lambda socket: socket.to("nobody").send("hi"))
        connection = clients.subscriber_connection(get_settings())
        await connection.connect()
        await connection.disconnect()
        await clients.aclose()


async def test_a_wrong_password(act: Act, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A wrong password is told at once, without the password: to wait would not mend it.
    """
    pauses = 0

    def count_pauses(low: float, high: float) -> float:
        nonlocal pauses
        pauses += 1
        return 0.0

    monkeypatch.setattr(random, "uniform", count_pauses)
    with embedded_redis("--requirepass", "right") as server:
        configure(redis_url=f"redis://:canary@127.0.0.1:{server.port}/0")

        with pytest.raises(Unavailable, match="refuses the user name or the password") as raised:
            await act(lambda socket: socket.to("nobody").send("hi"))

    assert 1 == pauses
    assert "canary" not in str(raised.value)
