"""Topics: who may join, what comes to those who have, who else has, and what they missed."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from threading import Thread
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from redis import Redis

from qrsocket import CloseCode, InvalidTopic, NoConnection, SocketError, User, authenticated, socket
from qrsocket.embedded_redis import EmbeddedRedis, embedded_redis
from qrsocket.keys import Keyspace
from qrsocket.presence.answers import Members
from qrsocket.server import SocketRouter
from qrsocket.server.catch_up import CatchUp
from qrsocket.server.lifespan import running_node
from qrsocket.settings import get_settings
from qrsocket.sync import socket as blocking
from qrsocket.testing import Client, RequestFailed, client
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import OpenSpeaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until


async def test_nothing_comes_after_a_leave(serve: Serve, open_client: Open) -> None:
    """
    Whoever is taken out of a topic gets nothing that is sent to it after that, also when the node reads both at once.
    """
    alice = await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    user, room = blocking.to("alice"), blocking.topic("room")

    def go() -> None:
        user.leave("room")
        room.send("not for her")
        user.send("for her")

    await socket.to("alice").join("room")
    await counted("room", 1)
    await socket.topic("room").send("for the room")
    assert "for the room" == await alice.receive_text()
    at_once(go)
    assert "for her" == await alice.receive_text()


async def test_the_last_order_counts(serve: Serve, open_client: Open) -> None:
    """
    Of orders to join and to leave that a node reads together.
    """
    await open_client(await serve(router_of_named_users()), "/socket?user=alice")
    alice = blocking.to("alice")

    def order(*orders: Callable[[str], object]) -> Callable[[], None]:
        return lambda: [each("room") for each in orders] and None

    at_once(order(alice.join, alice.leave, alice.join))
    await counted("room", 1)
    for _ in range(5):
        at_once(order(alice.join, alice.leave))
        await counted("room", 0)
        at_once(order(alice.leave, alice.join))
        await counted("room", 1)


async def counted(topic: str, members: int) -> None:
    """Wait until so many have joined *topic*, as Redis knows it."""
    async with asyncio.timeout(PATIENCE):
        while await socket.topic(topic).count() != members:
            pass


def at_once(send: Callable[[], None]) -> None:
    """Send while this event loop stands still: its node reads all of it together."""
    thread = Thread(target=send)
    thread.start()
    thread.join()


class Rooms:
    """An application with rooms. `left` is what its `on_leave` was told, `closed` the rooms that nobody may join."""

    def __init__(self) -> None:  # noqa: C901 - a list of handlers
        self.left: list[tuple[int, str | None]] = []
        self.closed: set[int] = set()
        self.broken: set[int] = set()
        self.asked = 0
        self.app = FastAPI()
        router = SocketRouter("/socket")

        def find_closed() -> set[int]:
            return self.closed

        @router.on_connect
        async def on_connect(query: dict[str, str]) -> str | None:
            if topic := query.get("join"):
                await socket.join(topic)
            return query.get("user")

        @router.on_join("room:{room_id}", members=True)
        async def may_join(room_id: int, user: User | None, closed: Annotated[set[int], Depends(find_closed)]) -> None:
            self.asked += 1
            if room_id in self.broken:
                raise ConnectionError("the database is down")
            if room_id in closed:
                raise SocketError("closed")
            if room_id == 13:
                raise HTTPException(403, "unlucky")
            if room_id == 14:
                raise ValueError("s3cret")

        @router.on_join("files:{name:path}")
        def may_see(name: str, topic: str, connection: str) -> None:
            assert (topic, 32) == (f"files:{name}", len(connection))

        @router.on_leave("room:{room_id}")
        async def has_left(room_id: int, user: User | None) -> None:
            self.left.append((room_id, user and user.id))

        @router.on_message
        async def on_message(data: dict[str, Any]) -> object:
            match data:
                case {"join": topic}:
                    await socket.join(topic)
                case {"leave": topic}:
                    await socket.leave(topic)
                case {"user": user}:
                    await authenticated(user)
                case {"others": message, "topic": topic}:
                    await socket.topic(topic).others.send(message)
                case {"others": message}:
                    await socket.others.send(message)
            return None

        @self.app.post("/others")
        async def tell_others(request: Request, user: str, topic: str | None = None) -> int:
            if user:
                await authenticated(user)
            to = socket.others if topic is None else socket.topic(topic).others
            return (await to.send("others")).connections

        @self.app.post("/join")
        async def join_page(user: str) -> None:
            await authenticated(user)
            await socket.join("party")

        @self.app.post("/close")
        async def close_page(user: str) -> None:
            await authenticated(user)
            await socket.close()

        self.app.include_router(router)


@pytest.fixture
def rooms(redis_server: EmbeddedRedis, configure: Configure) -> Rooms:
    configure(renew_interval=20 * MS, offline_grace=50 * MS)
    return Rooms()


@pytest.fixture
def other_node(rooms: Rooms) -> Rooms:
    """The same application, on another node."""
    return Rooms()


async def test_a_topic_on_two_nodes(rooms: Rooms, other_node: Rooms) -> None:
    """
    What is sent to a topic comes to all that have joined, on every node, and to nobody else.
    """
    async with device(rooms, "ada") as ada, device(other_node, "bob") as bob, device(rooms, "eve") as eve:
        in_ada, in_bob = await ada.join("room:7"), await bob.join("room:7")
        delivery = await socket.topic("room:7").send({"n": 1})

        assert (2, 2, False) == (delivery.connections, delivery.nodes, delivery.repeated)
        assert {"n": 1} == await in_ada.receives() == await in_bob.receives()
        assert 2 == await socket.topic("room:7").count()
        assert 0 == (await socket.topic("room:8").send(1)).connections
        await ada.receives_nothing()
        await eve.receives_nothing()


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("room:13", "unlucky"),
        ("room:14", "Internal error"),
        ("room:x", "room_id: Input should be a valid integer"),
        ("room:1:2", "Not allowed"),
        ("room:1/2", "Not allowed"),
        ("room:", "Not allowed"),
        ("Room:7", "Not allowed"),
        ("files:", "Not allowed"),
        ("*", "a topic is 1 to 200 visible ASCII characters"),
        ("", "a topic is 1 to 200 visible ASCII characters"),
        (":room", "a topic is 1 to 200 visible ASCII characters"),
        ("a room", "a topic is 1 to 200 visible ASCII characters"),
        ("räum", "a topic is 1 to 200 visible ASCII characters"),
        ("r" * 201, "a topic is 1 to 200 visible ASCII characters"),
        ("room:7\n", "a topic is 1 to 200 visible ASCII characters"),
    ],
)
async def test_who_may_not_join(rooms: Rooms, redis: Redis, topic: str, error: str) -> None:
    """
    A topic that no pattern fits, or that the application refuses, is not joined, and costs Redis nothing.
    """
    async with device(rooms, "ada") as ada:
        with pytest.raises(RequestFailed, match=error) as refused:
            await ada.join(topic)

        assert "s3cret" not in str(refused.value)
        assert not redis.keys("*route:t:*")
        assert 0 == (await socket.topic("room:7").send(1)).connections


@pytest.mark.parametrize("topic", ["files:a", "files:a/b:c.txt", "files:" + "%" * 194])
async def test_a_path_takes_anything(rooms: Rooms, topic: str) -> None:
    """
    `{name:path}` takes colons and slashes, too; a topic may have any visible character.
    """
    async with device(rooms, "ada") as ada:
        joined = await ada.join(topic)
        await socket.topic(topic).send("hi")
        assert "hi" == await joined.receives()


@pytest.mark.parametrize("pattern", ["", "room:{", "room:{id", "room:{1}", "room:{a}:{a}", "a b", "räume:{id}"])
def test_what_is_no_pattern(pattern: str) -> None:
    """
    A pattern that no topic can fit, or that cannot be read, is refused where it is registered.
    """
    router = SocketRouter("/socket")

    async def may_join() -> None: ...

    with pytest.raises(ValueError, match="no pattern of topics"):
        router.on_join(pattern)(may_join)


def test_a_handler_of_topics_that_asks_for_too_much() -> None:
    """
    What `on_join` cannot get is a TypeError where it is registered.
    """
    router = SocketRouter("/socket")

    async def may_join(data: list[int]) -> None: ...

    with pytest.raises(TypeError, match="may_join asks for data"):
        router.on_join("room:{id}")(may_join)


@pytest.mark.parametrize("name", ["", "*", "a b", "ä", 7, None, "x" * 201])
async def test_what_is_no_topic(name: Any, redis_server: EmbeddedRedis) -> None:
    """
    A verb refuses what cannot name a topic before anything is sent.
    """
    with pytest.raises(InvalidTopic, match="a topic is 1 to 200 visible ASCII characters"):
        socket.topic(name)


async def test_nothing_after_leaving(rooms: Rooms) -> None:
    """
    Who has left gets nothing more; the application is told of it, as of a connection that goes.
    """
    async with device(rooms, "ada") as ada, device(rooms, "bob") as bob:
        in_ada, in_bob = await ada.join("room:7"), await bob.join("room:7")
        await in_ada.leave()
        await socket.topic("room:7").send("after")

        assert "after" == await in_bob.receives()
        await in_ada.leave()  # again: it is not joined, which is what was wanted
        await ada.receives_nothing()
        assert 0 == len(in_ada._inbox.messages)
        assert [(7, "ada")] == rooms.left
        assert "asked" == await in_ada.left()
    await until(lambda: [(7, "ada"), (7, "bob")] == rooms.left)


async def test_what_was_missed(rooms: Rooms) -> None:
    """
    A client that comes back gets what it missed of each of its topics, in order, and `on_join` is asked again.
    """
    async with device(rooms, "ada") as ada:
        topics = [await ada.join(f"room:{number}") for number in range(5)]
        await socket.topic("room:0").send("before")
        await ada.cut()
        for number in range(20):
            await socket.topic(f"room:{number % 5}").send(number)
        asked = rooms.asked
        await ada.reconnect()

        assert "before" == await topics[0].receives()
        for number in range(20):
            assert number == await topics[number % 5].receives()
        assert [True] * 5 == [topic.recovered for topic in topics]
        assert asked + 5 == rooms.asked
        await socket.topic("room:3").send("live")
        assert "live" == await topics[3].receives()


async def test_what_is_not_kept_any_more(rooms: Rooms, redis: Redis) -> None:
    """
    Of a topic whose messages were trimmed a client that comes back is told that some are missing.
    """
    async with device(rooms, "ada") as ada:
        lost, whole = await ada.join("room:1"), await ada.join("room:2")
        await ada.cut()
        await socket.topic("room:1").send("lost")
        await socket.topic("room:2").send("kept")
        redis.delete(Keyspace.of(get_settings()).shards[0].history("t:room:1"))
        await ada.reconnect()

        assert (False, True) == (lost.recovered, whole.recovered)
        assert "kept" == await whole.receives()
        await socket.topic("room:1").send("next")
        assert "next" == await lost.receives()


async def test_coming_back_to_what_is_closed(rooms: Rooms) -> None:
    """
    Who may not join any more is told so when it comes back, and gets nothing of what was sent meanwhile.
    """
    async with device(rooms, "ada") as ada:
        closed, open_one = await ada.join("room:1"), await ada.join("room:2")
        await ada.cut()
        await socket.topic("room:1").send("secret")
        await socket.topic("room:2").send("hi")
        rooms.closed.add(1)
        await ada.reconnect()

        assert "closed" == await closed.left()
        assert "hi" == await open_one.receives()
        await ada.receives_nothing()
        assert not closed._inbox.messages


async def test_coming_back_while_nobody_can_say(rooms: Rooms) -> None:
    """
    Where the application cannot say who may join, its database being down, nothing is refused for good: the client is
    closed with 1011, comes back later, and has missed nothing.
    """
    async with device(rooms, "ada") as ada:
        one, other = await ada.join("room:1"), await ada.join("room:2")
        await ada.cut()
        await socket.topic("room:1").send("missed")
        rooms.broken.add(2)
        await ada.reconnect()
        assert CloseCode.INTERNAL_ERROR == await ada.closed()
        rooms.broken.clear()
        await ada.reconnect()

        assert "missed" == await one.receives()
        assert one.recovered
        assert other.recovered


@pytest.mark.parametrize("room", [2, 14])
async def test_joining_while_nobody_can_say(rooms: Rooms, serve: Serve, open_speaker: OpenSpeaker, room: int) -> None:
    """
    Who asks to join while the application cannot say is told that this is temporary; who may not join is not.
    """
    rooms.broken.add(2)
    rooms.closed.add(1)
    ada = await open_speaker(await serve(app=rooms.app), "ada")
    await ada.hello()
    await ada.ask("join", topic=f"room:{room}", request="1")
    broken = await ada.control("error")
    await ada.ask("join", topic="room:1", request="2")
    closed = await ada.control("error")

    assert ("1", True) == (broken["request"], broken["temporary"])
    assert {"error": "closed", "request": "2"} == closed


async def test_asking_while_redis_is_away(
    rooms: Rooms, serve: Serve, open_speaker: OpenSpeaker, redis: Redis, configure: Configure
) -> None:
    """
    What cannot be done while Redis is away, to join or what a handler does, is answered by an error that is temporary.
    """
    configure(redis_timeout=200 * MS)
    ada = await open_speaker(await serve(app=rooms.app), "ada")
    await ada.hello()
    redis.client_pause(round(1_000_000 * MS))
    await ada.ask("join", topic="room:7", request="1")
    await ada.send({"others": 1}, "2")
    errors = [await ada.control("error") for _ in range(2)]
    header = "!error"
    while header == "!error":
        await ada.ask("join", topic="room:7", request="3")
        header, _ = await ada._frame()
        await asyncio.sleep(20 * MS)

    assert [{"error": "Try again later", "request": request, "temporary": True} for request in "12"] == sorted(
        errors, key=lambda error: error["request"]
    )
    assert "!joined" == header


async def test_members_that_cannot_be_read(
    rooms: Rooms, serve: Serve, open_speaker: OpenSpeaker, configure: Configure
) -> None:
    """
    A topic whose members Redis does not tell in time is not joined, for now; the client's other wishes go on.
    """
    configure(redis_timeout=100 * MS)
    ada = await open_speaker(await serve(app=rooms.app), "ada")
    await ada.hello()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CatchUp, "read_members", lambda *_: asyncio.Event().wait())
        await ada.ask("join", topic="room:7", request="1")
        error = await ada.control("error")
        await ada.ask("join", topic="files:a", request="2")
        joined = await ada.control("joined")
    await ada.ask("join", topic="room:7", request="3")

    assert ("1", True) == (error["request"], error["temporary"])
    assert ("2", "3") == (joined["request"], (await ada.control("joined"))["request"])


async def test_messages_that_a_node_did_not_hear(rooms: Rooms, redis: Redis) -> None:
    """
    What is sent to a topic while the node's subscription is cut comes as soon as it has another, and so do members.
    """
    keys = Keyspace.of(get_settings()).shards[0]
    async with device(rooms, "ada") as ada:
        room = await ada.join("room:7")
        for number in range(10):
            with redis.pipeline() as pipeline:  # one transaction: the node cannot come back in between
                pipeline.client_kill_filter(_type="pubsub")
                offset = int(redis.get(keys.position("t:room:7")) or 0) + 1
                pipeline.incr(keys.position("t:room:7"))
                pipeline.xadd(keys.history("t:room:7"), {"k": "j", "p": number}, id=f"{offset}-0")
                pipeline.sadd(keys.members("room:7"), f"user-{number}")
                pipeline.incr(keys.position("m:room:7"))
                pipeline.execute()
            assert number == await room.receives()
            await room.members_are("ada", *(f"user-{one}" for one in range(number + 1)))


async def test_members(rooms: Rooms, other_node: Rooms) -> None:
    """
    Those who have joined know each other, on every node: a second device, or a reload, is no word; a user who has gone
    is told of after the grace.
    """
    async with device(rooms, "ada") as ada, device(other_node, "bob") as bob, device(other_node, "ada") as second:
        room = await ada.join("room:7")
        assert {"ada"} == room.members
        in_bob = await bob.join("room:7")
        assert {"ada", "bob"} == in_bob.members
        await room.members_are("ada", "bob")
        assert {"ada", "bob"} == await socket.topic("room:7").members()
        await second.join("room:7")
        await ada.reconnect()
        await bob.reconnect()
        assert {"ada", "bob"} == in_bob.members == room.members

        await bob.disconnect()
        await room.members_are("ada")
        assert {"ada"} == await socket.topic("room:7").members()
    told = [line for line in ada.transcript.splitlines() if "!members" in line]
    assert 1 == sum('"left":["bob"]' in line for line in told), told
    assert not any('"left":["ada"]' in line for line in told), told


async def test_somebody_joins_while_members_are_read(
    rooms: Rooms, other_node: Rooms, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A reading that comes after what has changed since does not make a node forget the change.
    """
    keys, available = Keyspace.of(get_settings()).shards[0], CatchUp._available
    is_read, may_come = asyncio.Event(), asyncio.Event()

    async def late(self: CatchUp, call: Any) -> Any:
        answer = await available(self, call)
        if isinstance(answer, Members) and not is_read.is_set():
            is_read.set()
            await may_come.wait()
        return answer

    async with device(rooms, "ada") as ada, device(other_node, "bob") as bob:
        room = await ada.join("room:7")
        monkeypatch.setattr(CatchUp, "_available", late)
        with redis.pipeline() as pipeline:
            pipeline.client_kill_filter(_type="pubsub")
            pipeline.sadd(keys.members("room:7"), "eve")
            pipeline.incr(keys.position("m:room:7"))
            pipeline.execute()
        await is_read.wait()
        await bob.join("room:7")
        await socket.to("ada").send("it has come")
        assert "it has come" == await ada.receives()
        may_come.set()

        await room.members_are("ada", "bob", "eve")


