"""Who is connected where: leases, counts, transitions, fences and limits, each operation in both colours."""

import redis as redis_py

from qrsocket.fanout.publish import publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message
from qrsocket.presence.answers import Renewed, Transition
from qrsocket.presence.table import everyone, join, leave, live_nodes, online_of, reap, renew
from tests.clients import PATIENCE
from tests.conftest import MS, RoundTrip, until
from tests.redis.attaching import Attach, Attached, attach
from tests.redis.conftest import GRACE, LEASE, Node, has_ended, now_ms

DAY_MS = 86_400_000


def everything(redis: redis_py.Redis) -> dict[bytes, bytes | None]:
    """All keys with their values, to compare before and after."""
    return {key: redis.dump(key) for key in redis.scan_iter()}


def is_day(ms: int) -> bool:
    return DAY_MS - 60_000 < ms <= DAY_MS


async def test_join_gives_a_lease(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A node that joined is live until its lease ends, by Redis' clock in milliseconds.
    """
    before = now_ms(redis)
    await roundtrip(join(keys, "n1", lease=1.5))
    after = now_ms(redis)

    assert ["n1"] == await roundtrip(live_nodes(keys))
    ends = redis.zscore(keys.nodes, "n1")
    assert ends is not None
    assert before <= ends - 1500 <= after, (before, ends, after)


async def test_renew_moves_the_end(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A renewal counts from now: it lengthens a short lease and shortens a long one.
    """
    await roundtrip(join(keys, "n1", lease=LEASE))

    assert await roundtrip(renew(keys, "n1", lease=LEASE * 2, grace=GRACE)) is not None
    longer = redis.zscore(keys.nodes, "n1")
    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is not None
    shorter = redis.zscore(keys.nodes, "n1")

    assert longer is not None
    assert shorter is not None
    assert longer - shorter > (LEASE - 10) * 1000


async def test_renew_beats_on_the_own_channel(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Each renewal publishes a heartbeat with the number of the last envelope and the epoch, on the node's own channel
    only.
    """
    redis.hset(keys.envelopes, "n1", "41")
    with redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.psubscribe(f"{keys.base}channel:*")
        channel.get_message(timeout=PATIENCE)
        epoch = await roundtrip(join(keys, "n1", lease=LEASE))
        await roundtrip(join(keys, "n2", lease=LEASE))
        await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE))
        await roundtrip(renew(keys, "n2", lease=LEASE, grace=GRACE))

        beats = [channel.get_message(timeout=PATIENCE) for _ in range(2)]

    assert [
        (keys.channel("n1").encode(), b"h\t41\t%s\t\t\n" % epoch.encode()),
        (keys.channel("n2").encode(), b"h\t0\t%s\t\t\n" % epoch.encode()),
    ] == [beat and (beat["channel"], beat["data"]) for beat in beats]


async def test_a_renewal_tells_what_redis_has_of_the_node(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    It answers with the epoch and how many streams and open transitions the node has, so that a lost answer is noticed.
    """
    node.attach("alice", 3, tell=False)
    node.attach("bob")
    node.attach_stream("c:x")
    second_node.attach("carol", tell=False)

    assert Renewed(node.epoch, claims=1, streams=3) == await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE))
    assert Renewed(node.epoch, claims=1, streams=1) == await roundtrip(renew(keys, "n2", lease=LEASE, grace=GRACE))


