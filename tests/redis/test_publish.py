"""Publishing: to the nodes of the route and to no other, once for each message id, and whole."""

from dataclasses import replace
from typing import Any

import pytest
import redis as redis_py

from qrsocket.fanout.history import read, tops
from qrsocket.fanout.publish import REMEMBER, Envelope, Routed, answer_probe, probe, publish
from qrsocket.keys import Keys
from qrsocket.message import Close, Kind, Message
from qrsocket.position import Position
from tests.conftest import RoundTrip
from tests.redis.conftest import Node

HELLO = Message(Kind.TEXT, b'{"text":"hello"}')


def seen(envelope: Envelope) -> tuple[Any, ...]:
    """What an envelope says, but for epoch and offsets, which begin with the clock."""
    streams = tuple(stream for stream, _ in envelope.recipients)
    return envelope.message.kind, envelope.number, envelope.message_id, streams, envelope.message.payload


async def test_a_message_goes_to_the_nodes_of_its_users(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    One envelope a node, with those of the users who are there; the answer counts connections and nodes.
    """
    node.attach("alice", 2)
    node.attach("bob")
    second_node.attach("bob", 3)

    routed = await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice", "u:bob", "u:nobody"]))

    assert Routed(6, frozenset({"n1", "n2"})) == routed
    assert [(Kind.TEXT, 1, "m1", ("u:alice", "u:bob"), HELLO.payload)] == [
        seen(envelope) for envelope in node.envelopes()
    ]
    assert [(Kind.TEXT, 1, "m1", ("u:bob",), HELLO.payload)] == [seen(envelope) for envelope in second_node.envelopes()]


async def test_a_message_to_nobody(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    A user who is offline costs no envelope; a node without the user hears nothing. The message is kept all the same.
    """
    second_node.attach("bob")

    assert Routed(0, frozenset()) == await roundtrip(publish(node.keys, HELLO, "m1", ["u:nobody"]))
    assert Routed(1, frozenset({"n2"})) == await roundtrip(publish(node.keys, HELLO, "m2", ["u:bob"]))
    assert [] == node.envelopes()
    assert ["m2"] == [envelope.message_id for envelope in second_node.envelopes()]
    missed = await roundtrip(read(node.keys, "u:nobody", Position(node.epoch, 0)))
    assert [HELLO] == [entry.message for entry in missed.entries]


async def test_the_same_id_is_sent_once(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    Under an id that was seen nothing is sent, whatever changed since, and the first answer comes again for 300 s, as a
    repeated one.
    """
    node.attach("alice", 2)
    first = await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))
    top = await roundtrip(tops(node.keys, ["u:alice"]))
    node.attach("alice", 5)
    again = await roundtrip(publish(node.keys, Message(Kind.TEXT, b"other"), "m1", ["u:alice"]))
    remembered_ms = redis.pttl(node.keys.sent("m1"))

    assert Routed(2, frozenset({"n1"})) == first
    assert replace(first, repeated=True) == again
    assert [HELLO.payload] == node.messages()
    assert top == await roundtrip(tops(node.keys, ["u:alice"]))
    assert 1 == redis.xlen(node.keys.history("u:alice"))
    assert REMEMBER == 300
    assert 290_000 < remembered_ms <= 300_000


async def test_an_id_sent_to_nobody_is_remembered_too(roundtrip: RoundTrip, node: Node) -> None:
    """
    A message that reached nobody stays so under its id: the caller has been told.
    """
    first = await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))
    node.attach("alice")
    again = await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))

    assert Routed(0, frozenset()) == first
    assert replace(first, repeated=True) == again
    assert [] == node.envelopes()


async def test_a_frame_says_where_its_message_is_kept(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    An envelope has the epoch, and for each recipient the offset that the message has in that user's stream.
    """
    node.attach("alice")
    second_node.attach("bob")
    for number, users in enumerate([["u:alice"], ["u:alice", "u:bob"]]):
        await roundtrip(publish(node.keys, HELLO, f"m{number}", users))
    top = await roundtrip(tops(node.keys, ["u:alice", "u:bob"]))

    alice, bob = top["u:alice"].offset, top["u:bob"].offset
    assert [(("u:alice", alice - 1),), (("u:alice", alice),)] == [envelope.recipients for envelope in node.envelopes()]
    envelopes = second_node.envelopes()
    assert [(("u:bob", bob),)] == [envelope.recipients for envelope in envelopes]
    assert [node.epoch] == [envelope.epoch for envelope in envelopes]


async def test_frames_are_numbered_by_node(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    Each node counts the envelopes sent to it from 1, so that it can tell a missing one.
    """
    node.attach("alice")
    second_node.attach("bob")
    for number, user in enumerate(["u:alice", "u:bob", "u:alice", "u:alice"]):
        await roundtrip(publish(node.keys, HELLO, f"m{number}", [user]))

    assert [(1, "m0"), (2, "m2"), (3, "m3")] == [
        (envelope.number, envelope.message_id) for envelope in node.envelopes()
    ]
    assert [(1, "m1")] == [(envelope.number, envelope.message_id) for envelope in second_node.envelopes()]


async def test_a_killed_node_does_not_count(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    A node that no longer listens, and is not reaped yet, has no connections: it is not in the answer.
    """
    node.attach("alice", 2)
    second_node.attach("alice", 3)
    node.hang_up()

    assert Routed(3, frozenset({"n2"})) == await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))
    assert ["m1"] == [envelope.message_id for envelope in second_node.envelopes()]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.TEXT, b""),
        (Kind.TEXT, "line\nbreak\tand tab, 😀".encode()),
        (Kind.BINARY, bytes(range(256))),
        (Kind.BINARY, b"\n\n\t\n"),
        (Kind.BINARY, b"\x00" * 256 * 1024),
        (Kind.CLOSE, Close(4101, "revoked").to_message().payload),
    ],
    ids=lambda value: value[:8] if isinstance(value, bytes) else value.name,
)
async def test_a_payload_arrives_untouched(roundtrip: RoundTrip, node: Node, kind: Kind, payload: bytes) -> None:
    """
    Whatever its bytes, a payload arrives as it was sent, with its kind.
    """
    node.attach("alice")
    await roundtrip(publish(node.keys, Message(kind, payload), "m1", ["u:alice"]))

    assert [(kind, 1, "m1", ("u:alice",), payload)] == [seen(envelope) for envelope in node.envelopes()]