async def test_members_without_a_user(rooms: Rooms) -> None:
    """
    A connection without a user is counted and not listed, until it has one.
    """
    async with device(rooms, "ada") as ada, device(rooms, None) as somebody:
        room, seen = await ada.join("room:7"), await somebody.join("room:7")
        assert {"ada"} == seen.members
        assert 2 == await socket.topic("room:7").count()

        await somebody.request({"user": "bob"})

        await room.members_are("ada", "bob")
        await socket.topic("room:7").send("hi")
        assert "hi" == await seen.receives()


async def test_a_topic_that_keeps_no_members(rooms: Rooms) -> None:
    """
    Where no `members=True` stands nobody is told who has joined.
    """
    async with device(rooms, "ada") as ada:
        await ada.join("files:a")

        assert set() == await socket.topic("files:a").members()
        assert "members" not in ada.transcript


@pytest.mark.parametrize("where", ["handler", "on_connect", "elsewhere"])
async def test_joined_from_the_server(rooms: Rooms, where: str) -> None:
    """
    The application can have a connection join any topic, without asking its own `on_join`, and leave it.
    """
    query = {"join": "secret"} if where == "on_connect" else {}
    async with device(rooms, "ada", **query) as ada:
        topic = ada.topic("secret")
        if where == "handler":
            await ada.request({"join": "secret"})
        elif where == "elsewhere":
            assert 1 == (await socket.to("ada").join("secret")).connections
            await until(lambda: topic.is_joined)
        assert topic.is_joined
        await socket.topic("secret").send("hi")
        assert "hi" == await topic.receives()

        if where == "handler":
            await ada.request({"leave": "secret"})
        else:
            await socket.to("ada").leave("secret")
        assert "removed" == await topic.left()
        assert 0 == (await socket.topic("secret").send("after")).connections
        assert 0 == rooms.asked


