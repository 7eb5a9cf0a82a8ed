"""Who has joined a topic: told at once, as left after the grace, each change counted, through every kind of loss."""

import json

import pytest
import redis as redis_py
from redis.exceptions import ResponseError

from qrsocket.fanout.history import tops
from qrsocket.fanout.publish import Envelope
from qrsocket.keys import Keys
from qrsocket.message import Kind
from qrsocket.presence.answers import Count, Members
from qrsocket.presence.table import attach, leave, members_of, reap
from qrsocket.roundtrip import run
from tests.clients import PATIENCE
from tests.conftest import RoundTrip
from tests.redis.conftest import GRACE, LEASE, MortalRedis, NewNode, Node, pass_time

ROOM = "t:room:7"
DAY_MS = 86_400_000


def part(user: str) -> str:
    """The stream of a user's part in the room."""
    return f"m:room:7 {user}"


def enter(node: Node, *users: str, here: int = 1) -> None:
    """Let *users* join the room at *node*, each with so many connections."""
    node.attach_all([ROOM, *map(part, users)], here)


def go(node: Node, *users: str, grace: float = GRACE) -> None:
    """Let *users* leave; the node itself stays in the room."""
    node.attach_all(map(part, users), 0, grace=grace)


def changes(node: Node) -> list[dict[str, list[str]]]:
    """What the node was told since the last time, each with its users in order."""
    return [
        {name: sorted(users) for name, users in json.loads(envelope.message.payload).items()}
        for envelope in node.envelopes()
        if envelope.message.kind is Kind.MEMBERS
    ]


def members(redis: redis_py.Redis, keys: Keys, topic: str = "room:7") -> Members:
    return run(redis, members_of(keys, topic), timeout=PATIENCE)


def end_graces(redis: redis_py.Redis, node: Node) -> None:
    """Let the time of a grace pass, and have it told who has been gone for so long."""
    pass_time(redis, node.keys, GRACE)
    node.renew()
    node.reap()


async def test_who_joins_is_told_at_once(
    roundtrip: RoundTrip, node: Node, second_node: Node, new_node: NewNode, redis: redis_py.Redis
) -> None:
    """
    Each node that has the topic hears of it, the own one included, and no other; it is among the members from then on.
    """
    outside = new_node("n3")
    second_node.attach_all([ROOM])
    await roundtrip(attach(node.keys, "n1", [Count(ROOM, 1), Count(part("ada"), 1)], grace=LEASE))

    assert [[{"joined": ["ada"]}]] * 2 == [changes(one) for one in (node, second_node)]
    assert [] == outside.envelopes()
    assert {"ada"} == members(redis, node.keys).users


async def test_a_change_has_its_number(roundtrip: RoundTrip, node: Node) -> None:
    """
    An envelope says whose it is and counts up by one; the members are read with the number of the newest, so that
    nobody need guess whether one is in them.
    """
    node.attach_all([ROOM])
    before = await roundtrip(members_of(node.keys, "room:7"))
    for user in ("ada", "bob", "eve"):
        enter(node, user)
    envelopes: list[Envelope] = node.envelopes()
    after = await roundtrip(members_of(node.keys, "room:7"))

    start = before.version.offset
    assert [(("m:room:7", start + step),) for step in (1, 2, 3)] == [envelope.recipients for envelope in envelopes]
    assert {(Kind.MEMBERS, node.epoch, "")} == {(one.message.kind, one.epoch, one.message_id) for one in envelopes}
    assert (start + 3, frozenset({"ada", "bob", "eve"}), True) == (after.version.offset, after.users, after.is_certain)
    assert {"m:room:7": after.version} == await roundtrip(tops(node.keys, ["m:room:7"]))


async def test_a_second_device_is_no_word(node: Node, second_node: Node, redis: redis_py.Redis) -> None:
    """
    A user who has joined and joins again, here or elsewhere, or leaves with one of several, is a member as before.
    """
    enter(node, "ada")
    enter(second_node, "ada", here=2)
    node.envelopes()
    version = members(redis, node.keys).version
    enter(node, "ada", here=3)
    go(second_node, "ada", grace=0)
    enter(node, "ada")

    assert [] == changes(node) + changes(second_node)
    assert Members(version, True, frozenset({"ada"})) == members(redis, node.keys)


async def test_what_changes_together_is_told_together(node: Node, redis: redis_py.Redis) -> None:
    """
    All of a topic that one call changes is one envelope and one number; each topic has its own.
    """
    enter(node, "ada", "bob")
    node.attach_all(["t:room:8"])
    node.envelopes()
    version = members(redis, node.keys).version.offset
    counts = [Count(part("eve"), 1), Count("m:room:8 eve", 1), Count(part("ada"), 0), Count(part("dora"), 1)]
    run(redis, attach(node.keys, "n1", counts, grace=0), timeout=PATIENCE)
    told = {
        stream: json.loads(envelope.message.payload)
        for envelope in node.envelopes()
        for stream, _ in envelope.recipients
    }

    assert {"m:room:7": {"joined": ["eve", "dora"], "left": ["ada"]}, "m:room:8": {"joined": ["eve"]}} == told
    assert version + 1 == members(redis, node.keys).version.offset


