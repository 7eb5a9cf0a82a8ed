"""What becomes of the users of a dead node: emptied by the others, in small steps, each user told once."""

from collections import Counter
from dataclasses import replace

import pytest
import redis as redis_py

from qrsocket.keys import Keys
from qrsocket.presence.answers import Reaped, Transition
from qrsocket.presence.table import REAP_BATCH, acknowledge, claims, everyone, join, leave, reap, renew
from tests.conftest import RoundTrip, until
from tests.redis.attaching import attach
from tests.redis.conftest import GRACE, LEASE, NewNode, Node, now_ms

NOTHING = Reaped(more=False, transitions=())


def trace_of(redis: redis_py.Redis, node: str) -> list[bytes]:
    """Where Redis still knows *node*: in the name of a key, a sorted set or a hash."""
    name, found = node.encode(), []
    for key in redis.scan_iter():
        kind = redis.type(key)
        held = redis.zrange(key, 0, -1) if kind == b"zset" else redis.hkeys(key) if kind == b"hash" else []
        if name in held or b":%s:" % name in key:
            found.append(key)
    return found


def everything(redis: redis_py.Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter()}


async def test_nothing_to_reap(roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys) -> None:
    """
    Among live nodes a reap does nothing.
    """
    node.attach("alice")
    second_node.attach("bob")

    assert NOTHING == await roundtrip(reap(keys, "n1", grace=0))
    assert {"u:alice", "u:bob"} == await roundtrip(everyone(keys))