async def test_a_join_that_runs_out_of_time(serve: Serve, open_client: Open, redis: Redis) -> None:
    """
    A handler that runs out of time while Redis is slow has joined nothing, and what is sent to the topic is not for it.
    """
    router = SocketRouter("/socket")

    @router.on_message(timeout=100 * MS)
    async def on_message(data: int) -> None:
        await socket.join("room:7")

    app = FastAPI()
    plain = await open_client(await serve(router, app=app))
    redis.client_pause(round(400_000 * MS))
    await plain.send(1)

    assert {"error": f"Timeout: no answer within {100 * MS:g} s"} == await plain.receive()
    node = running_node(app)
    assert node is not None
    registry = node.keeper._registry
    await until(lambda: not registry.doubtful and not registry._telling.locked())  # Redis has heard both
    assert not redis.exists("qrsocket:app:{q0}:route:t:room:7")
    assert 0 == (await socket.topic("room:7").send(1)).connections


async def test_joined_in_authenticate(serve: Serve) -> None:
    """
    What `authenticate` joins is joined from the start, with the place that the page brings.
    """
    router = SocketRouter("/socket")

    @router.authenticate
    async def authenticate(data: str) -> str:
        await socket.join("room:7")
        return data

    async with client(f"http://{await serve(router)}", auth="ada", timeout=PATIENCE) as ada:
        room = ada.topic("room:7")
        assert room.is_joined
        await ada.cut()
        await socket.topic("room:7").send("missed")
        await ada.reconnect()
        assert "missed" == await room.receives()
        assert room.recovered