async def test_who_leaves_is_told_after_the_grace(node: Node, redis: redis_py.Redis) -> None:
    """
    Until then a user who has left is a member; then all nodes hear of it once.
    """
    enter(node, "ada", "bob")
    node.envelopes()
    go(node, "ada")
    at_once = changes(node), members(redis, node.keys).users
    end_graces(redis, node)
    end_graces(redis, node)

    assert ([], {"ada", "bob"}) == at_once
    assert [{"left": ["ada"]}] == changes(node)
    assert {"bob"} == members(redis, node.keys).users


async def test_a_reload_is_no_word(node: Node, second_node: Node, redis: redis_py.Redis) -> None:
    """
    A user who leaves and joins again within the grace, here or on another node, has never left.
    """
    enter(node, "ada")
    second_node.attach_all([ROOM])
    node.envelopes()
    go(node, "ada")
    enter(second_node, "ada")
    end_graces(redis, node)

    assert [] == changes(node)
    assert 0 == redis.zcard(node.keys.grace)
    assert {"ada"} == members(redis, node.keys).users


async def test_without_a_grace_it_is_told_at_once(node: Node, redis: redis_py.Redis) -> None:
    """
    With a grace of 0 the word that a user has left comes with the call.
    """
    enter(node, "ada")
    node.envelopes()
    go(node, "ada", grace=0)

    assert [{"left": ["ada"]}] == changes(node)
    assert set() == members(redis, node.keys).users