async def test_users_of_a_dead_node_go_offline(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Those who were only there go offline; one who is elsewhere too stays; no trace of the dead node remains.
    """
    came = node.attach("alice").transition
    node.attach("bob")
    second_node.attach("bob")
    await roundtrip(attach(keys, "n1", "c:x", 1, limit=20, grace=0))
    redis.hset(keys.envelopes, "n1", "7")
    node.end_lease()

    reaped = await roundtrip(reap(keys, "n2", grace=0))

    assert came is not None
    assert Reaped(more=False, transitions=(Transition("u:alice", came.seq + 1, online=False),)) == reaped
    assert NOTHING == await roundtrip(reap(keys, "n2", grace=0))
    assert [] == trace_of(redis, "n1")
    assert {"u:bob"} == await roundtrip(everyone(keys))


async def test_many_users_are_reaped_in_batches(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    250 users take three calls of at most 100; `more` says so; each is told once.
    """
    users = [f"u:{number}" for number in range(250)]
    for number in range(250):
        node.attach(number)
    node.end_lease()

    steps = [await roundtrip(reap(keys, "n2", grace=0)) for _ in range(4)]

    assert REAP_BATCH == 100
    assert [(100, True), (100, True), (50, False), (0, False)] == [(len(step.transitions), step.more) for step in steps]
    told = Counter((transition.stream, transition.online) for step in steps for transition in step.transitions)
    assert Counter((user, False) for user in users) == told
    assert [] == trace_of(redis, "n1")


async def test_what_a_dead_node_had_to_tell_comes_in_batches(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    25 open transitions of a dead node, whose users are elsewhere by now, take three calls of at most 10.
    """
    transitions = set()
    for number in range(25):
        transitions.add(node.attach(number, tell=False).transition)
        second_node.attach(number)
        node.attach(number, 0)
    node.end_lease()

    steps = [await roundtrip(reap(keys, "n2", grace=0, batch=10)) for _ in range(4)]

    assert [(10, True), (10, True), (5, False), (0, False)] == [(len(step.transitions), step.more) for step in steps]
    assert {replace(transition, attempt=2) for transition in transitions if transition} == {
        transition for step in steps for transition in step.transitions
    }
    assert [] == trace_of(redis, "n1")


async def test_the_transitions_of_a_lost_answer_are_still_the_reapers(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    An answer that never came is not given again, but its transitions are counted by the renewal, and may be read.
    """
    node.attach("alice")
    node.end_lease()
    lost = await roundtrip(reap(keys, "n2", grace=0))

    assert NOTHING == await roundtrip(reap(keys, "n2", grace=0))
    renewed = await roundtrip(renew(keys, "n2", lease=LEASE, grace=GRACE))
    assert renewed is not None
    assert 1 == renewed.claims
    assert lost.transitions == await roundtrip(claims(keys, "n2"))


async def test_exactly_one_batch_asks_for_no_more(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    A node with exactly as many users as a batch is done in one call.
    """
    for number in range(5):
        node.attach(number)
    node.end_lease()

    reaped = await roundtrip(reap(keys, "n2", grace=0, batch=5))

    assert (5, False) == (len(reaped.transitions), reaped.more)


async def test_a_reaper_may_die_half_way(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What one reaper has begun another ends, and then empties the first reaper as well. What that had told is not told
    again; what it had still to tell comes once more, as another attempt.
    """
    for number in range(15):
        node.attach(number)
    second_node.attach("reaper's own")
    node.end_lease()
    begun = await roundtrip(reap(keys, "n2", grace=0, batch=10))
    told, untold = begun.transitions[:4], begun.transitions[4:]
    for transition in told:
        second_node.tell(transition)
    second_node.end_lease()
    await roundtrip(join(keys, "n3", lease=LEASE))

    transitions: list[Transition] = []
    more = True
    while more:
        step = await roundtrip(reap(keys, "n3", grace=0, batch=10))
        transitions += step.transitions
        more = step.more

    assert {replace(transition, attempt=2) for transition in untold} == {
        transition for transition in transitions if transition.attempt == 2
    }
    assert Counter([*(f"u:{number}" for number in range(15)), "u:reaper's own"]) == Counter(
        transition.stream for transition in (*told, *transitions)
    )
    assert [] == trace_of(redis, "n1") + trace_of(redis, "n2")


async def test_several_dead_nodes_one_after_another(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    Each call empties one dead node; a user of both goes offline with the second.
    """
    node.attach("alice")
    second_node.attach("alice")
    await roundtrip(join(keys, "n3", lease=LEASE))
    node.end_lease()
    second_node.end_lease()

    steps = [await roundtrip(reap(keys, "n3", grace=0)) for _ in range(2)]

    assert [([], True), (["u:alice"], False)] == [
        ([transition.stream for transition in step.transitions], step.more) for step in steps
    ]


async def test_a_reaper_whose_lease_ended_does_nothing(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A node that may be dead itself, or is unknown, reaps nobody.
    """
    node.attach("alice")
    node.end_lease()
    second_node.end_lease()
    before = everything(redis)

    assert NOTHING == await roundtrip(reap(keys, "n2", grace=0))
    assert NOTHING == await roundtrip(reap(keys, "ghost", grace=0))
    assert before == everything(redis)
    assert {"u:alice"} == await roundtrip(everyone(keys))


async def test_a_dead_nodes_users_have_a_grace_too(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    A user of a killed node who comes back elsewhere within the grace has never been offline.
    """
    node.attach("alice")
    node.attach("bob")
    node.end_lease()

    reaped = await roundtrip(reap(keys, "n2", grace=LEASE))
    came_back = await roundtrip(attach(keys, "n2", "u:alice", 1, limit=20, grace=LEASE))

    assert NOTHING == reaped
    assert came_back.transition is None


async def test_the_end_of_a_grace_is_told_once(roundtrip: RoundTrip, node: Node, keys: Keys) -> None:
    """
    Who is not back when the grace is over goes offline, with the next number; a second reap tells nothing.
    """
    came = node.attach("alice").transition
    node.attach("alice", 0)
    transitions: list[Transition] = []

    async def step() -> None:
        transitions.extend((await roundtrip(reap(keys, "n1", grace=GRACE))).transitions)

    await step()
    while not transitions:
        await step()
    await step()

    assert came is not None
    assert [Transition("u:alice", came.seq + 1, online=False)] == transitions


async def test_a_grace_counts_from_the_first_leave(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A repeated detach does not lengthen the grace.
    """
    node.attach("alice")
    node.attach("alice", 0)
    ends = redis.zscore(keys.grace, "u:alice")
    await roundtrip(attach(keys, "n1", "u:alice", 0, limit=20, grace=LEASE))

    assert ends is not None
    assert ends == redis.zscore(keys.grace, "u:alice")


async def test_due_graces_come_in_batches(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys) -> None:
    """
    No more than a batch of graces ends in one call; `more` asks for the next.
    """
    for number in range(25):
        node.attach(number)
        node.attach(number, 0)
    await until(lambda: redis.zcount(keys.grace, "-inf", now_ms(redis)) == 25)

    steps = [await roundtrip(reap(keys, "n1", grace=GRACE, batch=10)) for _ in range(3)]

    assert [(10, True), (10, True), (5, False)] == [(len(step.transitions), step.more) for step in steps]
    assert Counter(f"u:{number}" for number in range(25)) == Counter(
        transition.stream for step in steps for transition in step.transitions
    )


async def test_a_node_that_left_is_not_renewed(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    Between a leave and the reap a straggling renewal must not bring the node back.
    """
    node.attach("alice")
    await roundtrip(leave(node.keys, "n1"))

    assert await roundtrip(renew(node.keys, "n1", lease=LEASE, grace=GRACE)) is None


@pytest.mark.parametrize("has_company", [True, False])
async def test_who_had_just_come_to_a_node_that_stops(
    roundtrip: RoundTrip, node: Node, second_node: Node, new_node: NewNode, keys: Keys, has_company: bool
) -> None:
    """
    A node that stops tells what it has begun to tell: a user who had come to it just before may come back elsewhere as
    any other, within the grace, whether or not another node is being emptied first.
    """
    if has_company:
        other = new_node("n0")
        other.attach("bob")
        await roundtrip(leave(keys, other.name))
    transition = node.attach("alice", tell=False).transition
    await roundtrip(leave(keys, node.name))
    assert transition is not None
    await roundtrip(acknowledge(keys, node.name, transition, grace=LEASE))

    assert [] == second_node.reap(grace=LEASE)
    assert second_node.attach("alice").transition is None
    assert [] == second_node.reap(grace=LEASE)


async def test_who_is_elsewhere_has_no_grace(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A node that stops tells late that a user came, who is on another node: his grace begins when he leaves that one.
    """
    transition = node.attach("alice", tell=False).transition
    second_node.attach("alice")
    await roundtrip(leave(keys, node.name))
    assert transition is not None
    redis.hdel(keys.route("u:alice"), node.name)  # as when the reaper has had his stream, and not yet his claim
    await roundtrip(acknowledge(keys, node.name, transition, grace=LEASE))

    assert redis.zscore(keys.grace, "u:alice") is None
