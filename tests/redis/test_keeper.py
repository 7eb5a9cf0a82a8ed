"""A node's own side of its place in Redis: what it does when that was lost, by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis as redis_py

from qrsocket.audience import Audience
from qrsocket.embedded_redis import EmbeddedRedis
from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.presence import table
from qrsocket.presence.keeper import Keeper
from qrsocket.presence.table import Edge, claims
from qrsocket.roundtrip import Call, run
from qrsocket.settings import get_settings
from qrsocket.trouble import Trouble
from tests.clients import PATIENCE
from tests.conftest import MS, Configure, until
from tests.redis.conftest import LEASE, Node, now_ms

ALICE = "u:alice"


@pytest.fixture
async def new_keeper(redis_server: EmbeddedRedis) -> AsyncIterator[Callable[..., Keeper]]:
    """Makes keepers, for the settings as they are then: `new_keeper(edges.append, here={"u:alice"})`."""
    living: list[asyncio.Task[None]] = []

    def new(on_edge: Callable[[Edge], None], *, here: set[Audience]) -> Keeper:
        count = lambda audience: int(audience in here)  # noqa: E731
        keeper = Keeper(get_settings(), lambda: here, count, on_edge, lambda *_: None, Trouble("sockets stay open"))

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
    An edge that was lost before its turn came, and is the node's again when another has died too, is told before it is
    acknowledged: what waited since the first time does not acknowledge it.
    """
    configure(renew_interval=10 * MS, lease=LEASE, offline_grace=0)
    edges: list[Edge] = []
    here = {ALICE}
    keeper = new_keeper(edges.append, here=here)
    await keeper.settle(ALICE)
    other = Node(redis, "other")
    redis.zadd(keys.nodes, {"k1": now_ms(redis) - 1, "other": now_ms(redis) + 60_000})
    assert [2] == [edge.attempt for edge in other.reap()]
    await until(lambda: keeper.node == "k2")
    other.end_lease()
    await until(lambda: len(edges) == 2)
    waiting, again = edges
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
    user = next(
        f"u:{number}" for number in range(100) if Keyspace.of(get_settings()).of_audience(f"u:{number}") == first
    )
    here, edges = {user}, []
    keeper = new_keeper(edges.append, here=here)
    await keeper.settle(user)
    keeper.mailbox.told(edges[0])
    await keeper.acknowledge(edges[0])
    here.clear()
    await keeper.settle(user)
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
    configure(renew_interval=10 * MS, lease=300 * MS, offline_grace=0)
    here, edges = {ALICE}, []
    keeper = new_keeper(edges.append, here=here)

    async def settle_and_tell() -> None:
        await keeper.settle(ALICE)
        keeper.mailbox.told(edges[-1])
        await keeper.acknowledge(edges[-1])

    await settle_and_tell()
    here.clear()
    await settle_and_tell()
    other = Node(redis, "other")
    again = other.attach("alice").edge
    here.add(ALICE)
    await keeper.settle(ALICE)
    other.hang_up()

    redis.flushall()
    await until(lambda: keeper.node == "k2")
    await until(
        lambda: float(redis.hget(keys.server, "beat") or 0) > float(redis.hget(keys.server, "settle_until")) + 50
    )
    here.clear()
    await keeper.settle(ALICE)

    assert again is not None
    assert [(True, again.seq - 2), (False, again.seq - 1), (False, again.seq + 1)] == [
        (edge.online, edge.seq) for edge in edges
    ]
