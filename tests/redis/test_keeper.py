"""A node's own side of its place in Redis: what it does when that was lost, by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis as redis_py

from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.presence import table
from qrsocket.presence.answers import Transition
from qrsocket.presence.keeper import Keeper
from qrsocket.presence.table import claims
from qrsocket.roundtrip import Call, run
from qrsocket.settings import get_settings
from qrsocket.streams import Stream
from qrsocket.trouble import Trouble
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until
from tests.redis.conftest import LEASE, Node, now_ms

ALICE = "u:alice"


@pytest.fixture
async def new_keeper(redis_server: EmbeddedRedis) -> AsyncIterator[Callable[..., Keeper]]:
    """Makes keepers, for the settings as they are then: `new_keeper(transitions.append, here={"u:alice"})`."""
    living: list[asyncio.Task[None]] = []

    def new(on_transition: Callable[[Transition], None], *, here: set[Stream]) -> Keeper:
        count = lambda stream: int(stream in here)  # noqa: E731
        keeper = Keeper(
            get_settings(),
            lambda: here,
            count,
            lambda _: None,
            lambda *_: (),
            on_transition,
            lambda *_: None,
            Trouble("sockets stay open"),
        )

        async def live() -> None:
            for number in range(1, 10):
                await keeper.live(f"k{number}")

        living.append(asyncio.create_task(live()))
        return keeper

    yield new
    for task in living:
        task.cancel()
    await asyncio.gather(*living, return_exceptions=True)


async def test_what_waits_for_its_turn_does_not_end_a_later_attempt(
    redis: redis_py.Redis, keys: Keys, configure: Configure, new_keeper: Callable[..., Keeper]
) -> None:
    """
    A transition that was lost before its turn came, and is the node's again when another has died too, is told before
    it is acknowledged: what waited since the first time does not acknowledge it.
    """
    configure(renew_interval=10 * MS, lease=LEASE, offline_grace=0)
    transitions: list[Transition] = []
    here = {ALICE}
    keeper = new_keeper(transitions.append, here=here)
    await keeper.register([ALICE])
    other = Node(redis, "other")
    redis.zadd(keys.nodes, {"k1": now_ms(redis) - 1, "other": now_ms(redis) + 60_000})
    assert [2] == [transition.attempt for transition in other.reap()]
    await until(lambda: keeper.node == "k2")
    other.end_lease()
    await until(lambda: len(transitions) == 2)
    waiting, again = transitions
    assert not keeper.mailbox.begin(waiting)
    await keeper.acknowledge(waiting)  # as `Node._tell` does

    assert (1, 3) == (waiting.attempt, again.attempt)
    assert keeper.mailbox.begin(again)
    assert again in run(redis, claims(keys, "k2"), timeout=PATIENCE)
    other.hang_up()


async def test_what_a_shard_forgot_is_said_again_when_another_was_late(
    redis: redis_py.Redis, configure: Configure, new_keeper: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A node that must try twice to come back, since one shard does not answer, tells another all the same what that
    forgot: who has just left, and is to be said to have gone.
    """
    configure(renew_interval=10 * MS, lease=LEASE, offline_grace=LEASE, shards=2)
    first, second = Keyspace.of(get_settings()).shards
    user = next(f"u:{number}" for number in range(100) if Keyspace.of(get_settings()).of_stream(f"u:{number}") == first)
    here, transitions = {user}, []
    keeper = new_keeper(transitions.append, here=here)
    await keeper.register([user])
    keeper.mailbox.told(transitions[0])
    await keeper.acknowledge(transitions[0])
    here.clear()
    await keeper.register([user])
    failed: list[Keys] = []
    join = table.join

    def join_late(keys: Keys, node: str, **options: Any) -> Call[str]:
        if keys == second and not failed:
            failed.append(keys)
            raise Unavailable("late", 0)
        return join(keys, node, **options)

    monkeypatch.setattr(table, "join", join_late)
    redis.delete(*redis.keys(f"{first.base}*"))  # on a cluster, each shard is a server's own
    await until(lambda: keeper.node == "k2" and keeper.is_live)

    assert [second] == failed
    assert b"1" == redis.hget(first.state(user), "online")
    assert [user.encode()] == redis.zrange(first.grace, 0, -1)


