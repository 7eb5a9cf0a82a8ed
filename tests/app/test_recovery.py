"""Nothing is lost: not while a client is away, and not while its node is deaf."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from redis import Redis

from qrsocket import socket
from qrsocket.embedded_redis import embedded_redis
from qrsocket.keys import Keyspace
from qrsocket.server.lifespan import running_node
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.routers import router_of_named_users
from tests.app.speaking import VERSION_1, Speaker
from tests.clients import PATIENCE, Open
from tests.conftest import MS, Configure, until


@pytest.fixture
def speak(open_client: Open) -> Any:
    async def open(address: str, user: str = "alice") -> Speaker:
        return Speaker(await open_client(address, f"/socket?user={user}", subprotocols=[VERSION_1]))

    return open


@pytest.fixture
async def address(serve: Serve) -> str:
    return await serve(router_of_named_users())


async def test_who_comes_back_misses_nothing(address: str, speak: Any) -> None:
    """
    What was sent while a client was away comes after its ready, in order, and once; then it goes on live.
    """
    alice = await speak(address)
    await alice.hello()
    await socket.to("alice").send("1")
    assert "1" == await alice.receive()
    await alice.cut()
    for n in range(2, 5):
        await socket.to("alice").send(str(n))

    again = await speak(address)
    ready = await again.hello(alice.position)
    await socket.to("alice").send("5")

    assert ready["recovered"] is True
    assert ready["offset"] == alice.position.offset
    assert ["2", "3", "4", "5"] == [await again.receive() for _ in range(4)]


async def test_without_a_single_message(address: str, speak: Any) -> None:
    """
    A position is good where not one message was ever sent: what comes after it is recovered.
    """
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    nothing_sent = await speak(address)
    recovered = await nothing_sent.hello(alice.position)
    await nothing_sent.cut()
    await socket.to("alice").send("the first")
    again = await speak(address)

    assert recovered["recovered"] is True
    assert (await again.hello(nothing_sent.position))["recovered"] is True
    assert "the first" == await again.receive()


async def test_on_another_node(serve: Serve, speak: Any) -> None:
    """
    A position is good on any node.
    """
    first, second = await serve(router_of_named_users()), await serve(router_of_named_users())
    alice = await speak(first)
    await alice.hello()
    await alice.cut()
    await socket.to("alice").send("on the way")
    again = await speak(second)

    assert (await again.hello(alice.position))["recovered"] is True
    assert "on the way" == await again.receive()


async def test_many_pages(address: str, speak: Any) -> None:
    """
    What was missed is read in pages, as fast as the client takes it: more than may wait for a slow client at once.
    """
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    payload = "x" * 30_000
    for n in range(200):
        await socket.to("alice").send(f"{n} {payload}")

    again = await speak(address)
    ready = await again.hello(alice.position)
    for n in range(200):
        assert str(n) == (await again.receive()).split(" ")[0]
    await socket.to("alice").send("live")

    assert ready["recovered"] is True
    assert "live" == await again.receive()


async def test_live_messages_wait_for_the_missed(address: str, speak: Any) -> None:
    """
    What is sent while a client still reads what it missed comes after that.
    """
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    for n in range(120):
        await socket.to("alice").send(str(n))

    again = await speak(address)
    await again.hello(alice.position)
    sending = asyncio.gather(*(socket.to("alice").send("live") for _ in range(20)))
    received = [await again.receive() for _ in range(140)]
    await sending

    assert [*map(str, range(120)), *["live"] * 20] == received


async def test_more_was_missed_than_is_kept(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    A client that missed more than is kept is told that it is not recovered, and gets what is kept, without a hole.
    """
    configure(recovery_messages=10)
    address = await serve(router_of_named_users())
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    for n in range(300):
        await socket.to("alice").send(str(n))

    again = await speak(address)
    ready = await again.hello(alice.position)
    first = int(await again.receive())
    rest = [int(await again.receive()) for _ in range(299 - first)]

    assert ready["recovered"] is False
    assert 10 <= 300 - first < 300
    assert list(range(first + 1, 300)) == rest


