"""Who is online, the hooks that tell it, and what happens to both when Redis or a node fails."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2 as httpx
import pytest
from redis import Redis

from qrsocket import User, socket
from qrsocket.embedded_redis import embedded_redis
from qrsocket.keys import Keyspace
from qrsocket.position import Position
from qrsocket.presence.registry import Registration, Registry
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from qrsocket.streams import Stream
from tests.app.conftest import Serve
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until


class Told:
    """A router that records its hooks."""

    def __init__(self) -> None:
        self.router = SocketRouter("/socket")
        self.events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        @self.router.on_connect
        async def on_connect(query: dict[str, str]) -> User | None:
            return User(query["user"]) if "user" in query else None

        @self.router.on_message
        async def on_message(data: Any) -> None:
            await socket.send({"echo": data})

        @self.router.on_online
        async def on_online(user_id: str) -> None:
            self.events.put_nowait(("online", user_id))

        @self.router.on_offline
        def on_offline(user_id: str) -> None:
            self.events.put_nowait(("offline", user_id))

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(PATIENCE):
            return await self.events.get()


async def test_first_and_last_connection(serve: Serve, open_client: Open) -> None:
    """
    on_online runs for a user's first connection and on_offline for the last, whichever node they are on; connections
    in between and anonymous ones are told to nobody.
    """
    one, two = Told(), Told()
    first, second = await serve(one.router), await serve(two.router)
    a = await open_client(first, "/socket?user=alice")
    assert ("online", "alice") == await one.next()
    b = await open_client(second, "/socket?user=alice")
    await open_client(second)

    await a.connection.close()
    await open_client(second, "/socket?user=bob")
    assert ("online", "bob") == await two.next()
    assert {"alice", "bob"} == await socket.online()
    assert {"alice"} == await socket.online(["alice", "carol"])
    await b.connection.close()

    async with asyncio.timeout(PATIENCE):
        told = await next(iter(asyncio.as_completed([one.events.get(), two.events.get()])))
    assert ("offline", "alice") == told
    assert not await socket.is_online("alice")
    assert one.events.empty()
    assert two.events.empty()


async def test_a_reload_is_no_transition(serve: Serve, open_client: Open, redis: Redis, configure: Configure) -> None:
    """
    A user who is back within the grace was never offline.
    """
    configure(offline_grace=60)
    told = Told()
    address = await serve(told.router)

    for _ in range(3):
        client = await open_client(address, "/socket?user=alice")
        await client.connection.close()
        await until(lambda: not list(redis.scan_iter("*route*")))
    await open_client(address, "/socket?user=alice")
    await open_client(address, "/socket?user=bob")

    assert [("online", "alice"), ("online", "bob")] == [await told.next(), await told.next()]
    assert told.events.empty()


async def test_a_hook_that_fails(serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture) -> None:
    """
    A hook's exception is logged; other hooks and connections go on.
    """
    told = Told()
    failing = SocketRouter("/other")

    @failing.on_online
    async def on_online(user_id: str) -> None:
        raise ValueError("no")

    address = await serve(failing, told.router)
    client = await open_client(address, "/socket?user=alice")

    assert ("online", "alice") == await told.next()
    await client.send(1)
    assert {"echo": 1} == await client.receive()
    assert "hook failed" in caplog.text


async def test_a_hook_whose_own_work_is_cancelled(
    serve: Serve, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A hook that waits for something which is cancelled has failed as others do: the user's next hooks run.
    """
    told = Told()

    @told.router.on_online
    async def on_online(user_id: str) -> None:
        raise asyncio.CancelledError

    client = await open_client(await serve(told.router), "/socket?user=alice")
    assert ("online", "alice") == await told.next()

    await client.connection.close()

    assert ("offline", "alice") == await told.next()
    assert "hook failed" in caplog.text