async def test_joined_from_the_server_for_one_connection(rooms: Rooms) -> None:
    """
    An order to join is for the connections that are open: who comes later, or back, has not joined.
    """
    async with device(rooms, "ada") as ada:
        await socket.to("ada").join("secret")
        await until(lambda: ada.topic("secret").is_joined)
        await ada.reconnect()
        assert "Not allowed" == await ada.topic("secret").left()
        async with device(rooms, "ada") as later:
            await later.receives_nothing()
            assert not later.topic("secret").is_joined


async def test_a_plain_client_in_a_topic(serve: Serve, open_client: Open) -> None:
    """
    A client of the plain protocol can be joined from the server, and gets the topic's messages as they are.
    """
    plain = await open_client(await serve(router_of_named_users()), "/socket?user=ada")
    await socket.to("ada").join("room:7")
    await until_counted("room:7", 1)

    await socket.topic("room:7").send({"n": 1})
    await socket.topic("room:7").send("text")
    await socket.everyone.send("all")

    assert ['{"n":1}', "text", "all"] == [await plain.receive_text() for _ in range(3)]


async def test_too_many_topics(rooms: Rooms, configure: Configure) -> None:
    """
    A connection joins at most 100 topics.
    """
    configure(renew_interval=20 * MS, offline_grace=50 * MS, rate=1000, rate_burst=1000)
    async with device(rooms, "ada") as ada:
        for number in range(100):
            await ada.join(f"files:{number}")
        with pytest.raises(RequestFailed, match="at most 100 topics"):
            await ada.join("files:100")
        await ada.topic("files:0").leave()
        await ada.join("files:100")

        await ada.reconnect()
        await socket.topic("files:100").send("hi")
        assert "hi" == await ada.topic("files:100").receives()