async def test_nobody_gets_what_is_anothers(address: str, speak: Any) -> None:
    """
    A position is read for the user of the connection, never for the one whose it was.
    """
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    await socket.to("alice").send("private")
    bob = await speak(address, "bob")
    await bob.hello(alice.position)
    await socket.to("bob").send("for bob")

    assert "for bob" == await bob.receive()


async def test_an_order_to_close_is_not_repeated(address: str, speak: Any) -> None:
    """
    Who comes back after everyone was closed is not closed by that again, and what was sent around it is recovered.
    """
    alice = await speak(address)
    await alice.hello()
    await socket.to("alice").close(4000, "everyone")
    assert 4000 == await alice.closed()
    await socket.to("alice").send("after")

    again = await speak(address)
    await again.client.send_text(f'!hello\n{{"epoch":"{alice.position.epoch}","offset":{alice.position.offset}}}')
    ready = await again.control("ready")
    frame = await again.client.receive_text()
    await socket.to("alice").send("live")

    assert ready["recovered"] is True
    assert f"{alice.position.offset + 2} x=text\nafter" == frame
    assert f"{alice.position.offset + 3} x=text\nlive" == await again.client.receive_text()


async def test_what_a_deaf_node_missed(address: str, speak: Any, open_client: Open, redis: Redis) -> None:
    """
    What is sent while the node's subscription is cut comes as soon as it has another, to both kinds of clients.
    """
    alice, plain = await speak(address), await open_client(address, "/socket?user=alice")
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)

    for n in range(20):
        with redis.pipeline() as pipeline:  # one transaction: the node cannot come back in between
            pipeline.client_kill_filter(_type="pubsub")
            pipeline.execute()
        await socket.to("alice").send(str(n))

    assert list(map(str, range(20))) == [await alice.receive() for _ in range(20)]
    assert list(map(str, range(20))) == [await plain.receive_text() for _ in range(20)]
    assert [node] == redis.zrange(keys.nodes, 0, -1)


async def test_a_lost_frame(address: str, speak: Any, redis: Redis) -> None:
    """
    A message of which no frame came is found by the next heartbeat, though nothing is sent after it.
    """
    alice = await speak(address)
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)
    offset = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {"k": "t", "p": "lost"}, id=f"{offset}-0")

    redis.hincrby(keys.envelopes, node.decode(), 1)

    assert "lost" == await alice.receive()


async def test_a_hole_before_a_frame(address: str, speak: Any, redis: Redis) -> None:
    """
    A message that comes after one that did not is held back until that was read.
    """
    alice = await speak(address)
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    offset = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {"k": "t", "p": "lost"}, id=f"{offset}-0")

    await socket.to("alice").send("next")

    assert ["lost", "next"] == [await alice.receive(), await alice.receive()]


async def test_redis_comes_back_from_its_log(speak: Any, serve: Serve, configure: Configure, tmp_path: Any) -> None:
    """
    When Redis was killed and comes back from its log, its clients are told of a possible gap, and nothing is missing.
    """
    options = ("--appendonly", "yes", "--dir", str(tmp_path))
    with embedded_redis(*options) as server:
        configure(redis_url=server.url, redis_timeout=PATIENCE)
        address = await serve(router_of_named_users())
        alice = await speak(address)
        before = await alice.hello()
        await socket.to("alice").send("before")
        assert "before" == await alice.receive()
        server.process.kill()
        server.process.wait()

        with embedded_redis(*options, port=server.port):
            await socket.to("alice").send("after")
            gap = await alice.my_gap()

            assert gap["epoch"] != before["epoch"]
            assert "after" == await alice.receive()
            again = await speak(address)
            assert (await again.hello(alice.position))["recovered"] is True
            await asyncio.gather(alice.connection.close(), again.connection.close())


