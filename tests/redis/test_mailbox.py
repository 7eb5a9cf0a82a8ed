"""A user's mailbox of transitions: told in order, one at a time, by one node, and by another only if that was lost."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import redis as redis_py
from redis.exceptions import ResponseError

from qrsocket.keys import Keys
from qrsocket.presence.answers import Known, Transition
from qrsocket.presence.table import acknowledge, claims, join, leave, reap, reclaim, renew
from tests.conftest import RoundTrip
from tests.redis.attaching import attach
from tests.redis.conftest import GRACE, LEASE, MortalRedis, Node, pass_time

ALICE = "u:alice"


def everything(redis: redis_py.Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter()}


def mailbox(redis: redis_py.Redis, keys: Keys) -> list[tuple[int, str]]:
    """Alice's transitions that are not told yet, oldest first."""
    return [
        (int(seq), kind.decode())
        for seq, kind in (transition.split(b"|") for transition in redis.lrange(keys.transitions(ALICE), 0, -1))
    ]


def came(node: Node) -> Transition:
    """Let alice come online at *node*, and return the transition, which is still to be told."""
    transition = node.attach("alice", tell=False).transition
    assert transition is not None
    assert transition.online
    return transition


def left(node: Node, *, tell: bool = True) -> int:
    """Let alice go offline, and return the number of that."""
    attached = node.attach("alice", 0, grace=0, tell=tell)
    assert not attached.known.online
    return attached.known.seq


def told(transition: Transition) -> Known:
    """What a node knows that has told *transition*."""
    return Known(transition.seq, transition.online, transition.seq, transition.online)


def untold(seq: int, *, online: bool) -> Known:
    return Known(seq, online)


# One at a time.


async def test_a_transition_is_handed_out_when_the_one_before_is_told(roundtrip: RoundTrip, node: Node) -> None:
    """
    While a user's transition is being told, others wait in order; each acknowledgement hands over the next.
    """
    first = came(node)
    waiting = [
        await roundtrip(attach(node.keys, "n1", ALICE, count, limit=20, grace=0, known=untold(first.seq, online=True)))
        for count in (0, 1, 0)
    ]

    assert [None] * 3 == [attached.transition for attached in waiting]
    assert [(first.seq + 1, False), (first.seq + 2, True), (first.seq + 3, False)] == [
        (attached.known.seq, attached.known.online) for attached in waiting
    ]
    following = [await roundtrip(acknowledge(node.keys, "n1", first, grace=GRACE))]
    while transition := following[-1]:
        following.append(await roundtrip(acknowledge(node.keys, "n1", transition, grace=GRACE)))
    assert [Transition(ALICE, first.seq + step, online=step == 2) for step in (1, 2, 3)] + [None] == following