async def test_everyone(rooms: Rooms, other_node: Rooms) -> None:
    """
    Everyone is every open connection, with a user or without. Who is away gets it only if it is kept.
    """
    async with device(rooms, "ada") as ada, device(other_node, None) as somebody, device(rooms, "bob") as bob:
        delivery = await socket.everyone.send("all")
        assert (3, 2) == (delivery.connections, delivery.nodes)
        assert "all" == await ada.receives() == await somebody.receives() == await bob.receives()

        await bob.cut()
        await socket.everyone.send("not kept")
        await socket.everyone.send("kept", keep=True)
        await bob.reconnect()
        assert "kept" == await bob.receives()
        assert "not kept" == await ada.receives()


async def test_others(rooms: Rooms, other_node: Rooms) -> None:
    """
    `others` leaves out the connection whose handler sends, among a user's and in a topic.
    """
    async with device(rooms, "ada") as ada, device(other_node, "ada") as second, device(rooms, "bob") as bob:
        in_ada, in_bob = await ada.join("room:7"), await bob.join("room:7")
        await ada.request({"others": "psst"})
        await ada.request({"others": "psst", "topic": "room:7"})

        assert "psst" == await second.receives() == await in_bob.receives()
        await ada.receives_nothing()
        await socket.topic("room:7").send("all")
        assert "all" == await in_ada.receives()

        await ada.cut()
        await ada.reconnect()  # as another connection, of the same page
        await ada.receives_nothing()
        assert not in_ada._inbox.messages


