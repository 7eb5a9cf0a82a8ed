"""Redis comes back as another process, or empty: positions end, nobody is said to have come or gone, leases last."""

from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from qrsocket.fanout.history import read, tops
from qrsocket.fanout.publish import publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.position import Position
from qrsocket.presence.answers import Known, Renewed, Transition
from qrsocket.presence.table import join, leave, live_nodes, reap, reclaim, renew
from qrsocket.roundtrip import Call
from tests.conftest import RoundTrip, until
from tests.redis.attaching import attach
from tests.redis.conftest import GRACE, LEASE, MortalRedis, NewNode, Node, now_ms, pass_time

ALICE, BOB = "u:alice", "u:bob"
HELLO = Message(Kind.TEXT, b"hello")

# All that read or write a position, or decide about presence.
EACH: dict[str, Callable[[Keys], Call[Any]]] = {
    "join": lambda keys: join(keys, "n9", lease=LEASE),
    "renew": lambda keys: renew(keys, "n1", lease=LEASE, grace=GRACE),
    "attach": lambda keys: attach(keys, "n1", ALICE, 1, limit=20, grace=GRACE),
    "reclaim": lambda keys: reclaim(keys, "n1", Transition(ALICE, 1, online=True), former="n0", epoch="1-abc"),
    "reap": lambda keys: reap(keys, "n1", grace=GRACE),
    "publish": lambda keys: publish(keys, HELLO, "m1", [ALICE]),
    "read": lambda keys: read(keys, ALICE, Position("1-abc", 1)),
    "tops": lambda keys: tops(keys, [ALICE]),
}


@pytest.fixture
def node(mortal_redis: MortalRedis) -> Node:
    """A node named "n1" that joined a server which may be killed."""
    return Node(mortal_redis.client, "n1")


@pytest.fixture
def new_mortal_node(mortal_redis: MortalRedis) -> NewNode:
    """Makes nodes of a server which may be killed."""
    return lambda name, **options: Node(mortal_redis.client, name, **options)


def epoch_of(redis: redis_py.Redis, keys: Keys) -> str:
    epoch = redis.hget(keys.server, "epoch")
    return "" if epoch is None else epoch.decode()


def settles_for(redis: redis_py.Redis, keys: Keys) -> float:
    """Return for how many seconds nobody is said to have come or gone."""
    return (int(redis.hget(keys.server, "quiet_until") or 0) - now_ms(redis)) / 1000


def payloads(entries: Any) -> list[bytes]:
    return [entry.message.payload for entry in entries]


@pytest.mark.parametrize("name", EACH)
async def test_the_first_call_finds_another_process(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, name: str
) -> None:
    """
    Whatever is called first after a restart, before it does anything it finds that the epoch is another.
    """
    await roundtrip(EACH[name](node.keys))
    before = epoch_of(mortal_redis.client, node.keys)
    mortal_redis.restart()
    await roundtrip(EACH[name](node.keys))

    assert node.epoch == before
    assert before != epoch_of(mortal_redis.client, node.keys)


@pytest.mark.parametrize("name", EACH)
async def test_the_first_call_of_each_application_finds_it(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, name: str
) -> None:
    """
    Also where another application, or another shard, on the same server was first, and has brought the script back.
    """
    others = Keys("qrsocket:other:{q0}:")
    for keys in (node.keys, others):
        await roundtrip(EACH[name](keys))
    mortal_redis.restart()
    await roundtrip(EACH[name](others))
    await roundtrip(EACH[name](node.keys))

    assert node.epoch != epoch_of(mortal_redis.client, node.keys)