async def test_an_open_transition_is_one_nodes(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What happens on other nodes meanwhile is told by the one that is telling already.
    """
    first = came(node)
    second_node.attach("alice", tell=False)
    node.attach("alice", 0, grace=0, tell=False)
    went = await roundtrip(attach(keys, "n2", ALICE, 0, limit=20, grace=0))

    assert went.transition is None
    assert (first,) == await roundtrip(claims(keys, "n1"))
    assert () == await roundtrip(claims(keys, "n2"))
    assert Transition(ALICE, first.seq + 1, online=False) == await roundtrip(
        acknowledge(keys, "n1", first, grace=GRACE)
    )
    assert [(first.seq + 1, "offline")] == mailbox(redis, keys)


async def test_users_do_not_wait_for_each_other(roundtrip: RoundTrip, node: Node, keys: Keys) -> None:
    """
    Each user has a mailbox of its own: a node may have to tell many transitions at once, and their order is free.
    """
    transitions = [node.attach(user, tell=False).transition for user in ("alice", "bob", "carol")]
    read = await roundtrip(claims(keys, "n1"))

    assert set(transitions) == set(read)
    assert None not in transitions
    assert [None] * 3 == [
        await roundtrip(acknowledge(keys, "n1", transition, grace=GRACE)) for transition in reversed(read)
    ]
    assert () == await roundtrip(claims(keys, "n1"))


async def test_what_was_told_leaves_nothing_behind(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    When all is told there is neither mailbox nor claim, and the next transition is handed out at once.
    """
    first = came(node)
    await roundtrip(acknowledge(keys, "n1", first, grace=GRACE))
    leftovers = redis.exists(keys.transitions(ALICE), keys.claim(ALICE), keys.claims("n1"))
    went = await roundtrip(attach(keys, "n1", ALICE, 0, limit=20, grace=0))

    assert 0 == leftovers
    assert Transition(ALICE, first.seq + 1, online=False) == went.transition


async def test_only_who_has_a_transition_can_acknowledge_it(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    The acknowledgement of another node, of another number, of another user or of nobody's transition changes nothing.
    """
    first = came(node)
    second_node.attach("bob")
    before = everything(redis)
    stale = [
        await roundtrip(acknowledge(keys, at, transition, grace=GRACE))
        for at, transition in (
            ("n2", first),
            ("ghost", first),
            ("n1", replace(first, seq=first.seq - 1)),
            ("n1", replace(first, seq=first.seq + 1)),
            ("n1", replace(first, stream="u:bob")),
            ("n1", replace(first, stream="u:nobody")),
        )
    ]

    assert [None] * 6 == stale
    assert before == everything(redis)


async def test_an_acknowledgement_may_be_repeated(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    When its answer was lost, the same again changes nothing: what it handed over stays open, and may be read.
    """
    first = came(node)
    left(node, tell=False)
    following = await roundtrip(acknowledge(keys, "n1", first, grace=GRACE))
    before = everything(redis)

    assert await roundtrip(acknowledge(keys, "n1", first, grace=GRACE)) is None
    assert before == everything(redis)
    assert (following,) == await roundtrip(claims(keys, "n1"))


# Lost with its node.


async def test_the_transition_of_a_dead_node_is_anothers(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What a dead node had to tell, the one that reaps it tells: the same id, the next attempt; and again if that dies.
    """
    first = came(node)
    second_node.attach("alice")
    node.end_lease()
    second = (await roundtrip(reap(keys, "n2", grace=0))).transitions
    third_node = Node(redis, "n3")
    third_node.attach("alice")
    second_node.end_lease()
    third = (await roundtrip(reap(keys, "n3", grace=0))).transitions

    assert (replace(first, attempt=2),) == second
    assert (replace(first, attempt=3),) == third
    assert {first.id} == {transition.id for transition in (*second, *third)}
    assert third == await roundtrip(claims(keys, "n3"))
    third_node.hang_up()


async def test_the_acknowledgement_of_a_dead_node_comes_too_late(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    Once its transition is another's, a node that was only slow neither ends it nor gets the next.
    """
    first = came(node)
    node.end_lease()
    (again,) = (await roundtrip(reap(keys, "n2", grace=0))).transitions

    assert await roundtrip(acknowledge(keys, "n1", first, grace=GRACE)) is None
    assert (again,) == await roundtrip(claims(keys, "n2"))
    following = await roundtrip(acknowledge(keys, "n2", again, grace=GRACE))
    assert Transition(ALICE, first.seq + 1, online=False, attempt=1) == following


async def test_a_slow_node_gets_nothing_more(roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys) -> None:
    """
    A node that is being emptied still ends what it has told, but the next transition is for whoever empties it, as a
    first attempt: it may be told only once.
    """
    first = came(node)
    left(node, tell=False)
    await roundtrip(leave(keys, "n1"))

    assert await roundtrip(acknowledge(keys, "n1", first, grace=GRACE)) is None
    assert (Transition(ALICE, first.seq + 1, online=False),) == (await roundtrip(reap(keys, "n2", grace=0))).transitions


async def test_a_node_that_leaves_hands_over_what_it_has_not_told(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A leave does not wait for the lease: the next reap of another node takes over, also if no user is there any more.
    """
    first = came(node)
    second_node.attach("alice")
    node.attach("alice", 0)
    await roundtrip(leave(keys, "n1"))

    assert (replace(first, attempt=2),) == (await roundtrip(reap(keys, "n2", grace=0))).transitions
    assert [] == redis.keys(keys.claims("n1")) + redis.zrange(keys.reaping, 0, -1)


async def test_a_transition_that_a_reap_causes_waits_its_turn(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    Who was only on the dead node goes offline after the coming online, which that had not told, is.
    """
    first = came(node)
    node.end_lease()
    reaped = (await roundtrip(reap(keys, "n2", grace=0))).transitions

    assert (replace(first, attempt=2),) == reaped
    assert Transition(ALICE, first.seq + 1, online=False) == await roundtrip(
        acknowledge(keys, "n2", reaped[0], grace=GRACE)
    )


# Back under a new name.


async def test_a_node_goes_on_under_a_new_name(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What it had to tell under its former name is its own again, as the same attempt; giving that name up hands it to
    nobody.
    """
    first = came(node)
    back = Node(redis, "n1.new", epoch=node.epoch)
    taken = await roundtrip(reclaim(keys, "n1.new", first, former="n1", epoch=node.epoch))
    back.attach("alice")
    await roundtrip(leave(keys, "n1"))

    assert taken
    assert () == (await roundtrip(reap(keys, "n1.new", grace=0))).transitions
    assert (first,) == await roundtrip(claims(keys, "n1.new"))
    assert await roundtrip(acknowledge(keys, "n1", first, grace=GRACE)) is None
    assert [(first.seq, "online")] == mailbox(redis, keys)
    assert await roundtrip(acknowledge(keys, "n1.new", first, grace=GRACE)) is None
    assert [] == mailbox(redis, keys)
    back.hang_up()


async def test_a_second_attempt_stays_one_under_a_new_name(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    To come back is no attempt: only another node's taking over counts.
    """
    came(node)
    node.end_lease()
    (second,) = second_node.reap()
    back = Node(redis, "n2.new", epoch=second_node.epoch)
    await roundtrip(reclaim(keys, "n2.new", second, former="n2", epoch=second_node.epoch))

    assert 2 == second.attempt
    assert (second,) == await roundtrip(claims(keys, "n2.new"))
    back.hang_up()


async def test_to_reclaim_twice_is_harmless(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A repeated reclaim, after a lost answer say, says yes again and changes nothing.
    """
    first = came(node)
    back = Node(redis, "n1.new", epoch=node.epoch)
    call = reclaim(keys, "n1.new", first, former="n1", epoch=node.epoch)
    once = await roundtrip(call)
    before = everything(redis)

    assert (True, True) == (once, await roundtrip(call))
    assert before == everything(redis)
    back.hang_up()


async def test_what_another_node_tells_by_now_is_not_taken_back(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A node that was away too long leaves its transition to the one that has reaped it.
    """
    first = came(node)
    node.end_lease()
    (again,) = second_node.reap()
    back = Node(redis, "n1.new", epoch=node.epoch)
    before = everything(redis)

    assert not await roundtrip(reclaim(keys, "n1.new", first, former="n1", epoch=node.epoch))
    assert before == everything(redis)
    assert (again,) == await roundtrip(claims(keys, "n2"))
    back.hang_up()


@pytest.mark.parametrize("is_more", [True, False], ids=["more to tell", "all told"])
async def test_what_was_told_is_not_taken_back(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys, is_more: bool
) -> None:
    """
    Nor is a transition that was told meanwhile, by this node or another, whether a later one is being told or none.
    """
    first = came(node)
    if is_more:
        left(node, tell=False)
    node.tell(first)
    back = Node(redis, "n1.new", epoch=node.epoch)
    before = everything(redis)

    assert not await roundtrip(reclaim(keys, "n1.new", first, former="n1", epoch=node.epoch))
    assert before == everything(redis)
    back.hang_up()


async def test_a_name_that_is_no_node_takes_nothing(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A node that was reaped again before it has reclaimed gets nothing, or nobody would ever take that from it; the
    transition goes to whoever reaps its former name.
    """
    first = came(node)
    second_node.attach("alice")

    assert not await roundtrip(reclaim(keys, "n1.gone", first, former="n1", epoch=node.epoch))
    node.end_lease()
    assert (replace(first, attempt=2),) == (await roundtrip(reap(keys, "n2", grace=0))).transitions


# Back after Redis forgot.


@pytest.fixture
def mortal_node(mortal_redis: MortalRedis) -> Node:
    """A node named "n1" of a server which may be killed."""
    return Node(mortal_redis.client, "n1")


async def test_a_transition_that_redis_forgot_goes_on(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    In an emptied Redis a node has its transition again, with its number and attempt; the user is known as online, and
    the numbers go on after it.
    """
    redis, keys = mortal_redis.client, mortal_node.keys
    first = replace(came(mortal_node), attempt=2)
    mortal_redis.wipe()
    back = Node(redis, "n2", epoch=mortal_node.epoch)

    assert await roundtrip(reclaim(keys, "n2", first, former="n1", epoch=mortal_node.epoch))
    assert (first,) == await roundtrip(claims(keys, "n2"))
    attached = back.attach("alice")
    assert (first.seq, True, None) == (attached.known.seq, attached.known.online, attached.transition)
    assert await roundtrip(acknowledge(keys, "n2", first, grace=GRACE)) is None
    pass_time(redis, keys, LEASE / 2)
    assert first.seq + 1 == left(back)


async def test_a_transition_that_is_in_the_dump_goes_on(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    In an old dump that has the transition under the node's former name, it is the node's again.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    mortal_redis.roll_back()
    Node(mortal_redis.client, "n2", epoch=mortal_node.epoch)

    assert await roundtrip(reclaim(keys, "n2", first, former="n1", epoch=mortal_node.epoch))
    assert ((first,), ()) == (await roundtrip(claims(keys, "n2")), await roundtrip(claims(keys, "n1")))


async def test_what_was_told_since_the_dump_is_dropped(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    In a dump from before its transition, all older transitions were told since: they go, whoever had them.
    """
    redis, keys = mortal_redis.client, mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    left(mortal_node, tell=False)
    following = mortal_node.tell(first)
    assert following is not None
    mortal_redis.roll_back()
    Node(redis, "n2", epoch=mortal_node.epoch)

    assert await roundtrip(reclaim(keys, "n2", following, former="n1", epoch=mortal_node.epoch))
    assert [(following.seq, "offline")] == mailbox(redis, keys)
    assert ((following,), ()) == (await roundtrip(claims(keys, "n2")), await roundtrip(claims(keys, "n1")))
    assert [str(following.seq).encode(), b"0"] == redis.hmget(keys.state(ALICE), "seq", "online")


async def test_an_old_dump_does_not_know_who_has_a_transition_by_now(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    A node that took a transition over after the dump goes on with it, though the dump has it as that of the one that
    died: it is nobody's second attempt again.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    other = Node(mortal_redis.client, "n2")
    mortal_node.end_lease()
    (second,) = other.reap(grace=LEASE)
    mortal_redis.roll_back()
    back = Node(mortal_redis.client, "n3", epoch=other.epoch)

    assert await roundtrip(reclaim(keys, "n3", second, former="n2", epoch=other.epoch))
    assert (replace(first, attempt=2),) == (second,) == await roundtrip(claims(keys, "n3"))
    back.renew()
    await roundtrip(leave(keys, "n1"))
    assert [] == back.reap()


async def test_what_was_taken_over_since_redis_is_back_is_anothers(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    A node that comes back so late that another has its transition from the dump already, leaves it to that.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    mortal_redis.roll_back()
    other = Node(mortal_redis.client, "n2", epoch=mortal_node.epoch)
    other.renew()
    mortal_node.end_lease()
    (second,) = other.reap()
    Node(mortal_redis.client, "n3", epoch=mortal_node.epoch)

    assert replace(first, attempt=2) == second
    assert not await roundtrip(reclaim(keys, "n3", first, former="n1", epoch=mortal_node.epoch))
    assert (second,) == await roundtrip(claims(keys, "n2"))


async def test_an_older_transition_is_not_put_before_a_newer(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    Where a later transition of the user is being told, the earlier was told: a node that never heard so does not begin
    again.
    """
    redis, keys = mortal_redis.client, mortal_node.keys
    first = came(mortal_node)
    following = replace(first, seq=first.seq + 1, online=False)
    mortal_redis.wipe()
    Node(redis, "n2", epoch=mortal_node.epoch)
    Node(redis, "n3", epoch=mortal_node.epoch)
    later = await roundtrip(reclaim(keys, "n2", following, former="other", epoch=mortal_node.epoch))

    assert (True, False) == (later, await roundtrip(reclaim(keys, "n3", first, former="n1", epoch=mortal_node.epoch)))
    assert (following,) == await roundtrip(claims(keys, "n2"))


async def test_what_was_decided_last_is_told_last(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    When Redis forgot the transitions after one that is being told, what is true by then is told when it has settled.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    decided = left(mortal_node, tell=False)
    mortal_redis.wipe()
    back = Node(mortal_redis.client, "n2", epoch=mortal_node.epoch)
    back.attach("alice", 0, known=untold(decided, online=False))
    await roundtrip(reclaim(keys, "n2", first, former="n1", epoch=mortal_node.epoch))
    at_once = await roundtrip(acknowledge(keys, "n2", first, grace=GRACE))
    (last,) = settled(mortal_redis, back)

    assert at_once is None
    assert Transition(ALICE, decided + 1, online=False) == last
    assert await roundtrip(acknowledge(keys, "n2", last, grace=GRACE)) is None
    assert [] == back.reap()


@pytest.mark.parametrize("order", [1, -1])
async def test_a_transition_that_was_lost_with_the_mailbox_is_told(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node, order: int
) -> None:
    """
    Two nodes come back to a Redis that forgot: one has told that alice went, the other knows that she came again, which
    waited to be told. Whoever is back first, it is told when it has settled.
    """
    keys, epoch = mortal_node.keys, mortal_node.epoch
    came(mortal_node)
    mortal_redis.wipe()
    back = [Node(mortal_redis.client, name, epoch=epoch) for name in ("n3", "n4")]
    words = (
        attach(keys, "n3", ALICE, 0, limit=20, grace=GRACE, known=Known(41, False, 41, False)),
        attach(keys, "n4", ALICE, 1, limit=20, grace=GRACE, known=Known(42, online=True)),
    )

    told_at_once = [(await roundtrip(word)).transition for word in words[::order]]

    assert [None, None] == told_at_once
    assert [Transition(ALICE, 43, online=True)] == settled(mortal_redis, back[0])


async def test_a_transition_that_is_being_told_outlives_what_is_known_of_later_ones(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    So it is when the transition was reclaimed first, as a node that comes back does: it is not taken for an old one of
    the dump, or nothing would be told after it.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    decided = left(mortal_node, tell=False)
    mortal_redis.roll_back()
    back = Node(mortal_redis.client, "n2", epoch=mortal_node.epoch)
    await roundtrip(reclaim(keys, "n2", first, former="n1", epoch=mortal_node.epoch))
    known = untold(decided, online=False)
    attached = await roundtrip(attach(keys, "n2", ALICE, 0, limit=20, grace=0, known=known))
    open_transitions = await roundtrip(claims(keys, "n2"))
    await roundtrip(acknowledge(keys, "n2", first, grace=GRACE))
    await roundtrip(leave(keys, "n1"))

    assert (None, decided, False) == (attached.transition, attached.known.seq, attached.known.online)
    assert (first,) == open_transitions
    assert [Transition(ALICE, decided + 1, online=False)] == settled(mortal_redis, back)


def settled(mortal_redis: MortalRedis, node: Node) -> list[Transition]:
    """Let the time pass in which nodes come back, and return what is to be told then."""
    pass_time(mortal_redis.client, node.keys, LEASE / 2)
    node.renew()
    pass_time(mortal_redis.client, node.keys, GRACE)
    return node.reap()


# What a node knows.


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("online", [True, False])
async def test_redis_takes_a_nodes_word_for_what_it_forgot(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys, online: bool, is_told: bool
) -> None:
    """
    Of a user whom Redis does not know, the last transition is what the node says, silently; the next has the next
    number.
    """
    known = Known(41, online, 41 if is_told else 0, online)
    attached = await roundtrip(attach(keys, "n1", ALICE, int(online), limit=20, grace=0, known=known))
    changed = await roundtrip(attach(keys, "n1", ALICE, int(not online), limit=20, grace=0, known=known))

    assert (41, online, None) == (attached.known.seq, attached.known.online, attached.transition)
    assert Transition(ALICE, 42, online=not online) == changed.transition
    assert [(42, "offline" if online else "online")] == mailbox(redis, keys)


async def test_what_redis_knows_better_it_keeps(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    What a node knows of an earlier transition, told or not, changes nothing: another has heard of a later one.
    """
    first = came(node)
    node.tell(first)
    left(node, tell=False)
    before = everything(redis)
    for at, known in product(("n1", "n2"), (told(first), untold(first.seq, online=True))):
        attached = await roundtrip(attach(keys, at, ALICE, 0, limit=20, grace=0, known=known))
        assert (first.seq + 1, False, None) == (attached.known.seq, attached.known.online, attached.transition)

    assert before == everything(redis)


async def test_a_transition_that_the_node_has_not_told_stays(
    roundtrip: RoundTrip, node: Node, second_node: Node, keys: Keys
) -> None:
    """
    To know of a transition is not to have told it: who is telling it goes on.
    """
    first = came(node)
    known = untold(first.seq, online=True)
    attached = [await roundtrip(attach(keys, at, ALICE, 1, limit=20, grace=0, known=known)) for at in ("n1", "n2")]

    assert [None, None] == [one.transition for one in attached]
    assert (first,) == await roundtrip(claims(keys, "n1"))


async def test_a_transition_that_was_told_is_ended_by_its_acknowledgement(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Where the acknowledgement is still on its way, an attach that says what was told hands over nothing: that one will.
    """
    first = came(node)
    attached = await roundtrip(attach(keys, "n1", ALICE, 0, limit=20, grace=0))
    again = await roundtrip(attach(keys, "n1", ALICE, 0, limit=20, grace=0, known=told(first)))
    following = Transition(ALICE, first.seq + 1, online=False)

    assert (None, None) == (attached.transition, again.transition)
    assert following == await roundtrip(acknowledge(keys, "n1", first, grace=GRACE))
    assert (following,) == await roundtrip(claims(keys, "n1"))
    assert [(following.seq, "offline")] == mailbox(redis, keys)


async def test_told_transitions_of_an_old_dump_are_dropped(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    What is in the mailbox of an old dump and was told since, is told by nobody again: not by the node, and not by who
    reaps its former name.
    """
    redis, keys = mortal_redis.client, mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    mortal_node.tell(first)
    seq = left(mortal_node)
    last = mortal_node.attach("alice").transition
    assert last is not None
    mortal_redis.roll_back()
    back = Node(redis, "n2", epoch=mortal_node.epoch)
    attached = await roundtrip(attach(keys, "n2", ALICE, 1, limit=20, grace=0, known=told(last)))
    await roundtrip(leave(keys, "n1"))

    assert (first.seq + 1, first.seq + 2) == (seq, last.seq)
    assert (None, last.seq, True) == (attached.transition, attached.known.seq, attached.known.online)
    assert [] == mailbox(redis, keys) + back.reap()
    assert 0 == redis.exists(keys.claim(ALICE), keys.claims("n1"), keys.claims("n2"))


async def test_a_transition_of_an_old_dump_that_nobody_has_told_is_told(
    roundtrip: RoundTrip, mortal_redis: MortalRedis, mortal_node: Node
) -> None:
    """
    That another node knows of it does not end it: if the one that had it is dead, it is told by who empties that.
    """
    keys = mortal_node.keys
    first = came(mortal_node)
    mortal_redis.keep_dump()
    mortal_redis.roll_back()
    back = Node(mortal_redis.client, "n2", epoch=mortal_node.epoch)
    known = untold(first.seq, online=True)
    attached = await roundtrip(attach(keys, "n2", ALICE, 1, limit=20, grace=0, known=known))
    await roundtrip(leave(keys, "n1"))

    assert attached.transition is None
    assert [replace(first, attempt=2)] == back.reap()


async def test_what_is_told_again_elsewhere_goes_on_there(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A node that was cut off has told its transition, and another, which has reaped it, is telling it again: that has it
    until it is done, and the next transition does not begin meanwhile.
    """
    first = came(node)
    node.end_lease()
    (again,) = second_node.reap()
    back = Node(redis, "n1.new", epoch=node.epoch)
    back.attach("bob")
    attached = await roundtrip(attach(keys, "n1.new", ALICE, 1, limit=20, grace=0, known=told(first)))

    assert attached.transition is None
    assert (again,) == await roundtrip(claims(keys, "n2"))
    assert Transition(ALICE, first.seq + 1, online=False) == await roundtrip(
        acknowledge(keys, "n2", again, grace=GRACE)
    )
    back.hang_up()


@pytest.fixture
def full_redis(own_redis: redis_py.Redis) -> Callable[[], None]:
    """Call it to make the server of this test full: from then on Redis refuses what might take memory."""

    def fill() -> None:
        own_redis.config_set("maxmemory", 1)
        with pytest.raises(ResponseError):
            own_redis.set("x", 1)

    return fill


async def test_transitions_are_told_when_redis_is_full(
    roundtrip: RoundTrip, own_redis: redis_py.Redis, full_redis: Callable[[], None]
) -> None:
    """
    In a full Redis transitions are decided, handed over, taken back under a new name, reaped and acknowledged.
    """
    node, other = Node(own_redis, "n1"), Node(own_redis, "n2")
    keys = node.keys
    bob = other.attach("bob", tell=False).transition
    assert bob is not None
    full_redis()

    first = (await roundtrip(attach(keys, "n1", ALICE, 1, limit=20, grace=0))).transition
    assert first is not None
    assert (await roundtrip(attach(keys, "n1", ALICE, 0, limit=20, grace=0))).transition is None
    await roundtrip(join(keys, "n1.new", lease=LEASE, epoch=node.epoch))
    assert await roundtrip(reclaim(keys, "n1.new", first, former="n1", epoch=node.epoch))
    assert (first,) == await roundtrip(claims(keys, "n1.new"))
    following = await roundtrip(acknowledge(keys, "n1.new", first, grace=GRACE))
    await roundtrip(leave(keys, "n2"))
    assert await roundtrip(renew(keys, "n1.new", lease=LEASE, grace=GRACE)) is not None
    reaped = (await roundtrip(reap(keys, "n1.new", grace=0))).transitions

    assert Transition(ALICE, first.seq + 1, online=False) == following
    assert (replace(bob, attempt=2),) == reaped
    for one in (node, other):
        one.hang_up()