async def test_an_odd_user_id_arrives_whole(roundtrip: RoundTrip, node: Node) -> None:
    """
    Ids with spaces, separators of keys, braces and any script reach their own user only.
    """
    users = ["a b", "a:b", "{q1}", "u:alice", "*", "李😀", "%s", "é" * 128]
    for user in users:
        node.attach(user)

    routed = await roundtrip(publish(node.keys, HELLO, "m1", [f"u:{user}" for user in users]))

    assert Routed(len(users), frozenset({"n1"})) == routed
    assert [tuple(f"u:{user}" for user in users)] == [seen(envelope)[3] for envelope in node.envelopes()]


async def test_a_thousand_recipients_are_one_frame_a_node(roundtrip: RoundTrip, node: Node) -> None:
    """
    The payload goes once to each node, not once to each user.
    """
    users = [f"u:{number}" for number in range(1_000)]
    for number in range(1_000):
        node.attach(number)

    assert Routed(1_000, frozenset({"n1"})) == await roundtrip(publish(node.keys, HELLO, "m1", users))
    assert [users] == [list(seen(envelope)[3]) for envelope in node.envelopes()]


async def test_another_application_hears_nothing(roundtrip: RoundTrip, node: Node) -> None:
    """
    Two applications on one server keep apart, though pub/sub knows no databases.
    """
    node.attach("alice")
    others = Keys("qrsocket:other:{q0}:")

    assert Routed(0, frozenset()) == await roundtrip(publish(others, HELLO, "m1", ["u:alice"]))
    assert [] == node.envelopes()


async def test_a_probe_reaches_a_node_and_comes_back(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    A probe tells how many listen; the node's answer is kept for a minute.
    """
    listeners = await roundtrip(probe(node.keys, "n1", "p1"))
    envelopes = node.envelopes()
    await roundtrip(answer_probe(node.keys, "n1", "p1"))
    await roundtrip(answer_probe(node.keys, "n2", "p1"))

    assert 1 == listeners
    assert [Envelope(0, "", "p1", (), Message(Kind.PROBE, b""))] == envelopes
    assert [b"n2", b"n1"] == redis.lrange(node.keys.probe("p1"), 0, -1)
    assert 50 < redis.ttl(node.keys.probe("p1")) <= 60


async def test_a_probe_of_a_deaf_node(roundtrip: RoundTrip, keys: Keys) -> None:
    """
    A probe to a node that nobody listens for is heard by none.
    """
    assert 0 == await roundtrip(probe(keys, "ghost", "p1"))


@pytest.mark.parametrize(
    "data",
    [b"", b"the end", b"x\t1\te\tm\n", b"t\tone\te\tm\n", b"t\t1\te\n", b"t\t1\te\t\xff\n", b"t\t1\te\tm\tu:a\tx\n"],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    """
    Anything else on a channel raises ValueError, so that the relay can drop it.
    """
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        Envelope.parse(data)


@pytest.mark.parametrize(
    "data", [b"", b"j\t1", b"?\t1\te\tm\t\tu:ada\t1\n", b"j\t1\te\tm\t\tu:ada\n", b"j\tx\te\tm\t\tu:ada\t1\n"]
)
def test_what_is_no_frame(data: bytes) -> None:
    """
    What cannot be read, of a kind from a newer version say, is a ValueError.
    """
    with pytest.raises(ValueError, match=r"."):
        Envelope.parse(data)