async def test_what_another_node_told_outlives_it(
    redis: redis_py.Redis, keys: Keys, configure: Configure, new_keeper: Callable[..., Keeper]
) -> None:
    """
    A user whom this node said to have gone, and another to have come again, is here now, and the other node is no more.
    A Redis that forgot it all hears from this one what was told last, and not what it told itself before.
    """
    configure(renew_interval=10 * MS, lease=1_000 * MS, offline_grace=0)
    here, transitions = {ALICE}, []
    keeper = new_keeper(transitions.append, here=here)

    async def settle_and_tell() -> None:
        await keeper.register([ALICE])
        keeper.mailbox.told(transitions[-1])
        await keeper.acknowledge(transitions[-1])

    await settle_and_tell()
    here.clear()
    await settle_and_tell()
    other = Node(redis, "other")
    again = other.attach("alice").transition
    here.add(ALICE)
    await keeper.register([ALICE])
    other.hang_up()

    redis.flushall()
    await until(lambda: keeper.node == "k2")
    await until(
        lambda: float(redis.hget(keys.server, "beat") or 0) > float(redis.hget(keys.server, "quiet_until")) + 50
    )
    here.clear()
    await keeper.register([ALICE])

    assert again is not None
    # A renewal may hand one over once more: `begin` knows that it was told.
    told = [(transition.online, transition.seq) for transition in dict.fromkeys(transitions)]
    assert [(True, again.seq - 2), (False, again.seq - 1), (False, again.seq + 1)] == told


async def test_topics_and_members_come_back(
    redis: redis_py.Redis, keys: Keys, configure: Configure, new_keeper: Callable[..., Keeper]
) -> None:
    """
    A node that was given up, or that Redis forgot, tells all that it has again: topics, everyone's stream and who has
    joined. A member who was told stays one, without a word of leaving.
    """
    configure(renew_interval=10 * MS, lease=LEASE, offline_grace=LEASE)
    here = {ALICE, "t:room", "*", "c:x", "m:room alice"}
    keeper = new_keeper(lambda _: None, here=here)
    await keeper.register(here)
    other = Node(redis, "other")
    other.attach_all(["t:room"])
    for name in ("k2", "k3"):
        if name == "k2":
            redis.zadd(keys.nodes, {"k1": now_ms(redis) - 1})
            other.reap(grace=LEASE)
        else:
            redis.flushall()
        await until(lambda name=name: keeper.node == name and keeper.is_live)  # type: ignore[misc]
        assert {stream.encode() for stream in here} == redis.smembers(keys.streams(name))
        assert {b"alice"} == redis.smembers(keys.members("room"))
    assert [] == [one for one in other.envelopes() if b"left" in one.message.payload]
    other.hang_up()


async def test_a_user_over_the_limit_is_missing_from_the_answer(
    redis: redis_py.Redis, keys: Keys, configure: Configure, new_keeper: Callable[..., Keeper]
) -> None:
    """
    Of what one connection asks for, the user's stream is refused where the user has too many on all nodes; the others
    are counted, for the connection to give up.
    """
    configure(renew_interval=10 * MS, lease=LEASE, max_connections_per_user=2)
    other = Node(redis, "other")
    other.attach_all([ALICE], here=2)
    here: set[Stream] = set()
    keeper = new_keeper(lambda _: None, here=here)
    await keeper.wait_joined()  # who is there before has had a place
    here |= {ALICE, "t:room"}
    answer = await keeper.register(here)

    assert {"t:room"} == set(answer.attached)
    assert {b"other": b"2"} == redis.hgetall(keys.route(ALICE))
    assert {b"k1": b"1"} == redis.hgetall(keys.route("t:room"))
    other.hang_up()
