"""Scripts as Redis keeps them: sent by digest, sent again when forgotten, and working when Redis is full."""

from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py
from redis.exceptions import ResponseError

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.errors import Unavailable
from qrsocket.fanout.publish import answer_probe, publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.presence.table import acknowledge, everyone, join, leave, live_nodes, online_of, reap, renew
from qrsocket.roundtrip import Call, Script, script_call
from tests.conftest import MS, RoundTrip, until
from tests.redis.attaching import Attach, attach
from tests.redis.conftest import GRACE, LEASE, Act, Node, has_ended

HELLO = Message(Kind.TEXT, b"hello")

EACH: dict[str, Callable[[Keys], Call[Any]]] = {
    "join": lambda keys: join(keys, "n9", lease=LEASE),
    "renew": lambda keys: renew(keys, "n1", lease=LEASE, grace=GRACE),
    "attach": lambda keys: attach(keys, "n1", "u:alice", 1, limit=20, grace=GRACE),
    "reap": lambda keys: reap(keys, "n1", grace=GRACE),
    "online": lambda keys: online_of(keys, ["u:alice"]),
    "everyone": lambda keys: everyone(keys),
    "publish": lambda keys: publish(keys, HELLO, "m1", ["u:alice"]),
    "answer_probe": lambda keys: answer_probe(keys, "n1", "p1"),
    "leave": lambda keys: leave(keys, "n1"),
}


@pytest.mark.parametrize("name", EACH)
async def test_a_forgotten_script_is_sent_again(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, name: str
) -> None:
    """
    After SCRIPT FLUSH, or on a new server, a script is sent whole once and then by its digest again.
    """
    call = EACH[name](node.keys)
    redis.script_flush()
    redis.config_resetstat()
    await roundtrip(call)
    await roundtrip(call)
    stats = redis.info("commandstats")

    assert call.script is not None
    assert [True] == redis.script_exists(call.script.digest)
    assert (2, 1) == (stats["cmdstat_evalsha"]["calls"], stats["cmdstat_eval"]["calls"])


async def test_the_digest_is_redis_own(redis: redis_py.Redis, keys: Keys) -> None:
    """
    What Python takes for a script's digest is what Redis answers to SCRIPT LOAD.
    """
    scripts = [script for call in EACH.values() if (script := call(keys).script)]

    assert [script.digest for script in scripts] == [redis.script_load(script.source) for script in scripts]


async def test_a_publish_after_a_flush_is_sent_once(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    NOSCRIPT means that nothing was run: the message arrives once.
    """
    node.attach("alice")
    redis.script_flush()
    await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))

    assert [b"hello"] == node.messages()


async def test_an_error_of_a_script_is_not_hidden(roundtrip: RoundTrip) -> None:
    """
    A script that is wrong raises Redis' own error: that is a bug, and Redis is not unavailable.
    """
    with pytest.raises(ResponseError, match=r"[Uu]nknown (Redis )?command"):
        await roundtrip(script_call(Script("return redis.call('nonsense')"), ["x"], [], int))


@pytest.fixture
def full_redis(own_server: EmbeddedRedis, own_redis: redis_py.Redis) -> Callable[[], None]:
    """Call it to make the server of this test full: from then on Redis refuses what might take memory."""

    def fill() -> None:
        own_redis.config_set("maxmemory", 1)
        with pytest.raises(redis_py.ResponseError):
            own_redis.set("x", 1)

    return fill


async def test_presence_goes_on_when_redis_is_full(
    roundtrip: RoundTrip, own_redis: redis_py.Redis, full_redis: Callable[[], None]
) -> None:
    """
    In a full Redis leases are renewed, connections open and close, dead nodes are reaped and questions answered.
    """
    dead = Node(own_redis, "dead")
    dead.attach("bob")
    keys = dead.keys
    full_redis()

    await roundtrip(join(keys, "n1", lease=LEASE))
    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is not None
    came = await roundtrip(attach(keys, "n1", "u:alice", 1, limit=20, grace=0))
    assert {"u:alice", "u:bob"} == await roundtrip(everyone(keys))
    await roundtrip(renew(keys, "dead", lease=1 * MS, grace=GRACE))
    await until(lambda: has_ended(own_redis, keys, "dead"))
    reaped = await roundtrip(reap(keys, "n1", grace=0))
    assert {"u:alice"} == await roundtrip(online_of(keys, ["u:alice", "u:bob"]))
    assert came.transition is not None
    await roundtrip(acknowledge(keys, "n1", came.transition, grace=GRACE))
    went = await roundtrip(attach(keys, "n1", "u:alice", 0, limit=20, grace=0))
    await roundtrip(leave(keys, "n1"))

    assert (Attach.OK, Attach.OK) == (came.status, went.status)
    assert went.transition is not None
    assert ["u:bob"] == [transition.stream for transition in reaped.transitions]
    assert [] == await roundtrip(live_nodes(keys))
    dead.hang_up()


async def test_a_full_redis_takes_no_messages(
    roundtrip: RoundTrip, own_redis: redis_py.Redis, full_redis: Callable[[], None]
) -> None:
    """
    A publish to a full Redis raises Unavailable with the reason, at once, and has reached nobody.
    """
    node = Node(own_redis, "n1")
    node.attach("alice")
    full_redis()

    with pytest.raises(Unavailable, match=r"\(OOM\)"):
        await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))

    assert [] == node.envelopes()
    own_redis.config_set("maxmemory", 0)
    await roundtrip(publish(node.keys, HELLO, "m1", ["u:alice"]))
    assert [b"hello"] == node.messages()
    node.hang_up()


async def test_send_to_a_full_redis_raises(act: Act, own_redis: redis_py.Redis, full_redis: Callable[[], None]) -> None:
    """
    `send` raises Unavailable when Redis is full; who is online is still known.
    """
    node = Node(own_redis, "n1")
    node.attach("alice")
    full_redis()

    with pytest.raises(Unavailable):
        await act(lambda socket: socket.to("alice").send("hi"))

    assert await act(lambda socket: socket.is_online("alice")) is True
    node.hang_up()


async def test_a_read_only_replica_takes_no_messages(act: Act, own_redis: redis_py.Redis) -> None:
    """
    A replica, after a failover say, raises Unavailable with the reason.
    """
    own_redis.execute_command("REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(Unavailable, match="READONLY"):
        await act(lambda socket: socket.to("alice").send("hi"))