async def test_redis_comes_back_empty(speak: Any, serve: Serve, open_client: Open, configure: Configure) -> None:
    """
    When Redis comes back with nothing, what is sent before the node is back arrives all the same.
    """
    with embedded_redis() as server:
        configure(redis_url=server.url, redis_timeout=PATIENCE)
        address = await serve(router_of_named_users())
        alice, plain = await speak(address), await open_client(address, "/socket?user=alice")
        await alice.hello()
        server.process.kill()
        server.process.wait()

        with embedded_redis(port=server.port):
            await socket.to("alice").send("after")
            await alice.my_gap()

            assert "after" == await alice.receive() == await plain.receive_text()
            await asyncio.gather(alice.connection.close(), plain.connection.close())


async def test_a_node_that_comes_back_under_a_new_name(address: str, speak: Any, redis: Redis) -> None:
    """
    What was sent while a node was given up comes when it is back.
    """
    alice = await speak(address)
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)
    with redis.pipeline() as pipeline:
        pipeline.zrem(keys.nodes, node)
        pipeline.delete(keys.route("u:alice"), keys.streams(node.decode()))
        pipeline.execute()

    await socket.to("alice").send("meanwhile")

    assert "meanwhile" == await alice.receive()
    await until(lambda: redis.hkeys(keys.route("u:alice")) not in ([], [node]))
    await socket.to("alice").send("live")
    assert "live" == await alice.receive()


async def test_nothing_is_left_of_a_connection(address: str, open_client: Open, redis: Redis) -> None:
    """
    Of a connection without a user neither position nor stream is left when it has gone.
    """
    nobody = await open_client(address)
    await nobody.send(1)
    assert {"echo": 1} == await nobody.receive()
    assert redis.keys("*history:c:*")

    await nobody.connection.close()

    await until(lambda: not redis.keys("*:c:*"))


async def test_a_slow_client_comes_back(serve: Serve, speak: Any, configure: Configure) -> None:
    """
    A client that was closed since it was slow misses nothing when it comes back.
    """
    configure(max_queued_messages=10)
    address = await serve(router_of_named_users())
    alice = await speak(address)
    await alice.hello()
    alice.connection.transport.pause_reading()
    payload = "x" * 200_000
    sent = 0
    while await socket.is_online("alice"):
        await socket.to("alice").send(f"{sent} {payload}")
        sent += 1
    alice.connection.transport.resume_reading()
    received = 0
    async with asyncio.timeout(2 * PATIENCE):
        while alice.connection.close_code is None or received < 3:
            try:
                assert str(received) == (await alice.receive()).split(" ")[0]
            except Exception:  # closed
                break
            received += 1

    again = await speak(address)
    ready = await again.hello(alice.position)

    assert ready["recovered"] is True
    assert [str(n) for n in range(received, sent)] == [
        (await again.receive()).split(" ")[0] for _ in range(received, sent)
    ]
    assert sent > 10 * MS


async def test_what_redis_has_wrong_of_a_node(serve: Serve, speak: Any, redis: Redis, configure: Configure) -> None:
    """
    A node whose users Redis has lost, for whatever reason, finds it by comparing, and says again who is there.
    """
    alice = await speak(await serve(router_of_named_users()))
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    (node,) = redis.zrange(keys.nodes, 0, -1)

    redis.delete(keys.route("u:alice"), keys.streams(node.decode()))
    await until(lambda: redis.exists(keys.route("u:alice")))

    await socket.to("alice").send("found")
    assert "found" == await alice.receive()


@pytest.mark.parametrize("limits", [{"max_queued_messages": 3}, {"max_queued_bytes": 262_144}, {}])
async def test_who_missed_much_is_not_slow(
    serve: Serve, speak: Any, configure: Configure, limits: dict[str, int]
) -> None:
    """
    What a client missed may be more than may wait for a slow one: it is written by the page, and not closed for that.
    """
    configure(**limits)
    address = await serve(router_of_named_users())
    alice = await speak(address)
    await alice.hello()
    await alice.cut()
    payload = "x" * 20_000
    for n in range(80):
        await socket.to("alice").send(f"{n} {payload}")

    again = await speak(address)
    again.connection.transport.pause_reading()
    await again.client.send_text(f'!hello\n{{"epoch":"{alice.position.epoch}","offset":{alice.position.offset}}}')
    async with asyncio.timeout(PATIENCE):
        while not await socket.is_online("alice"):
            await asyncio.sleep(5 * MS)
    again.connection.transport.resume_reading()
    ready = await again.control("ready")

    assert ready["recovered"] is True
    assert list(range(80)) == [int((await again.receive()).split(" ")[0]) for _ in range(80)]