@pytest.mark.parametrize("loss", ["restart", "roll_back", "wipe", "flush"])
async def test_an_epoch_ends_with_what_redis_remembers(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, loss: str
) -> None:
    """
    Started from its log, from an old dump or from nothing, or emptied as it runs: a position of before is not whole,
    what is sent from then on has higher offsets, and a position of now is whole.
    """
    redis, keys = mortal_redis.client, node.keys
    node.attach("alice")
    await roundtrip(publish(keys, HELLO, "m1", [ALICE]))
    mortal_redis.keep_dump()
    for number in (2, 3, 4):
        await roundtrip(publish(keys, HELLO, f"m{number}", [ALICE]))
    before = (await roundtrip(tops(keys, [ALICE])))[ALICE]
    await until(lambda: now_ms(redis) > before.offset)

    redis.flushall() if loss == "flush" else getattr(mortal_redis, loss)()
    await roundtrip(publish(keys, Message(Kind.TEXT, b"after"), "m5", [ALICE]))
    came_back = await roundtrip(read(keys, ALICE, before))

    assert before.epoch != came_back.top.epoch
    assert came_back.top.offset > before.offset
    assert (False, b"after") == (came_back.is_whole, payloads(came_back.entries)[-1])
    assert came_back.top == came_back.reached
    await roundtrip(publish(keys, HELLO, "m6", [ALICE]))
    assert (await roundtrip(read(keys, ALICE, came_back.top))).is_whole


@pytest.mark.parametrize("loss", ["restart", "wipe"])
async def test_a_position_of_a_new_epoch_is_whole(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, loss: str
) -> None:
    """
    Who connects after a restart, before anything is sent, has a position from which the first message is the next.
    """
    keys = node.keys
    node.attach("alice")
    await roundtrip(publish(keys, HELLO, "m1", [ALICE]))
    getattr(mortal_redis, loss)()
    position = (await roundtrip(tops(keys, [ALICE])))[ALICE]
    await roundtrip(publish(keys, Message(Kind.TEXT, b"after"), "m2", [ALICE]))
    page = await roundtrip(read(keys, ALICE, position))

    assert (True, [b"after"]) == (page.is_whole, payloads(page.entries))
    assert position.offset + 1 == page.top.offset


