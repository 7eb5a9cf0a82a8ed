"""Several streams in one call: each counted by itself, and what was missed of them within one page's bytes."""

import time

import pytest
import redis as redis_py

from qrsocket.fanout.history import tops
from qrsocket.fanout.publish import NOTHING, publish
from qrsocket.keys import Keys
from qrsocket.message import Kind, Message, Options
from qrsocket.position import Missed, Position
from qrsocket.presence import table
from qrsocket.presence.answers import UNKNOWN, Count, Known, Transition
from qrsocket.presence.revocation import revoke, revoked_at
from qrsocket.presence.table import attach, count_of
from qrsocket.roundtrip import run
from tests.clients import PATIENCE
from tests.conftest import RoundTrip
from tests.redis.conftest import GRACE, Node

PAGE_BYTES = 512 * 1024
LONG_AGO = 1_000_000_000.0
OWN = ("c:x", "*", "u:alice", "t:room:7")


def everything(redis: redis_py.Redis) -> dict[bytes, bytes | None]:
    return {key: redis.dump(key) for key in redis.scan_iter()}


def publish_to(redis: redis_py.Redis, keys: Keys, stream: str, *payloads: bytes) -> None:
    for number, payload in enumerate(payloads):
        call = publish(keys, Message(Kind.BINARY, payload), f"{stream} {number} {len(payload)}", [stream])
        run(redis, call, timeout=PATIENCE)


async def test_all_streams_of_a_connection_are_one_call(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis
) -> None:
    """
    Each stream gets its count and its own newest position, in the order in which they were named; only the user has an
    transition, and only who may have jobs has a position of them.
    """
    publish_to(redis, node.keys, "t:room:7", b"one", b"two")
    answer = await roundtrip(attach(node.keys, "n1", [Count(stream, 1) for stream in OWN], grace=GRACE))
    top = await roundtrip(tops(node.keys, OWN))
    jobs = await roundtrip(tops(node.keys, ["j:c:x", "j:u:alice"]))

    assert answer is not None
    attached = [one for one in answer.attached if one is not None]
    assert [top[stream] for stream in OWN] == [one.top for one in attached]
    nowhere = Position(node.epoch, 0)
    assert [jobs["j:c:x"], nowhere, jobs["j:u:alice"], nowhere] == [one.jobs_top for one in attached]
    seq = attached[2].known.seq
    assert [None, None, Transition("u:alice", seq, online=True), None] == [one.transition for one in attached]
    assert [UNKNOWN, UNKNOWN, Known(seq, True), UNKNOWN] == [one.known for one in attached]
    assert set(OWN) == {word.decode() for word in redis.smembers(node.keys.streams("n1"))}


