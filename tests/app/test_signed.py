"""Messages that are signed: whoever may only write to Redis cannot speak for the application."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import pytest
from redis import Redis

import qrsocket.sync
from qrsocket import User, socket
from qrsocket.fanout.publish import SIGNED
from qrsocket.keys import Keys, Keyspace
from qrsocket.message import Kind
from qrsocket.server import SocketRouter
from qrsocket.settings import get_settings
from tests.app.conftest import Serve
from tests.app.speaking import OpenSpeaker
from tests.clients import Client, Open
from tests.conftest import Configure

KEY, OTHER = "k" * 32, "o" * 32


@pytest.fixture
async def address(serve: Serve, configure: Configure) -> str:
    """Of a node that takes what is signed by KEY. Who connects has joined the topic `room`."""
    router = SocketRouter("/socket")

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User:
        await socket.join("room")
        return User(query["user"])

    configure(signing_keys=KEY)
    return await serve(router)


@pytest.fixture
def keys() -> Keys:
    return Keyspace.of(get_settings()).shards[0]


async def test_all_that_is_sent_arrives(address: str, open_client: Open) -> None:
    """
    To a user, to many, to a topic and to everyone, blocking and awaiting, kept and not kept; orders, too.
    """
    alice = await open_client(address, "/socket?user=alice")
    await socket.to("alice").send(1)
    await socket.to(["alice", "bob"]).send(2, keep=False)
    await asyncio.to_thread(qrsocket.sync.socket.to("alice").send, 3)
    await socket.topic("room").send(4)
    await socket.everyone.send(5, latest="score")
    await socket.to("alice").leave("room")
    await socket.topic("room").send("not for her")
    await socket.to("alice").send(6)
    await socket.to("alice").close(4200)

    assert [1, 2, 3, 4, 5, 6] == [await alice.receive() for _ in range(6)]
    assert 4200 == await alice.closed()


def with_words(data: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    head, _, payload = data.partition(b"\n")
    words = head.split(b"\t")
    change(words)
    return b"\t".join(words) + b"\n" + payload


def for_bob(words: list[bytes]) -> None:
    words[5] = b"u:bob"


def without_signature(words: list[bytes]) -> None:
    words[6] = words[6].partition(b".")[0]


def as_order(words: list[bytes]) -> None:
    words[0] = b"c"


def said_by_redis(kind: Kind, offset: str, published: bytes) -> bytes:
    """What only Redis says, and nobody signs, in place of a message or an order: for alice, at her next offset."""
    head, _, _ = published.partition(b"\n")
    epoch, position = head.split(b"\t")[2], Keyspace.of(get_settings()).shards[0].position("u:alice")
    if offset == "next":
        with Redis.from_url(get_settings().redis_url.get_secret_value()) as redis:
            offset = str(int(redis.get(position) or 0) + 1)
    return b"\t".join([kind.encode(), b"1", epoch, b"m", b"", b"u:alice", offset.encode()]) + b"\nroom"


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "another message": lambda data: data.replace(b"pay 10", b"pay 99"),
    "for somebody else": lambda data: with_words(data, for_bob),
    "not signed": lambda data: with_words(data, without_signature),
    "an order": lambda data: with_words(data, as_order),
    "an order that nobody has signed": lambda _: b'c\t1\te\tm\t\tu:alice\t-\n{"code":4101,"reason":""}',
    "a message that nobody has signed": lambda _: b"t\t1\te\tm\t\t*\t-\nforged",
    **{
        f"{kind.name} that is no such thing, {offset}": partial(said_by_redis, kind, offset)
        for kind in Kind
        if kind not in SIGNED
        for offset in ("-", "next")
        if not (offset == "-" and kind in (Kind.PROGRESS, Kind.CHUNK))
    },
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_what_was_forged(
    address: str,
    open_client: Open,
    redis: Redis,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    forge: Callable[[bytes], bytes],
) -> None:
    """
    What somebody publishes who has no key reaches nobody, and nobody obeys it. The log shows nothing of it.
    """
    alice, bob = await open_client(address, "/socket?user=alice"), await open_client(address, "/socket?user=bob")
    (channel,) = redis.pubsub_channels(f"{keys.base}*")
    with redis.pubsub() as listener:
        listener.subscribe(channel)
        await socket.to("alice").send("pay 10", keep=False)
        published = next(one["data"] for one in listener.listen() if b"pay 10" in bytes(str(one["data"]), "utf-8"))
    caplog.set_level(logging.WARNING)
    redis.publish(channel, forge(published))
    await socket.to(["alice", "bob"]).send("to you")
    await socket.topic("room").send("to the room")

    # Where a forged number made the node read streams again, their order among each other is nobody's promise.
    assert "pay 10" == await alice.receive_text()
    for client in (alice, bob):
        assert ["to the room", "to you"] == sorted([str(await client.receive_text()) for _ in range(2)])
    assert "pay" not in caplog.text


async def test_the_log_says_so(
    address: str, open_client: Open, redis: Redis, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """
    That messages are refused is said, a few times only, however many recipients somebody writes into one frame.
    """
    alice = await open_client(address, "/socket?user=alice")
    (channel,) = redis.pubsub_channels(f"{keys.base}*")
    recipients = b"\t".join(b"u:%d\t-" % number for number in range(1_000))
    caplog.set_level(logging.WARNING)
    redis.publish(channel, b"t\t1\te\tm\t\t" + recipients + b"\nforged")
    await socket.to("alice").send("last")

    assert "last" == await alice.receive_text()
    assert 1 <= caplog.text.count("no key of QRSOCKET_SIGNING_KEYS matches its signature") <= 20


@pytest.mark.parametrize("comes_back", ["to a node", "within a node"])
async def test_what_was_put_into_the_history(
    address: str, open_speaker: OpenSpeaker, redis: Redis, keys: Keys, comes_back: str
) -> None:
    """
    What somebody adds to what is kept of a stream is not shown to who comes back, and what is genuine is.
    """
    alice = await open_speaker(address, "alice")
    await alice.hello()
    await socket.to("alice").send("before")
    assert "before" == await alice.receive()
    seen = alice.position
    if comes_back == "to a node":
        await alice.cut()
    forged = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {"k": "t", "p": "forged"}, id=f"{forged}-0")
    copied = redis.xrange(keys.history("u:alice"))[0][1]
    moved = redis.incr(keys.position("u:alice"))
    redis.xadd(keys.history("u:alice"), {**copied, b"p": b"changed"}, id=f"{moved}-0")
    await socket.to("alice").send("after")
    if comes_back == "to a node":
        alice = await open_speaker(address, "alice")
        await alice.hello(seen)

    assert "after" == await next_message(alice.client)


async def next_message(client: Client) -> str:
    """The next one, after what the protocol says besides."""
    while (frame := str(await client.receive_text())).startswith("!"):
        pass
    return frame.partition("\n")[2]


async def test_a_sender_with_another_key(
    address: str, open_client: Open, open_speaker: OpenSpeaker, configure: Configure
) -> None:
    """
    A process that was given another key sends nothing that arrives, and what others send does. Who reads where it was
    kept is told of a gap, if its protocol has a word for that.
    """
    alice, plain = await open_speaker(address, "alice"), await open_client(address, "/socket?user=alice")
    await alice.hello()
    configure(signing_keys=OTHER)
    await socket.to("alice").send("not kept", keep=False)
    await socket.to("alice").send("kept")
    configure(signing_keys=f"{KEY},{OTHER}")
    await socket.to("alice").send("with this one")

    await alice.my_gap()
    assert "with this one" == await next_message(alice.client) == await plain.receive_text()
