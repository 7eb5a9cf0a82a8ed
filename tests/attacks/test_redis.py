"""Whoever can write to Redis can send; what is published there and is no frame must not make a node deaf."""

import pytest
from redis import Redis

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.sync import socket
from tests.attacks.node import Node
from tests.attacks.raw import Raw, frame
from tests.attacks.witness import Witness
from tests.conftest import Configure

BROKEN = [
    b"",
    b"\n",
    b"\0" * 100,
    b"\xff\xfe",
    b"t\t1",
    b"t\tx\te\tm\t\tu:bob\t1\n1",
    b"t\t1\te\tm\t\tu:bob\tx\n1",
    b"t\t1\te\tm\t\tu:bob\n1",
    b"?\t1\te\tm\t\tu:bob\t1\n1",
    b"close\t1\te\tm\t\tu:bob\t1\nno close",
    b"t\t" + b"9" * 5000 + b"\te\tm\t\tu:bob\t1\n1",
    b"x" * 10_000_000,
]


@pytest.mark.parametrize("words", BROKEN, ids=lambda words: f"{words[:24]!r}")
def test_a_broken_frame(node: Node, server: EmbeddedRedis, bob: Witness, words: bytes) -> None:
    """
    It is dropped, and another user is served meanwhile.
    """
    with Redis.from_url(server.url) as redis:
        (channel,) = redis.pubsub_channels("qrsocket:*")

        assert 1 == redis.publish(channel, words)


def test_a_replayed_frame(node: Node, server: EmbeddedRedis, bob: Witness, configure: Configure) -> None:
    """
    A frame that is published again is not delivered again.
    """
    configure(redis_url=server.url)
    with Redis.from_url(server.url) as redis, Raw(node.address) as alice, redis.pubsub() as listener:
        (channel,) = redis.pubsub_channels("qrsocket:*")
        listener.subscribe(channel)
        alice.open("/socket?user=alice", "Sec-WebSocket-Protocol: qrsocket.v1")
        alice.send(frame(b"!hello\n{}"))
        alice.wait_for(b"!ready")
        assert 1 == socket.to("alice").send("pay 10").connections
        published = next(one["data"] for one in listener.listen() if b"pay 10" in bytes(str(one["data"]), "utf-8"))
        for _ in range(3):
            redis.publish(channel, published)
        socket.to("alice").send("last")
        alice.wait_for(b"last")

        assert 1 == alice.received.count(b"pay 10")