async def test_a_message_that_cannot_be_read(address: str, speak: Any, redis: Redis) -> None:
    """
    A message that a newer version kept is skipped by an older node, with a warning; what comes after it arrives.
    """
    alice = await speak(address)
    await alice.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    offset = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {"k": "z", "p": "of tomorrow"}, id=f"{offset}-0")

    await socket.to("alice").send("next")

    assert f"{offset + 1} x=text\nnext" == await alice.client.receive_text()


async def test_an_order_that_cannot_be_read(address: str, speak: Any, redis: Redis) -> None:
    """
    An order that a newer version gave closes the connections that it was for, and nobody else's.
    """
    alice, bob = await speak(address), await speak(address, "bob")
    await alice.hello()
    await bob.hello()
    keys = Keyspace.of(get_settings()).shards[0]
    offset = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {"k": "c", "p": '{"code":4000,"reason":"","gently":true}'}, id=f"{offset}-0")

    await socket.to("alice").send("next")
    await socket.to("bob").send("hi")

    assert 1011 == await alice.closed()
    assert "hi" == await bob.receive()


async def test_a_plain_client_that_lost_messages(address: str, open_client: Open, redis: Redis) -> None:
    """
    A plain client cannot be told of a gap: it is closed with 4004, and so knows that it must look again.
    """
    plain = await open_client(address, "/socket?user=alice")
    keys = Keyspace.of(get_settings()).shards[0]
    redis.incrby(keys.position("u:alice"), 2)  # two messages of which nothing is kept

    await socket.to("alice").send("third")

    assert 4004 == await plain.closed()


ODD_FRAMES = {
    "an offset far ahead": "t\t{number}\t{epoch}\tforged\t\tu:alice\t{ahead}\nforged",
    "an offset far ahead, for a close": 'c\t{number}\t{epoch}\tforged\t\tu:alice\t{ahead}\n{{"code":4101,"reason":""}}',
    "an offset of another epoch": "t\t{number}\t0-deadbeef\tforged\t\tu:alice\t{ahead}\nforged",
    "an offset that is no number for JavaScript": "t\t{number}\t{epoch}\tforged\t\tu:alice\t1" + "0" * 300 + "\nforged",
    "an offset below zero": "t\t{number}\t{epoch}\tforged\t\tu:alice\t-1\nforged",
    "a number far ahead": "t\t999999\t{epoch}\tforged\t\tu:alice\t{ahead}\nforged",
    "a heartbeat of a number far ahead": "h\t999999\t{epoch}\t\t\n",
}


@pytest.mark.parametrize("frame", ODD_FRAMES.values(), ids=ODD_FRAMES.keys())
async def test_an_odd_frame_costs_one_look(serve: Serve, speak: Any, redis: Redis, frame: str) -> None:
    """
    A frame that says there are messages which there are not is looked into once: then its user is live again, and gets
    what is sent, though not the frame.
    """
    app = FastAPI()
    address = await serve(router_of_named_users(), app=app)
    node = running_node(app)
    assert node is not None
    alice = await speak(address)
    await alice.hello()
    keys, (connection,) = Keyspace.of(get_settings()).shards[0], node.hub.connections
    subscription = connection.subscriptions["u:alice"]
    number = int(redis.hget(keys.envelopes, node.keeper.node) or 0) + 1
    ahead, epoch = alice.position.offset + 10**6, alice.position.epoch

    redis.publish(keys.channel(node.keeper.node), frame.format(number=number, epoch=epoch, ahead=ahead))
    await socket.to("alice").send("1")
    assert "1" == await alice.receive()
    await until(lambda: not node.hub.is_behind(subscription))
    await socket.to("alice").send("2")

    assert "2" == await alice.receive()
    assert not node.hub.is_behind(subscription)