async def test_members_are_no_users_that_come_online(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    A part in a topic has no transitions and no state: who joins is told to the topic, and to no hook.
    """
    answer = await roundtrip(attach(keys, "n1", [Count(part("ada"), 1)], grace=0))
    gone = await roundtrip(attach(keys, "n1", [Count(part("ada"), 0)], grace=0))

    assert answer is not None
    assert gone is not None
    assert [None, None] == [one and one.transition for one in (*answer.attached, *gone.attached)]
    assert 0 == redis.exists(keys.state(part("ada")), keys.transitions(part("ada")), keys.claims("n1"))


async def test_nothing_of_an_empty_topic_stays(node: Node, redis: redis_py.Redis, keys: Keys) -> None:
    """
    When the last has left there are no members, and the number of the last change is known for a day; while there are
    members it does not expire.
    """
    enter(node, "ada")
    while_joined = redis.pttl(keys.position("m:room:7"))
    version = members(redis, keys).version
    go(node, "ada", grace=0)
    node.attach_all([ROOM], 0)

    assert -1 == while_joined
    assert not redis.exists(keys.members("room:7"), keys.route(part("ada")), keys.route(ROOM))
    assert DAY_MS - 60_000 < redis.pttl(keys.position("m:room:7")) <= DAY_MS
    enter(node, "bob")
    assert version.offset + 2 == members(redis, keys).version.offset
    assert -1 == redis.pttl(keys.position("m:room:7"))


async def test_odd_names(node: Node, redis: redis_py.Redis) -> None:
    """
    Topics and users with spaces in the user's id, separators of keys, patterns of Lua and any script are told apart.
    """
    topics, users = (
        ["room:7", "a:b:c", "x{y}", "50%", "a=b"],
        ["a b", "u:ada", "李😀", "%s", 'q"uote\\', "m:room:7 ada"],
    )
    node.attach_all([f"t:{topic}" for topic in topics])
    for topic in topics:
        node.attach_all([f"m:{topic} {user}" for user in users])

    assert [sorted(users)] * 5 == [sorted(json.loads(one.message.payload)["joined"]) for one in node.envelopes()]
    assert [set(users)] * 5 == [members(redis, node.keys, topic).users for topic in topics]


# Lost with its node.


async def test_members_of_a_dead_node_leave_in_batches(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Each step of emptying a dead node tells what it has found, in one envelope, until all have left.
    """
    users = [f"user-{number}" for number in range(25)]
    enter(node, *users)
    enter(second_node, "ada", "user-7")
    second_node.envelopes()
    node.end_lease()
    steps = [await roundtrip(reap(keys, "n2", grace=0, batch=10)) for _ in range(3)]
    told = changes(second_node)

    assert [True, True, False] == [step.more for step in steps]
    assert [()] * 3 == [step.transitions for step in steps]
    assert len(told) <= 3
    assert set(users) - {"user-7"} == {user for change in told for user in change["left"]}
    assert 24 == sum(len(change["left"]) for change in told)
    assert {"ada", "user-7"} == members(redis, keys).users


async def test_members_of_a_dead_node_have_a_grace(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Those who are back on another node in time have never left, and the others leave in batches when it is over.
    """
    users = [f"user-{number}" for number in range(25)]
    enter(node, *users)
    second_node.attach_all([ROOM])
    second_node.envelopes()
    node.end_lease()
    second_node.reap(grace=LEASE / 4)
    enter(second_node, *users[:5])
    at_once = changes(second_node)
    pass_time(redis, keys, LEASE / 4)
    steps = [await roundtrip(reap(keys, "n2", grace=LEASE / 4, batch=15)) for _ in range(2)]
    told = changes(second_node)

    assert [] == at_once
    assert [True, False] == [step.more for step in steps]
    assert [15, 5] == [len(change["left"]) for change in told]
    assert set(users[5:]) == {user for change in told for user in change["left"]}
    assert set(users[:5]) == members(redis, keys).users


async def test_a_node_that_leaves_takes_its_members_with_it(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    As those of a dead one, but without waiting for the lease.
    """
    enter(node, "ada")
    enter(second_node, "bob")
    second_node.envelopes()
    await roundtrip(leave(keys, "n1"))
    second_node.reap()

    assert [{"left": ["ada"]}] == changes(second_node)
    assert [] == redis.keys(keys.streams("n1"))


# Lost with Redis.


def back(mortal_redis: MortalRedis, node: Node, name: str = "n2") -> Node:
    """The node *node*, come back under a new name after Redis was lost; it does not say yet who is there."""
    return Node(mortal_redis.client, name, epoch=node.epoch)


def detect(mortal_redis: MortalRedis, node: Node) -> None:
    """Let the time pass in which nodes come back."""
    pass_time(mortal_redis.client, node.keys, LEASE / 2)
    node.renew()
    end_graces(mortal_redis.client, node)


async def test_members_join_again_in_an_emptied_redis(mortal_redis: MortalRedis) -> None:
    """
    Who is back is a member at once, also while it settles; until all nodes have had time, the list says that it may be
    short, so that nobody is taken for gone.
    """
    node = Node(mortal_redis.client, "n1")
    enter(node, "ada", "bob")
    mortal_redis.wipe()
    again = back(mortal_redis, node)
    enter(again, "ada")
    early = members(mortal_redis.client, node.keys)
    enter(again, "bob")
    detect(mortal_redis, again)
    late = members(mortal_redis.client, node.keys)

    assert (False, {"ada"}) == (early.is_certain, early.users)
    assert (True, {"ada", "bob"}) == (late.is_certain, late.users)
    assert node.epoch != early.version.epoch == late.version.epoch
    assert [{"joined": ["ada"]}, {"joined": ["bob"]}] == changes(again)


async def test_nobody_has_left_while_it_settles(mortal_redis: MortalRedis) -> None:
    """
    Who leaves meanwhile, however short the grace, is a member until it has settled, and is told as left then, once.
    """
    node = Node(mortal_redis.client, "n1")
    enter(node, "ada", "bob")
    mortal_redis.wipe()
    again = back(mortal_redis, node)
    enter(again, "ada", "bob")
    go(again, "ada", grace=0)
    early = members(mortal_redis.client, node.keys)
    detect(mortal_redis, again)

    assert {"ada", "bob"} == early.users
    assert [{"joined": ["ada", "bob"]}, {"left": ["ada"]}] == changes(again)
    assert {"bob"} == members(mortal_redis.client, node.keys).users


async def test_members_of_an_old_dump_who_are_gone_leave(mortal_redis: MortalRedis) -> None:
    """
    Of those in a dump who are not back when it has settled, it is told that they have left.
    """
    redis = mortal_redis.client
    node = Node(redis, "n1")
    enter(node, "ada", "bob")
    mortal_redis.keep_dump()
    go(node, "bob", grace=0)
    mortal_redis.roll_back()
    again = back(mortal_redis, node)
    enter(again, "ada")
    run(redis, leave(node.keys, "n1"), timeout=PATIENCE)  # its former name: its routes are in the dump
    again.reap()
    early = members(redis, node.keys)
    detect(mortal_redis, again)

    assert (False, {"ada", "bob"}) == (early.is_certain, early.users)
    assert [{"left": ["bob"]}] == changes(again)
    assert {"ada"} == members(redis, node.keys).users


async def test_members_are_told_when_redis_is_full(roundtrip: RoundTrip, own_redis: redis_py.Redis) -> None:
    """
    In a full Redis users join and leave topics, and the list is read.
    """
    node = Node(own_redis, "n1")
    node.attach_all([ROOM])
    own_redis.config_set("maxmemory", 1)
    with pytest.raises(ResponseError):
        own_redis.set("x", 1)
    await roundtrip(attach(node.keys, "n1", [Count(part("ada"), 1)], grace=0))
    listed = await roundtrip(members_of(node.keys, "room:7"))
    await roundtrip(attach(node.keys, "n1", [Count(part("ada"), 0)], grace=0))

    assert {"ada"} == listed.users
    assert [{"joined": ["ada"]}, {"left": ["ada"]}] == changes(node)
    node.hang_up()