async def test_an_epoch_outlives_a_forgotten_script(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    The same process that only forgot its scripts is the same: positions stay whole.
    """
    since = (await roundtrip(tops(node.keys, [ALICE])))[ALICE]
    for number in (1, 2):
        mortal_redis.client.script_flush()
        await roundtrip(publish(node.keys, HELLO, f"m{number}", [ALICE]))
    page = await roundtrip(read(node.keys, ALICE, since))

    assert (True, 2, node.epoch) == (page.is_whole, len(page.entries), page.top.epoch)


async def test_what_a_log_has_is_read_after_a_restart(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    After a restart with nothing lost, who comes back gets what it has not seen, and no message twice, but is told that
    it may not be all.
    """
    keys = node.keys
    for number in (1, 2, 3):
        await roundtrip(publish(keys, Message(Kind.TEXT, b"%d" % number), f"m{number}", [ALICE]))
        if number == 1:
            since = (await roundtrip(tops(keys, [ALICE])))[ALICE]
    mortal_redis.restart()
    page = (await roundtrip(attach(keys, "n1", ALICE, 1, limit=20, grace=GRACE, since=since))).missed

    assert page is not None
    assert (False, [b"2", b"3"]) == (page.is_whole, payloads(page.entries))
    assert Position(page.top.epoch, since.offset) == page.start


async def test_offsets_after_a_roll_back_are_new(roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node) -> None:
    """
    From a dump older than what clients have seen, no offset is given again, and who has seen more than the dump has
    gets only what is new.
    """
    redis, keys = mortal_redis.client, node.keys
    mortal_redis.keep_dump()
    for number in range(20):
        await roundtrip(publish(keys, HELLO, f"m{number}", [ALICE]))
    seen = (await roundtrip(tops(keys, [ALICE])))[ALICE]
    mortal_redis.roll_back()
    for number in (20, 21):
        await roundtrip(publish(keys, Message(Kind.TEXT, b"%d" % number), f"m{number}", [ALICE]))
    page = await roundtrip(read(keys, ALICE, seen))

    assert [b"20", b"21"] == payloads(page.entries)
    assert page.entries[0].offset > seen.offset
    assert page.top.epoch == epoch_of(redis, keys)


@pytest.mark.parametrize("loss", ["wipe", "flush"])
async def test_what_is_sent_before_the_nodes_are_back_is_kept(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, loss: str
) -> None:
    """
    A message that is published into an emptied Redis reaches no node; who comes back, with an old position, reads it.
    """
    redis, keys = mortal_redis.client, node.keys
    before = node.attach("alice").missed
    assert before is not None
    redis.flushall() if loss == "flush" else mortal_redis.wipe()
    routed = await roundtrip(publish(keys, HELLO, "m1", [ALICE]))
    back = Node(redis, "n2", epoch=node.epoch)
    page = back.attach("alice", since=before.top).missed

    assert page is not None
    assert (0, False, [HELLO.payload]) == (routed.connections, page.is_whole, payloads(page.entries))
    assert Position(back.epoch, page.top.offset - 1) == page.start
    assert -1 == redis.pttl(keys.position(ALICE))


async def test_a_renewal_tells_of_the_other_process(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    A renewal compares the process each time, even if that knows the script: the node learns that it must come back.
    """
    call = renew(node.keys, "n1", lease=LEASE, grace=GRACE)
    assert call.script is not None
    mortal_redis.restart()
    mortal_redis.client.script_load(call.script.source)
    renewed = await roundtrip(call)

    assert renewed is not None
    assert renewed.epoch == epoch_of(mortal_redis.client, node.keys)
    assert node.epoch != renewed.epoch


@pytest.mark.parametrize("loss", ["wipe", "flush"])
async def test_an_emptied_redis_knows_no_node(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, loss: str
) -> None:
    """
    A renewal is refused there, so that the node comes back under a new name and says who is connected.
    """
    mortal_redis.client.flushall() if loss == "flush" else mortal_redis.wipe()

    assert await roundtrip(renew(node.keys, "n1", lease=LEASE, grace=GRACE)) is None
    assert [] == await roundtrip(live_nodes(node.keys))


async def test_a_redis_that_begins_has_nothing_to_settle(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    On a Redis that never had a node the first user comes online at once.
    """
    assert settles_for(mortal_redis.client, node.keys) < 0
    assert (await roundtrip(attach(node.keys, "n1", ALICE, 1, limit=20, grace=GRACE))).transition is not None


async def test_nobody_comes_or_goes_while_it_settles(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    For half a lease after a restart neither coming nor going is told, however short the grace; both wait for the end.
    """
    redis, keys = mortal_redis.client, node.keys
    node.attach("alice")
    mortal_redis.restart()
    node.renew()
    went = await roundtrip(attach(keys, "n1", ALICE, 0, limit=20, grace=0))
    came = await roundtrip(attach(keys, "n1", BOB, 1, limit=20, grace=0))
    waiting = redis.zrange(keys.grace, 0, -1, withscores=True)

    assert LEASE / 2 - 10 < settles_for(redis, keys) <= LEASE / 2
    assert (None, None) == (went.transition, came.transition)
    assert {ALICE.encode(), BOB.encode()} == {stream for stream, _ in waiting}
    assert {float(redis.hget(keys.server, "quiet_until") or 0)} == {at for _, at in waiting}
    assert [] == node.reap()


async def test_what_waited_is_told_when_it_has_settled(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    When the settling is over, a reap tells who has really come and gone meanwhile, each once.
    """
    redis, keys = mortal_redis.client, node.keys
    first = node.attach("alice").transition
    mortal_redis.restart()
    node.renew()
    node.attach("alice", 0)
    node.attach("bob")
    pass_time(redis, keys, LEASE / 2)
    node.renew()
    pass_time(redis, keys, GRACE)
    reaped = await roundtrip(reap(keys, "n1", grace=GRACE))

    assert first is not None
    bob = next(transition for transition in reaped.transitions if transition.stream == BOB)
    assert {Transition(ALICE, first.seq + 1, online=False), Transition(BOB, bob.seq, online=True)} == set(
        reaped.transitions
    )
    assert [] == node.reap()


@pytest.mark.parametrize("is_back", [True, False])
async def test_who_is_back_in_time_was_never_gone(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node, is_back: bool
) -> None:
    """
    In an emptied Redis a node says what it knows, and who is connected or not: nobody who is back comes online again,
    and who went is told as gone, with the next number.
    """
    redis, keys = mortal_redis.client, node.keys
    came = node.attach("alice").transition
    assert came is not None
    mortal_redis.wipe()
    back = Node(redis, "n2", epoch=node.epoch)
    known = Known(came.seq, True, came.seq, True)
    again = await roundtrip(attach(keys, "n2", ALICE, int(is_back), limit=20, grace=GRACE, known=known))
    pass_time(redis, keys, LEASE / 2 + 1)
    back.renew()
    pass_time(redis, keys, GRACE)

    assert (None, came.seq, True) == (again.transition, again.known.seq, again.known.online)
    assert ([] if is_back else [Transition(ALICE, came.seq + 1, online=False)]) == back.reap()


async def test_only_who_was_a_node_before_makes_it_settle(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    An emptied Redis cannot know that it is one. The first node that comes back from another epoch says so; the time
    counts from when the emptiness was found, and is not begun again by those who come late.
    """
    redis, keys = mortal_redis.client, node.keys
    mortal_redis.wipe()
    epoch = await roundtrip(join(keys, "new", lease=LEASE))
    of_the_new = settles_for(redis, keys)
    await roundtrip(join(keys, "newer", lease=LEASE, epoch=epoch))
    of_the_newer = settles_for(redis, keys)
    await roundtrip(join(keys, "back", lease=LEASE, epoch=node.epoch))
    of_who_is_back = settles_for(redis, keys)
    pass_time(redis, keys, LEASE)
    began, _, process = epoch.partition("-")
    redis.hset(keys.server, "epoch", f"{int(began) - round(LEASE * 1000)}-{process}")
    await roundtrip(join(keys, "late", lease=LEASE, epoch=node.epoch))

    assert of_the_new < 0
    assert of_the_newer < 0
    assert LEASE / 2 - 10 < of_who_is_back <= LEASE / 2
    assert settles_for(redis, keys) < 0


async def test_a_roll_back_does_not_bring_back_who_has_left(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    Who is online in an old dump, and has gone since, is told neither as coming nor, a second time, as going.
    """
    redis, keys = mortal_redis.client, node.keys
    came = node.attach("alice").transition
    mortal_redis.keep_dump()
    went = node.attach("alice", 0, grace=0).transition
    assert came is not None
    assert went is not None
    mortal_redis.roll_back()
    back = Node(redis, "n2", epoch=node.epoch)
    known = Known(went.seq, False, went.seq, False)
    attached = await roundtrip(attach(keys, "n2", ALICE, 0, limit=20, grace=0, known=known))
    await roundtrip(leave(keys, "n1"))  # its route is in the dump
    emptied = back.reap()
    pass_time(redis, keys, LEASE / 2)
    back.renew()

    assert (None, went.seq, False) == (attached.transition, attached.known.seq, attached.known.online)
    assert ([], []) == (emptied, back.reap())
    assert [] == redis.keys(keys.route("*"))


async def test_a_reap_after_a_roll_back_waits_for_those_who_are_back(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    A reap that finds another process, before any renewal has, declares nobody offline: a user whose grace runs in the
    dump may be back since.
    """
    redis, keys = mortal_redis.client, node.keys
    node.attach("alice")
    node.renew()
    node.attach("alice", 0, grace=GRACE)
    mortal_redis.keep_dump()
    node.attach("alice")
    mortal_redis.roll_back()
    pass_time(redis, keys, GRACE)

    assert () == (await roundtrip(reap(keys, "n1", grace=GRACE))).transitions


async def test_an_outage_ends_no_lease(
    roundtrip: RoundTrip, new_mortal_node: NewNode, mortal_redis: MortalRedis
) -> None:
    """
    When no node has renewed for half a lease, the first that does lengthens the leases of all, and all graces: nobody
    is declared dead or offline because Redis was away.
    """
    redis = mortal_redis.client
    first, second = new_mortal_node("n1"), new_mortal_node("n2")
    keys = first.keys
    first.attach("alice")
    second.attach("bob")
    first.attach("carol")
    first.attach("carol", 0)
    first.renew()
    pass_time(redis, keys, 2 * LEASE)
    mortal_redis.restart()

    renewed = await roundtrip(renew(keys, "n1", lease=LEASE, grace=LEASE))
    now = now_ms(redis)

    assert isinstance(renewed, Renewed)
    assert [True, True] == [
        ends - now > (LEASE - 10) * 1000 for _, ends in redis.zrange(keys.nodes, 0, -1, withscores=True)
    ]
    assert (redis.zscore(keys.grace, "u:carol") or 0) - now > (LEASE - 10) * 1000
    assert [] == first.reap()
    assert {"n1", "n2"} == set(await roundtrip(live_nodes(keys)))


async def test_a_reap_right_after_an_outage_does_nothing(
    roundtrip: RoundTrip, new_mortal_node: NewNode, mortal_redis: MortalRedis
) -> None:
    """
    A reap that comes before any renewal, queued while Redis was frozen, say, declares nobody dead or offline.
    """
    redis = mortal_redis.client
    first, second = new_mortal_node("n1"), new_mortal_node("n2")
    keys = first.keys
    second.attach("bob")
    first.attach("carol")
    first.attach("carol", 0)
    first.renew()
    pass_time(redis, keys, LEASE * 0.6)
    redis.zadd(keys.nodes, {"n2": now_ms(redis) - 1})

    assert () == (await roundtrip(reap(keys, "n1", grace=0))).transitions
    assert {"n1", "n2"} == set(await roundtrip(live_nodes(keys)))
    assert 1 == redis.zcard(keys.grace)


async def test_leases_are_lengthened_once(
    roundtrip: RoundTrip, new_mortal_node: NewNode, mortal_redis: MortalRedis
) -> None:
    """
    The second renewal after an outage is one as any other: who does not come back is dead when its lease has ended.
    """
    redis = mortal_redis.client
    first, second = new_mortal_node("n1"), new_mortal_node("n2")
    keys = first.keys
    came = second.attach("bob").transition
    first.renew()
    pass_time(redis, keys, 2 * LEASE)
    await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE))
    for _ in range(3):  # as time passes, the first goes on and the second does not
        pass_time(redis, keys, LEASE * 0.4)
        await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE))

    assert came is not None
    assert [Transition(BOB, came.seq + 1, online=False)] == first.reap()
    assert ["n1"] == await roundtrip(live_nodes(keys))


async def test_a_renewal_lengthens_no_other_lease(
    roundtrip: RoundTrip, new_mortal_node: NewNode, mortal_redis: MortalRedis
) -> None:
    """
    As long as some node renews in time, the silence of another is its own fault, and so is a grace that ends.
    """
    redis = mortal_redis.client
    first, _ = new_mortal_node("n1"), new_mortal_node("n2")
    keys = first.keys
    first.attach("carol")
    first.attach("carol", 0)
    await roundtrip(renew(keys, "n1", lease=LEASE, grace=LEASE))
    pass_time(redis, keys, LEASE * 0.4)
    before = redis.zscore(keys.nodes, "n2"), redis.zscore(keys.grace, "u:carol")
    await roundtrip(renew(keys, "n1", lease=LEASE, grace=LEASE))

    assert before == (redis.zscore(keys.nodes, "n2"), redis.zscore(keys.grace, "u:carol"))


async def test_the_beat_is_the_last_renewal_of_any_node(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, node: Node
) -> None:
    """
    Redis remembers when a node has last renewed; joining is no renewal, and a fenced node's is none.
    """
    redis, keys = mortal_redis.client, node.keys
    await roundtrip(renew(keys, "ghost", lease=LEASE, grace=GRACE))
    at_first = redis.hget(keys.server, "beat")
    before = now_ms(redis)
    await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE))

    assert at_first is None
    assert before <= int(redis.hget(keys.server, "beat") or 0) <= now_ms(redis)