async def test_a_call_may_be_repeated(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    Counts are absolute: the same again, after a lost answer say, changes nothing and tells no second transition.
    """
    call = attach(node.keys, "n1", [Count(stream, 2) for stream in (*OWN, "m:room:7 alice")], grace=GRACE)
    await roundtrip(call)
    before = everything(redis)
    again = await roundtrip(call)

    assert again is not None
    assert [None] * 5 == [one and one.transition for one in again.attached]
    assert before == everything(redis)


async def test_some_streams_are_over_the_limit(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis
) -> None:
    """
    A stream with too many subscriptions is refused and stays as it was; the others of the call are counted.
    """
    second_node.attach_all(["u:alice", "u:bob"], here=2)
    before = {key: redis.dump(key) for key in redis.scan_iter(match=f"{node.keys.base}*alice*")}
    counts = [Count("u:alice", 1, 2), Count("u:bob", 1, 3), Count("t:room:7", 5), Count("u:carol", 3, 2)]
    answer = await roundtrip(attach(node.keys, "n1", counts, grace=GRACE))

    assert answer is not None
    assert [False, True, True, False] == [one is not None for one in answer.attached]
    assert before == {key: redis.dump(key) for key in redis.scan_iter(match=f"{node.keys.base}*alice*")}
    assert [2, 3, 5, 0] == [await roundtrip(count_of(node.keys, count.stream)) for count in counts]
    assert {b"u:bob", b"t:room:7"} == redis.smembers(node.keys.streams("n1"))


@pytest.mark.parametrize("issued", [0.0, 1.5, LONG_AGO])
async def test_a_user_who_is_revoked(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis, issued: float) -> None:
    """
    Who comes by a proof from before is refused, and nothing changes; others of the call are counted. Who comes by a
    later one is counted, and so are those that are here, whose node is told when it was.
    """
    node.attach_all(["u:alice"], here=1)
    await roundtrip(revoke(node.keys, ["u:alice"], seconds=60))
    at = await roundtrip(revoked_at(node.keys, "u:alice"))
    before = {key: redis.dump(key) for key in redis.scan_iter(match=f"{node.keys.base}*alice*")}
    counts = [Count("u:alice", 2, issued=issued), Count("u:bob", 1, issued=issued), Count("t:room:7", 1, issued=issued)]
    answer = await roundtrip(attach(node.keys, "n1", counts, grace=GRACE))

    assert answer is not None
    assert [False, True, True] == [one is not None for one in answer.attached]
    assert {"u:alice": at} == answer.revoked
    assert before == {key: redis.dump(key) for key in redis.scan_iter(match=f"{node.keys.base}*alice*")}
    for count in (Count("u:alice", 2, issued=at), Count("u:alice", 1)):
        answer = await roundtrip(attach(node.keys, "n1", [count, Count("u:bob", 1)], grace=GRACE))
        assert answer is not None
        assert [at, 0.0] == [one and one.revoked_at for one in answer.attached]
        assert {} == answer.revoked


async def test_how_long_a_user_is_revoked(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    The key goes when the time is over, and to revoke again begins anew.
    """
    assert 0.0 == await roundtrip(revoked_at(node.keys, "u:alice"))
    began = time.time()
    await roundtrip(revoke(node.keys, ["u:alice", "u:bob"], seconds=60))
    first = await roundtrip(revoked_at(node.keys, "u:alice"))
    await roundtrip(revoke(node.keys, ["u:alice"], seconds=3))

    assert began <= first <= await roundtrip(revoked_at(node.keys, "u:alice")) <= time.time() + 0.002
    assert 0 < redis.pttl(node.keys.revoked("u:alice")) <= 3_000 < redis.pttl(node.keys.revoked("u:bob")) <= 60_000


async def test_a_topic_has_no_limit(roundtrip: RoundTrip, node: Node) -> None:
    """
    The most of 0 is any number.
    """
    answer = await roundtrip(attach(node.keys, "n1", [Count("t:room:7", 10_000)], grace=GRACE))

    assert answer is not None
    assert answer.attached[0] is not None
    assert 10_000 == await roundtrip(count_of(node.keys, "t:room:7"))


async def test_subscriptions_are_counted_over_nodes(roundtrip: RoundTrip, node: Node, second_node: Node) -> None:
    """
    How many have joined is the sum of all nodes; a stream that nobody has is 0.
    """
    node.attach_all(["t:room:7", "*"], here=3)
    second_node.attach_all(["t:room:7"], here=4)
    second_node.attach_all(["t:room:8"], here=0)

    assert [7, 3, 0, 0] == [
        await roundtrip(count_of(node.keys, stream)) for stream in ("t:room:7", "*", "t:room:8", "t:nobody")
    ]


async def test_a_fenced_node_counts_nothing(roundtrip: RoundTrip, keys: Keys, redis: redis_py.Redis) -> None:
    """
    Without a lease no stream of a call is taken, nor read.
    """
    since = [("t:room:7", Position("e", 1))]
    call = attach(keys, "ghost", [Count(stream, 1) for stream in OWN], since, grace=GRACE)

    assert await roundtrip(call) is None
    assert [keys.server.encode()] == redis.keys()


async def test_what_was_missed_of_several_streams(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    For each position there is a page, in the order in which they were asked for, whichever streams the call counts; one
    stream may be asked for from two positions, for two clients.
    """
    streams = ("u:alice", "t:room:7", "*")
    start = await roundtrip(tops(node.keys, streams))
    publish_to(redis, node.keys, "u:alice", b"1", b"2", b"3")
    publish_to(redis, node.keys, "t:room:7", b"4")
    later = Position(node.epoch, start["u:alice"].offset + 2)
    since = [("t:room:7", start["t:room:7"]), ("u:alice", later), ("*", start["*"]), ("u:alice", start["u:alice"])]
    answer = await roundtrip(attach(node.keys, "n1", [Count("u:alice", 1)], since, grace=GRACE))

    assert answer is not None
    assert [[b"4"], [b"3"], [], [b"1", b"2", b"3"]] == [payloads(page) for page in answer.pages]
    assert [True] * 4 == [page.is_whole and page.reached == page.top for page in answer.pages]


async def test_a_position_that_is_lost_is_of_its_own_stream(roundtrip: RoundTrip, node: Node) -> None:
    """
    A gap in one stream is none in another.
    """
    start = await roundtrip(tops(node.keys, ["u:alice", "t:room:7"]))
    since = [("u:alice", Position("another", 7)), ("t:room:7", start["t:room:7"])]
    answer = await roundtrip(attach(node.keys, "n1", [Count("u:alice", 1)], since, grace=GRACE))

    assert answer is not None
    assert [False, True] == [page.is_whole for page in answer.pages]


async def test_pages_share_their_bytes(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    All pages of a call together have about as many bytes as one; once they are used up each page has one message, or
    none where none is missing, and says how far it reaches: nobody is left out.
    """
    streams = ("t:a", "t:b", "t:c", "t:d")
    start = await roundtrip(tops(node.keys, streams))
    quarter = bytes(PAGE_BYTES // 4)
    publish_to(redis, node.keys, "t:a", *(quarter[number:] for number in range(3)))
    for stream in ("t:b", "t:c"):
        publish_to(redis, node.keys, stream, *(quarter[number:] for number in range(3)))
    since = [(stream, start[stream]) for stream in streams]
    answer = await roundtrip(attach(node.keys, "n1", [Count(stream, 1) for stream in streams], since, grace=GRACE))

    assert answer is not None
    assert [3, 2, 1, 0] == [len(page.entries) for page in answer.pages]
    assert [3, 2, 1, 0] == [
        page.reached.offset - start[stream].offset for stream, page in zip(streams, answer.pages, strict=True)
    ]
    assert [3, 3, 3, 0] == [
        page.top.offset - start[stream].offset for stream, page in zip(streams, answer.pages, strict=True)
    ]
    assert [True] * 4 == [page.is_whole for page in answer.pages]


async def test_a_stream_that_is_left_stays_for_a_day(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    The position of a topic outlives its last subscription by a day, so that who comes back has a position; what is left
    of a connection goes with it.
    """
    node.attach_all(OWN)
    publish_to(redis, node.keys, "t:room:7", b"1")
    while_joined = redis.pttl(node.keys.position("t:room:7"))
    await roundtrip(attach(node.keys, "n1", [Count(stream, 0) for stream in OWN], grace=GRACE))

    assert -1 == while_joined
    day = 86_400_000
    for stream in ("t:room:7", "*", "u:alice", "j:u:alice"):
        assert day - 60_000 < redis.pttl(node.keys.position(stream)) <= day, stream
    assert 0 == redis.exists(node.keys.position("c:x"), node.keys.position("j:c:x"))
    assert 0 == redis.exists(node.keys.streams("n1"))


async def test_topics_wait_for_nobody(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    To join and leave a topic, everyone's stream or one's own is no transition, and has neither mailbox nor grace.
    """
    node.attach_all(("t:room:7", "*", "c:x"))
    answer = await roundtrip(
        attach(node.keys, "n1", [Count(stream, 0) for stream in ("t:room:7", "*", "c:x")], grace=GRACE)
    )

    assert answer is not None
    assert [None] * 3 == [one and one.transition for one in answer.attached]
    assert 0 == redis.exists(node.keys.grace, *(node.keys.state(stream) for stream in ("t:room:7", "*", "c:x")))


# Messages that are not kept.


async def test_what_is_not_kept_is_not_counted(
    roundtrip: RoundTrip, node: Node, second_node: Node, redis: redis_py.Redis
) -> None:
    """
    It reaches who is connected, without an offset, and leaves neither history nor position behind.
    """
    node.attach_all(["t:room:7"], here=2)
    second_node.attach_all(["t:room:7"])
    before = await roundtrip(tops(node.keys, ["t:room:7"]))
    message = Message(Kind.JSON, b"1")
    routed = await roundtrip(publish(node.keys, message, "m1", ["t:room:7", "t:nobody"], keep=NOTHING))

    assert (3, {"n1", "n2"}) == (routed.connections, routed.nodes)
    envelopes = [*node.envelopes(), *second_node.envelopes()]
    assert [((("t:room:7", None),), message)] * 2 == [(envelope.recipients, envelope.message) for envelope in envelopes]
    assert before == await roundtrip(tops(node.keys, ["t:room:7"]))
    assert 0 == redis.exists(
        node.keys.history("t:room:7"), node.keys.history("t:nobody"), node.keys.position("t:nobody")
    )


async def test_what_is_not_kept_is_sent_once_under_an_id(roundtrip: RoundTrip, node: Node) -> None:
    """
    A message id counts for it as for any other.
    """
    node.attach_all(["*"])
    call = publish(node.keys, Message(Kind.JSON, b"1"), "m1", ["*"], keep=NOTHING)
    first, second = await roundtrip(call), await roundtrip(call)

    assert (1, False) == (first.connections, first.repeated)
    assert (1, True) == (second.connections, second.repeated)
    assert [b"1"] == node.messages()


# Options.


OPTIONS = [
    Options(latest="typing:ada"),
    Options(but="c1", user="alice"),
    Options("a=b%", "c 1", "李😀 &\t"),
]


async def test_options_travel_with_a_message(roundtrip: RoundTrip, node: Node) -> None:
    """
    What nodes are to mind is in the envelope, whatever its characters; without it an envelope says nothing of that.
    """
    node.attach_all(["t:room:7"])
    messages = [Message(Kind.JSON, b"1"), *(Message(Kind.JSON, b"2", options) for options in OPTIONS)]
    for number, message in enumerate(messages):
        await roundtrip(publish(node.keys, message, f"m{number}", ["t:room:7"]))

    assert messages == [envelope.message for envelope in node.envelopes()]


async def test_options_are_kept(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    Who catches up is left out as who was there: they are kept with the message, and take no place where there are none.
    """
    start = await roundtrip(tops(node.keys, ["t:room:7"]))
    messages = [Message(Kind.JSON, b"1"), *(Message(Kind.JSON, b"2", options) for options in OPTIONS)]
    for number, message in enumerate(messages):
        await roundtrip(publish(node.keys, message, f"m{number}", ["t:room:7"]))
    answer = node.attach_all(["t:room:7"], since=list(start.items()))

    assert messages == [entry.message for entry in answer.pages[0].entries]
    assert [False, True, True, True] == [b"o" in fields for _, fields in redis.xrange(node.keys.history("t:room:7"))]


def payloads(page: Missed) -> list[bytes]:
    return [entry.message.payload for entry in page.entries]


async def test_everyone_is_users_alone(roundtrip: RoundTrip, node: Node) -> None:
    """
    Of all that nodes have subscriptions of only users' streams are who is online; members' parts are none.
    """
    node.attach_all((*OWN, "m:room:7 bob", "t:u:carol"))

    assert {"u:alice"} == await roundtrip(table.everyone(node.keys))