async def test_a_node_that_never_joined_is_fenced(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A renewal never makes a node, and without a lease nothing can be attached.
    """
    assert await roundtrip(renew(keys, "ghost", lease=LEASE, grace=GRACE)) is None
    assert Attached(Attach.FENCED) == await roundtrip(attach(keys, "ghost", "u:alice", 1, limit=20, grace=GRACE))
    assert [keys.server.encode()] == redis.keys()


async def test_a_late_renewal_is_in_time_until_someone_reaps(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    While nobody has acted on its end, a node whose lease has ended is a node: it attaches, and renews.
    """
    await roundtrip(join(keys, "n1", lease=1 * MS))
    await until(lambda: has_ended(redis, keys, "n1"))

    assert Attach.OK == (await roundtrip(attach(keys, "n1", "u:a", 1, limit=20, grace=GRACE))).status
    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is not None
    assert not has_ended(redis, keys, "n1")


async def test_a_reaped_node_is_fenced(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Once another node has reaped it, a node is never resurrected: neither its renewal nor its attach is taken.
    """
    await roundtrip(join(keys, "n1", lease=LEASE))
    await roundtrip(attach(keys, "n1", "u:alice", 1, limit=20, grace=0))
    await roundtrip(join(keys, "n2", lease=LEASE))
    await roundtrip(renew(keys, "n1", lease=1 * MS, grace=GRACE))
    await until(lambda: has_ended(redis, keys, "n1"))
    await roundtrip(reap(keys, "n2", grace=GRACE))

    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is None
    assert Attached(Attach.FENCED) == await roundtrip(attach(keys, "n1", "u:alice", 1, limit=20, grace=0))
    assert ["n2"] == await roundtrip(live_nodes(keys))
    assert set() == await roundtrip(online_of(keys, ["u:alice"]))


async def test_the_first_connection_anywhere_is_the_transition(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    A user comes online with the first connection on any node; further ones, there or elsewhere, are no transition.
    """
    first = await roundtrip(attach(keys, "n1", "u:alice", 1, limit=20, grace=GRACE))
    more = [
        await roundtrip(attach(keys, at, "u:alice", count, limit=20, grace=GRACE))
        for at, count in (("n1", 2), ("n2", 1), ("n1", 1))
    ]

    assert first.transition is not None
    assert Transition("u:alice", first.transition.seq, online=True, attempt=1) == first.transition
    assert [Attach.OK] * 4 == [attached.status for attached in (first, *more)]
    assert [None] * 3 == [attached.transition for attached in more]
    assert [(first.transition.seq, True)] * 4 == [
        (attached.known.seq, attached.known.online) for attached in (first, *more)
    ]


async def test_the_count_is_absolute(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys) -> None:
    """
    An attach that is repeated, after a lost answer say, changes nothing and tells no second transition.
    """
    once = await roundtrip(attach(keys, "n1", "u:alice", 3, limit=20, grace=GRACE))
    after_once = everything(redis)
    again = await roundtrip(attach(keys, "n1", "u:alice", 3, limit=20, grace=GRACE))

    assert (True, False) == (once.transition is not None, again.transition is not None)
    assert after_once == everything(redis)
    assert {b"n1": b"3"} == redis.hgetall(keys.route("u:alice"))


async def test_offline_is_told_when_the_last_node_lets_go(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Without a grace the transition comes with the last connection on the last node, and its number is the next one.
    """
    came = node.attach("alice").transition
    second_node.attach("alice")

    left_one = await roundtrip(attach(keys, "n1", "u:alice", 0, limit=20, grace=0))
    still_online = await roundtrip(online_of(keys, ["u:alice"]))
    left_both = await roundtrip(attach(keys, "n2", "u:alice", 0, limit=20, grace=0))
    repeated = await roundtrip(attach(keys, "n2", "u:alice", 0, limit=20, grace=0))

    assert came is not None
    assert {"u:alice"} == still_online
    assert [None, Transition("u:alice", came.seq + 1, online=False), None] == [
        attached.transition for attached in (left_one, left_both, repeated)
    ]
    assert [(came.seq, True), (came.seq + 1, False), (came.seq + 1, False)] == [
        (attached.known.seq, attached.known.online) for attached in (left_one, left_both, repeated)
    ]
    assert set() == await roundtrip(online_of(keys, ["u:alice"]))
    assert [] == redis.keys(keys.route("*")) + redis.keys(keys.streams("*"))


async def test_transitions_are_numbered_without_gaps(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    A user's transitions alternate and count up by one; the first number is the clock's, so that it is new after a loss.
    """
    before = now_ms(redis)
    transitions = []
    for count in (1, 0) * 3:
        attached = await roundtrip(attach(node.keys, "n1", "u:alice", count, limit=20, grace=0))
        transitions.append(attached.transition)
        node.tell(attached.transition)

    assert None not in transitions
    first = transitions[0]
    assert first is not None
    assert first.seq > before
    assert [Transition("u:alice", first.seq + step, online=step % 2 == 0) for step in range(6)] == transitions


async def test_the_state_is_kept_for_a_day(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    What was last decided, and the position, are kept while the user is online, and for a day after: no key of a user
    stays for ever.
    """
    kept = (node.keys.state("u:alice"), node.keys.position("u:alice"))
    node.attach("alice")
    while_online = [redis.pttl(key) for key in kept]
    node.tell((await roundtrip(attach(node.keys, "n1", "u:alice", 0, limit=20, grace=0))).transition)
    after = [redis.pttl(key) for key in kept]
    left = {key for key in redis.scan_iter() if redis.pttl(key) == -1}
    node.attach("alice")
    back = [redis.pttl(key) for key in kept]

    assert ([-1, -1], [-1, -1]) == (while_online, back)
    assert [True, True] == [is_day(ms) for ms in after], after
    assert {key.encode() for key in (node.keys.nodes, node.keys.server)} == left


async def test_a_position_is_kept_as_long_as_one_node_has_the_user(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    The position expires only once the last node has let go, also if that was reaped; and not while a grace lasts.
    """
    node.attach("alice")
    second_node.attach("alice")
    lasting = [redis.pttl(keys.position("u:alice"))]
    await roundtrip(attach(keys, "n1", "u:alice", 0, limit=20, grace=GRACE))
    lasting.append(redis.pttl(keys.position("u:alice")))
    second_node.end_lease()
    await roundtrip(reap(keys, "n1", grace=GRACE))

    assert [-1, -1] == lasting
    assert is_day(redis.pttl(keys.position("u:alice")))


async def test_the_first_number_is_the_clocks_again_when_all_was_forgotten(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A user whose state has expired begins with a number above all earlier ones.
    """
    came = node.attach("alice").transition
    went = node.attach("alice", 0, grace=0).transition
    assert went is not None
    redis.delete(keys.state("u:alice"))
    before = await until(lambda: now_ms(redis) >= went.seq and now_ms(redis))
    back = (await roundtrip(attach(keys, "n1", "u:alice", 1, limit=20, grace=0))).transition

    assert came is not None
    assert back is not None
    assert (True, 1) == (back.online, back.attempt)
    assert back.seq > before
    assert came.seq < went.seq < back.seq


async def test_a_reload_within_the_grace_is_no_transition(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis
) -> None:
    """
    A user who goes and comes back within the grace has never been offline, and nothing is left waiting.
    """
    node.attach("alice")
    went = await roundtrip(attach(node.keys, "n1", "u:alice", 0, limit=20, grace=LEASE))
    waiting = redis.zrange(node.keys.grace, 0, -1)
    came = await roundtrip(attach(node.keys, "n1", "u:alice", 1, limit=20, grace=LEASE))

    assert (None, None) == (went.transition, came.transition)
    assert (True, True) == (went.known.online, came.known.online)
    assert went.known.seq == came.known.seq
    assert [b"u:alice"] == waiting
    assert [] == redis.zrange(node.keys.grace, 0, -1)


async def test_a_grace_that_is_cut_short_is_over(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Who is in a grace, and is said to be gone at once, is told as gone, and is waited for no longer.
    """
    node.attach("alice")
    node.attach("alice", 0, grace=LEASE)
    waiting = redis.zcard(keys.grace)
    gone = await roundtrip(attach(keys, "n1", "u:alice", 0, limit=20, grace=0))

    assert 1 == waiting
    assert gone.transition is not None
    assert 0 == redis.zcard(keys.grace)


async def test_the_limit_counts_all_nodes(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Up to the limit on all nodes together, then LIMIT, and nothing has changed.
    """
    node.attach("alice", 2)
    full = await roundtrip(attach(keys, "n2", "u:alice", 1, limit=3, grace=GRACE))
    before = everything(redis)

    over = [
        await roundtrip(attach(keys, at, "u:alice", count, limit=3, grace=GRACE))
        for at, count in (("n1", 3), ("n2", 2))
    ]

    assert Attach.OK == full.status
    assert [Attached(Attach.LIMIT)] * 2 == over
    assert before == everything(redis)


async def test_the_limit_of_one_node_alone(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys) -> None:
    """
    The first connections may be too many as well, and leave no trace of the user.
    """
    before = everything(redis)
    refused = await roundtrip(attach(keys, "n1", "u:alice", 4, limit=3, grace=GRACE))

    assert Attached(Attach.LIMIT) == refused
    assert before == everything(redis)


async def test_a_falling_count_is_never_refused(roundtrip: RoundTrip, node: Node, keys: Keys) -> None:
    """
    Over a limit that was lowered meanwhile, connections may still close, and the same count be repeated.
    """
    node.attach("alice", 5)

    same = await roundtrip(attach(keys, "n1", "u:alice", 5, limit=3, grace=GRACE))
    fewer = await roundtrip(attach(keys, "n1", "u:alice", 4, limit=3, grace=GRACE))
    more = await roundtrip(attach(keys, "n1", "u:alice", 5, limit=3, grace=GRACE))

    assert [Attach.OK, Attach.OK, Attach.LIMIT] == [same.status, fewer.status, more.status]


async def test_a_connection_without_a_user_is_no_transition(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Connections without a user are routed to like users, and have no hooks, no state, no grace; when one has gone, what
    was sent to it is not kept, since it never comes back.
    """
    came = await roundtrip(attach(keys, "n1", "c:x", 1, limit=1, grace=GRACE))
    online = await roundtrip(online_of(keys, ["c:x", "u:x"]))
    await roundtrip(publish(keys, Message(Kind.TEXT, b"hello"), "m1", ["c:x"]))
    kept = redis.exists(keys.position("c:x"), keys.history("c:x"))
    redis.delete(keys.sent("m1"), keys.envelopes)
    went = await roundtrip(attach(keys, "n1", "c:x", 0, limit=1, grace=GRACE))

    assert [(Attach.OK, 0, False, None)] * 2 == [
        (attached.status, attached.known.seq, attached.known.online, attached.transition) for attached in (came, went)
    ]
    assert {"c:x"} == online
    assert 2 == kept
    assert {keys.nodes.encode(), keys.server.encode()} == set(redis.keys())


async def test_what_was_sent_to_a_connection_of_a_dead_node_goes_with_it(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Reaping a node drops the streams of its connections without a user, and keeps those of its users.
    """
    for stream in ("c:x", "u:alice"):
        node.attach_stream(stream)
        await roundtrip(publish(keys, Message(Kind.TEXT, b"hello"), f"to {stream}", [stream]))
    node.end_lease()
    await roundtrip(reap(keys, "n2", grace=0))

    assert 0 == redis.exists(keys.position("c:x"), keys.history("c:x"))
    assert 2 == redis.exists(keys.position("u:alice"), keys.history("u:alice"))


async def test_online_answers_for_many(roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys) -> None:
    """
    Of those asked for, the ones with a connection on any node, whatever their order; an unknown one is offline.
    """
    node.attach("alice")
    second_node.attach("bob")
    second_node.attach("carol")

    assert {"u:alice", "u:bob"} == await roundtrip(online_of(keys, ["u:nobody", "u:bob", "u:alice"]))
    assert set() == await roundtrip(online_of(keys, ["u:nobody"]))


async def test_everyone_is_each_user_once(roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys) -> None:
    """
    Every user connected to any node, once; connections without a user and topics are nobody.
    """
    node.attach("alice", 2)
    node.attach("bob")
    second_node.attach("alice")
    for stream in ("c:x", "t:u:dora", "*", "m:room u:eve"):
        await roundtrip(attach(keys, "n2", stream, 1, limit=0, grace=GRACE))

    assert {"u:alice", "u:bob"} == await roundtrip(everyone(keys))


async def test_nobody_is_online_in_an_empty_redis(roundtrip: RoundTrip, keys: Keys) -> None:
    """
    An empty Redis has no nodes and nobody online.
    """
    assert [] == await roundtrip(live_nodes(keys))
    assert set() == await roundtrip(everyone(keys))
    assert set() == await roundtrip(online_of(keys, ["u:alice"]))


async def test_a_node_without_users_leaves_at_once(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A node that has detached all leaves no trace of itself, and its renewal is fenced.
    """
    await roundtrip(join(keys, "n1", lease=LEASE))
    redis.hset(keys.envelopes, "n1", "5")
    await roundtrip(leave(keys, "n1"))

    assert [keys.server.encode()] == redis.keys()
    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is None


async def test_a_node_that_leaves_users_behind_is_reaped_next(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What a leaving node still has is emptied by the next reap, without waiting for the lease.
    """
    came = node.attach("alice").transition
    await roundtrip(leave(keys, "n1"))
    reaped = await roundtrip(reap(keys, "n2", grace=0))

    assert came is not None
    assert (Transition("u:alice", came.seq + 1, online=False),) == reaped.transitions
    assert ["n2"] == await roundtrip(live_nodes(keys))
    assert [] == redis.keys(keys.streams("*"))


async def test_leaving_twice_is_harmless(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A leave that is repeated, or of a node that never was, changes nothing.
    """
    await roundtrip(leave(keys, "ghost"))
    await roundtrip(leave(keys, "ghost"))

    assert {} == everything(redis)