async def test_others_by_http(rooms: Rooms) -> None:
    """
    A page's request leaves out its own connection; a header that is missing, odd or somebody else's nobody.
    """
    async with device(rooms, "ada") as ada, device(rooms, "ada") as second, device(rooms, "bob") as bob:
        in_ada, in_bob = await ada.join("room:7"), await bob.join("room:7")
        await ada.http.post("/others?user=ada")
        await ada.http.post("/others?user=ada&topic=room:7")
        assert "others" == await second.receives() == await in_bob.receives()
        await ada.receives_nothing()

        stranger = {"X-Socket-Connection": str(ada.connection)}
        await second.http.post("/others?user=bob&topic=room:7", headers=stranger)
        assert "others" == await in_ada.receives() == await in_bob.receives()
        for value in ("", "x" * 32, "0" * 32, f"{ada.connection}{ada.connection}"):
            await bob.http.post("/others?user=ada", headers={"X-Socket-Connection": value})
        assert ["others"] * 3 == [await ada.receives() for _ in range(3)]
        await in_ada.receives_nothing()


async def test_volatile_messages(rooms: Rooms) -> None:
    """
    What is not kept comes to who is connected, is not counted, and is not there to come back to.
    """
    async with device(rooms, "ada") as ada:
        room = await ada.join("room:7")
        offset = ada.offset
        for to in (socket.to("ada"), socket.topic("room:7")):
            assert 1 == (await to.send("now", keep=False)).connections
            assert 1 == (await to.send("newest", latest="cursor of Ada Lovelace, 50 %: ä")).connections
        assert ["now", "newest"] == [await ada.receives(), await ada.receives()]
        assert ["now", "newest"] == [await room.receives(), await room.receives()]
        assert offset == ada.offset
        first = await socket.to("ada").send("once", keep=False, message_id="m1")
        again = await socket.to("ada").send("once", keep=False, message_id="m1")
        assert (False, True) == (first.repeated, again.repeated)
        assert "once" == await ada.receives()

        await ada.cut()
        await socket.topic("room:7").send("lost", keep=False)
        await ada.reconnect()
        assert room.recovered
        await room.receives_nothing()