async def test_too_many_connections(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A connection above the user's cap, counted over all nodes, is closed with 4103; the others and other users stay.
    """
    configure(max_connections_per_user=2)
    first, second = await serve(Told().router), await serve(Told().router)
    taken = [await open_client(node, "/socket?user=alice") for node in (first, second)]

    refused = await open_client(first, "/socket?user=alice")
    bob = await open_client(first, "/socket?user=bob")

    assert 4103 == await refused.closed()
    assert 2 == (await socket.to("alice").send("hi")).connections
    assert ["hi", "hi"] == [await client.receive_text() for client in taken]
    await bob.send(1)
    assert {"echo": 1} == await bob.receive()


async def test_a_dead_nodes_users_go_offline(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    A node that no longer renews its lease is emptied by the others, and its users are told offline once.
    """
    told = Told()
    await serve(told.router)
    keys = Keyspace.of(get_settings()).shards[0]
    redis.zadd(keys.nodes, {"dead": 1})  # its lease ended in 1970
    for n in range(250):
        redis.hset(keys.route(f"u:{n}"), "dead", 1)
        redis.hset(keys.state(f"u:{n}"), mapping={"seq": 1, "online": 1})
        redis.sadd(keys.streams("dead"), f"u:{n}")

    events = [await told.next() for _ in range(250)]

    assert {("offline", str(n)) for n in range(250)} == set(events)
    assert told.events.empty()
    assert [] == list(redis.scan_iter("*route*")) + list(redis.scan_iter("*dead*"))


async def test_a_fenced_node_comes_back(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    A node that was forgotten, by a Redis that lost its data say, comes back under a new name with all its users.
    """
    address = await serve(Told().router)
    alice, nobody = await open_client(address, "/socket?user=alice"), await open_client(address)
    keys = Keyspace.of(get_settings()).shards[0]
    before = redis.zrange(keys.nodes, 0, -1)

    redis.flushall()
    await until(lambda: redis.exists(keys.route("u:alice")))

    assert before != redis.zrange(keys.nodes, 0, -1)
    assert 1 == (await socket.to("alice").send("hi")).connections
    assert "hi" == await alice.receive_text()
    await nobody.send(1)
    assert {"echo": 1} == await nobody.receive()


async def test_redis_restarts(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    Sockets stay open while Redis is away; when it is back, empty, they receive again, and new ones are let in.
    """
    with embedded_redis() as server:
        configure(redis_url=server.url, redis_timeout=500 * MS)
        address = await serve(Told().router)
        alice = await open_client(address, "/socket?user=alice")
        port = server.port
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        refused = await open_client(address, "/socket?user=bob")
        assert 1013 == await refused.closed()
        assert 503 == (await http.get("/socket/ready")).status_code

        with embedded_redis(port=port):
            async with asyncio.timeout(PATIENCE):
                while (await http.get("/socket/ready")).status_code != 200:
                    await asyncio.sleep(10 * MS)
                while not (delivery := await socket.to("alice").send("back")):
                    await asyncio.sleep(10 * MS)

            assert 1 == delivery.connections
            assert "back" == await alice.receive_text()
            bob = await open_client(address, "/socket?user=bob")
            await bob.send(1)
            assert {"echo": 1} == await bob.receive()
            await alice.connection.close()
            await bob.connection.close()


async def test_the_subscription_is_cut(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    When Redis cuts the node's subscription, as it does when its output buffer is full, the node subscribes again.
    """
    address = await serve(Told().router)
    alice = await open_client(address, "/socket?user=alice")

    redis.client_kill_filter(_type="pubsub")
    await until(lambda: redis.pubsub_channels("*channel*"))

    await socket.to("alice").send("hi")
    assert "hi" == await alice.receive_text()


async def test_a_node_whose_relay_dies(serve: Serve, open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the relay dies, every socket is closed with 1012, and the node is not ready from then on.
    """
    from qrsocket.fanout.subscriber import Subscriber

    die = asyncio.Event()
    run = Subscriber.run

    async def run_until_told(self: Subscriber, on_frame: Any, on_open: Any) -> None:
        reading = asyncio.create_task(run(self, on_frame, on_open))
        await die.wait()
        reading.cancel()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Subscriber, "run", run_until_told)
    address = await serve(Told().router)
    alice = await open_client(address, "/socket?user=alice")

    die.set()

    assert 1012 == await alice.closed()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE) as http:
        answer = await http.get("/socket/ready")
    assert 503 == answer.status_code
    assert answer.json()["ready"] is False


async def test_nothing_is_left(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    When all connections are closed, no route is left in Redis.
    """
    address = await serve(Told().router)
    clients = [await open_client(address, f"/socket?user={n % 5}") for n in range(20)]
    assert list(redis.scan_iter("*route*"))

    for client in clients:
        await client.connection.close()

    await until(lambda: not list(redis.scan_iter("*route*")) + list(redis.scan_iter("*members*")))


async def test_three_shards(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    With several shards everything is the same to users.
    """
    configure(shards=3)
    told = Told()
    address = await serve(told.router)
    names = [f"user{n}" for n in range(12)]
    clients = [await open_client(address, f"/socket?user={name}") for name in names]

    delivery = await socket.to(names).send("hi")

    assert (12, 1) == (delivery.connections, delivery.nodes)
    assert ["hi"] * 12 == [await client.receive_text() for client in clients]
    assert set(names) == await socket.online()
    assert {("online", name) for name in names} == {await told.next() for _ in names}


async def test_told_online_before_the_own_answer(
    serve: Serve, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What `on_online` sends arrives, also if Redis was told of the connection by a renewal, before its own call.
    """
    router, is_told = SocketRouter("/socket"), asyncio.Event()

    @router.authenticate
    async def authenticate(data: str) -> str:
        return data

    @router.on_online
    async def on_online(user_id: str) -> None:
        await socket.to(user_id).send("you are online")
        is_told.set()

    register = Registry.register

    async def late(self: Registry, streams: Iterable[Stream], since: Mapping[Stream, Position]) -> Registration:
        if "u:ada" in streams and not is_told.is_set():
            self.doubtful.update(streams)
            await is_told.wait()  # which the next renewal brings about
        return await register(self, streams, since)

    monkeypatch.setattr(Registry, "register", late)
    ada = await open_client(await serve(router))
    await ada.send("ada")

    assert "you are online" == await ada.receive_text()