async def test_the_latest_for_a_slow_client(serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    A client that does not read is not closed for what is sent under one name: of that only the newest waits.
    """
    configure(renew_interval=20 * MS, max_queued_messages=10)
    slow = await open_client(await serve(router_of_named_users()), "/socket?user=ada", max_queue=1)
    slow.connection.transport.pause_reading()
    for number in range(300):
        await socket.to("ada").send({"n": number, "x": "x" * 50_000}, latest="cursor")
        await socket.to("ada").send({"n": number, "x": "x" * 5_000}, keep=False)
    slow.connection.transport.resume_reading()
    await socket.to("ada").send("end")

    texts = []
    while {"end", "newest"} - set(texts):
        text = str(await slow.receive_text())
        texts.append("newest" if text.startswith('{"n":299') and len(text) > 50_000 else text[:10])
    assert len(texts) < 500


@pytest.mark.parametrize("latest", ["", "x" * 101, "a\n", "a\tb", "\ud800"])
async def test_what_is_no_name_of_the_latest(latest: str, redis_server: EmbeddedRedis) -> None:
    """
    A name under which only the latest counts is text without control characters.
    """
    with pytest.raises(ValueError, match="1 to 100 characters"):
        socket.to("ada").send(1, latest=latest)


@pytest.mark.parametrize("verb", ["reply", "join", "leave"])
async def test_no_connection(verb: str, redis_server: EmbeddedRedis) -> None:
    """
    A verb about the current connection says where there is one.
    """
    with pytest.raises(NoConnection, match="no current connection here"):
        getattr(socket, verb)("room:7")


async def test_redis_comes_back_empty(configure: Configure) -> None:
    """
    When Redis comes back with nothing, topics and their members are as they were, and a gap is told.
    """
    with embedded_redis() as server:
        configure(redis_url=server.url, redis_timeout=PATIENCE, renew_interval=20 * MS, offline_grace=50 * MS)
        rooms = Rooms()
        async with device(rooms, "ada") as ada, device(rooms, "bob") as bob:
            room, other = await ada.join("room:7"), await bob.join("room:7")
            await room.members_are("ada", "bob")
            server.process.kill()
            server.process.wait()
            with embedded_redis(port=server.port):
                await socket.topic("room:7").send("after")

                assert "after" == await room.receives(timeout=PATIENCE) == await other.receives(timeout=PATIENCE)
                async with asyncio.timeout(PATIENCE):
                    while {"ada", "bob"} != await socket.topic("room:7").members():
                        await asyncio.sleep(10 * MS)
                assert {"ada", "bob"} == room.members == other.members
                assert room.gaps
                assert '"left":["' not in "".join(line for line in ada.transcript.splitlines() if "!members" in line)
                await ada.disconnect()
                await bob.disconnect()


def device(rooms: Rooms, user: str | None, **query: str) -> Client:
    query = query if user is None else {**query, "user": user}
    return client(rooms.app, query=query, timeout=PATIENCE)


async def until_counted(topic: str, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await socket.topic(topic).count() != number:
            await asyncio.sleep(5 * MS)


async def test_the_connection_of_somebody_else_is_left_alone(rooms: Rooms) -> None:
    """
    An HTTP request can have its own page's connection join a topic, or close it: never that of another user.
    """
    async with device(rooms, "ada") as ada, device(rooms, "bob") as bob:
        for path in ("/join", "/close"):
            await bob.http.post(f"{path}?user=bob", headers={"X-Socket-Connection": str(ada.connection)})
        await socket.topic("party").send("not for ada")

        await ada.receives_nothing()
        assert 0 == await socket.topic("party").count()
        await bob.http.post("/join?user=bob")
        await until(lambda: bob.topic("party").is_joined)
        await bob.http.post("/close?user=bob")
        assert 4101 == await bob.closed()


async def test_left_before_it_is_open(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    What `authenticate` leaves, though it or `on_connect` has joined it, is not joined when the connection opens.
    """
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect() -> None:
        await socket.join("lobby")

    @router.authenticate
    async def authenticate(data: str) -> str:
        await socket.join("party")
        for topic in ("party", "lobby"):
            await socket.leave(topic)
        return data

    ada = await open_speaker(await serve(router))
    ready = await ada.hello(auth="ada")

    assert ["*"] == list(ready["topics"])


async def test_joined_once_more(rooms: Rooms, serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    Who joins again is told the place that it has by now, and that nothing is read from another one.
    """
    ada = await open_speaker(await serve(app=rooms.app), "ada")
    await ada.hello()
    await ada.ask("join", topic="files:a", request="1")
    first = await ada.control("joined")
    await socket.topic("files:a").send("on")
    header, _ = await ada._frame()
    answers = []
    for since in ({}, {"epoch": first["epoch"], "offset": first["offset"]}):
        await ada.ask("join", topic="files:a", since=since, request="2")
        answers.append(await ada.control("joined"))

    assert [first["offset"] + 1] * 2 == [answer["offset"] for answer in answers] == [int(header.split(" ")[0])] * 2
    assert [True, False] == [answer["recovered"] for answer in answers]


async def test_joined_while_it_opens(serve: Serve, open_speaker: OpenSpeaker, redis: Redis) -> None:
    """
    A topic that a task of the application joins, while the client comes back with it, is joined once and left whole.
    """
    router, joining = SocketRouter("/socket"), asyncio.Event()

    async def join() -> None:
        await joining.wait()
        await socket.join("room:1")

    @router.authenticate
    async def authenticate(data: str) -> str:
        tasks.append(asyncio.create_task(join()))
        return data

    @router.on_join("room:{id}", members=True)
    async def may_join(id: str) -> None:
        joining.set()
        await asyncio.sleep(20 * MS)

    tasks: list[asyncio.Task[None]] = []
    ada = await open_speaker(await serve(router), None)
    await ada.ask("hello", auth="ada", topics={"room:1": {"epoch": "e", "offset": 1}})
    await ada.frames_until("ready")
    await asyncio.gather(*tasks)
    await ada.cut()

    await until(lambda: not redis.keys("*route:m:room:1*"))
    assert set() == set(redis.keys("*route:*room:1*"))


async def test_more_members_than_may_wait(rooms: Rooms, configure: Configure) -> None:
    """
    A topic can be joined though the list of its members is longer than what may wait for a slow client.
    """
    configure(renew_interval=20 * MS, offline_grace=50 * MS, max_queued_bytes=500, max_message_out_bytes=500)
    users = [letter * 100 for letter in "abcdef"]
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(device(rooms, user)) for user in users]
        joined = [await each.join("room:7") for each in devices]

        assert set(users) == joined[-1].members


async def test_too_many_topics_from_the_start(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    What the application has a connection join before it is open counts to the 100, before what its client comes back
    with.
    """
    router, asked = SocketRouter("/socket"), []

    @router.on_connect
    async def on_connect() -> str:
        for number in range(60):
            await socket.join(f"mine:{number}")
        return "ada"

    @router.on_join("room:{id}")
    async def may_join(id: str) -> None:
        asked.append(id)

    address = await serve(router)
    ada, bob = await open_speaker(address), await open_speaker(address)
    topics = {f"room:{number}": {"epoch": "e", "offset": 1} for number in range(101)}
    await bob.ask("hello", topics=topics)
    del topics["room:100"]
    answers = (await ada.hello(topics=topics))["topics"]

    errors = [answer["error"] for answer in answers.values() if "error" in answer]
    assert (60, "A connection joins at most 100 topics", 40) == (len(errors), errors[0], len(asked))
    assert 1008 == await bob.closed()


async def test_many_who_leave_together(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    However many leave at one time, no more than 10 `on_leave` run at once; the time of the others has not begun.
    """
    router = SocketRouter("/socket")
    running, most, ended = 0, 0, 0

    @router.on_connect
    async def on_connect() -> str:
        for number in range(60):
            await socket.join(f"room:{number}")
        return "ada"

    @router.on_leave("room:{id}")
    async def has_left(id: str) -> None:
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        await asyncio.sleep(MS)
        running, ended = running - 1, ended + 1

    ada = await open_speaker(await serve(router))
    await ada.hello()
    await ada.cut()

    await until(lambda: ended == 60)
    assert 10 == most


async def test_put_out_while_it_opens(serve: Serve, open_speaker: OpenSpeaker) -> None:
    """
    Who is put out of a topic after `on_join` has let him in, but before he is ready, is not in it.
    """
    router, asked, told = SocketRouter("/socket"), asyncio.Event(), asyncio.Event()

    @router.on_connect
    async def on_connect() -> str:
        return "ada"

    @router.on_join("room:{id}")
    async def may_join(id: str) -> None:
        asked.set()
        await told.wait()

    ada = await open_speaker(await serve(router))
    await ada.ask("hello", topics={"room:1": {"epoch": "e", "offset": 1}})
    await asked.wait()
    await socket.to("ada").leave("room:1")
    told.set()

    assert "removed" == (await ada.frames_until("left"))["why"]
    await counted("room:1", 0)  # Redis is told after the client
