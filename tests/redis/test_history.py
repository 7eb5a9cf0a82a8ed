"""Streams and positions: what was sent is kept for a while; who comes back gets it, or hears that some is missing."""

from collections.abc import Callable, Sequence

import pytest
import redis as redis_py
from redis.exceptions import ResponseError

from qrsocket.errors import Unavailable
from qrsocket.fanout.history import read, tops
from qrsocket.fanout.publish import Keep, Routed, publish
from qrsocket.keys import Keys
from qrsocket.message import Close, Kind, Message
from qrsocket.position import Missed, Position
from qrsocket.presence import table
from qrsocket.presence.answers import Count
from qrsocket.presence.table import acknowledge, reap, renew
from qrsocket.roundtrip import run
from tests.clients import PATIENCE
from tests.conftest import MS, RoundTrip, until
from tests.redis.attaching import Attach, attach
from tests.redis.conftest import GRACE, LEASE, Node, now_ms

ALICE = "u:alice"
PAGE = 50
PAGE_BYTES = 512 * 1024
NEVER_GIVEN = 2**53


def text(number: int) -> Message:
    return Message(Kind.TEXT, b"%d" % number)


def sent(redis: redis_py.Redis, keys: Keys, numbers: Sequence[int], stream: str = ALICE, keep: Keep = Keep()) -> None:
    """Send a message for each of *numbers*."""
    for number in numbers:
        run(redis, publish(keys, text(number), f"{stream} {number}", [stream], keep=keep), timeout=PATIENCE)


def numbers(*pages: Missed) -> list[int]:
    """The messages of *pages*, as they were given to `sent`."""
    return [int(entry.message.payload) for page in pages for entry in page.entries]


def offsets(*pages: Missed) -> list[int]:
    return [entry.offset for page in pages for entry in page.entries]


def top_of(redis: redis_py.Redis, keys: Keys, stream: str = ALICE) -> Position:
    return run(redis, tops(keys, [stream]), timeout=PATIENCE)[stream]


async def read_all(roundtrip: RoundTrip, keys: Keys, since: Position) -> list[Missed]:
    """Read pages until the newest message is reached."""
    pages = [await roundtrip(read(keys, ALICE, since))]
    while pages[-1].reached != pages[-1].top:
        pages.append(await roundtrip(read(keys, ALICE, pages[-1].reached)))
    return pages


async def test_offsets_count_the_messages_of_an_audience(roundtrip: RoundTrip, node: Node) -> None:
    """
    Each message has the next offset of each of its streams, whoever else gets it; all are of one epoch.
    """
    keys, everyone = node.keys, ["u:alice", "u:bob", "c:x"]
    before = await roundtrip(tops(keys, everyone))
    for number, streams in enumerate([["u:alice"], ["u:bob", "u:alice"], ["u:alice"], ["c:x"]]):
        await roundtrip(publish(keys, text(number), f"m{number}", streams))
    after = await roundtrip(tops(keys, everyone))

    assert [3, 1, 1] == [after[stream].offset - before[stream].offset for stream in everyone]
    assert {node.epoch} == {position.epoch for position in (*before.values(), *after.values())}


async def test_offsets_begin_with_the_clock(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    The first offset is not 0 but the time in milliseconds: above all that were given before Redis forgot them.
    """
    before = now_ms(redis)
    await roundtrip(publish(keys, text(1), "m1", [ALICE]))
    after = now_ms(redis)

    assert before < top_of(redis, keys).offset <= after + 1


async def test_a_position_before_the_first_message_ever(roundtrip: RoundTrip, node: Node) -> None:
    """
    Who connects before anything was sent has a position, from which the first message is the next.
    """
    attached = await roundtrip(attach(node.keys, "n1", ALICE, 1, limit=20, grace=GRACE))
    assert attached.missed is not None
    position = attached.missed.top
    at_once = await roundtrip(read(node.keys, ALICE, position))
    await roundtrip(publish(node.keys, text(1), "m1", [ALICE]))
    later = await roundtrip(read(node.keys, ALICE, position))

    assert Missed(position, position, True) == attached.missed == at_once
    assert (True, [1], [position.offset + 1]) == (later.is_whole, numbers(later), offsets(later))
    assert later.top == later.reached == Position(node.epoch, position.offset + 1)


async def test_a_new_client_misses_nothing(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    Without a position a client begins after the newest message: what was sent before is not for it.
    """
    sent(redis, node.keys, [1, 2])
    top = top_of(redis, node.keys)

    attached = await roundtrip(attach(node.keys, "n1", ALICE, 1, limit=20, grace=GRACE))

    assert Missed(top, top, True) == attached.missed


async def test_who_comes_back_gets_what_it_missed(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    An attach with a position answers with what came since, in order and whole; so does a read, as often as it is made.
    """
    sent(redis, node.keys, [1, 2])
    since = top_of(redis, node.keys)
    sent(redis, node.keys, [3, 4, 5])

    attached = await roundtrip(attach(node.keys, "n1", ALICE, 1, limit=20, grace=GRACE, since=since))

    assert attached.missed is not None
    assert [3, 4, 5] == numbers(attached.missed)
    assert [since.offset + step for step in (1, 2, 3)] == offsets(attached.missed)
    assert attached.missed.is_whole
    assert attached.missed.top == attached.missed.reached == top_of(redis, node.keys)
    assert [attached.missed] * 2 == [await roundtrip(read(node.keys, ALICE, since)) for _ in range(2)]


async def test_who_is_up_to_date_missed_nothing(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    From the newest position there is nothing to read, and it is whole, also when nothing is kept any more.
    """
    sent(redis, node.keys, [1, 2])
    since = top_of(redis, node.keys)
    kept = await roundtrip(read(node.keys, ALICE, since))
    redis.delete(node.keys.history(ALICE))
    expired = await roundtrip(read(node.keys, ALICE, since))

    assert Missed(since, since, True) == kept == expired


async def test_a_detach_reads_nothing(roundtrip: RoundTrip, node: Node, redis: redis_py.Redis) -> None:
    """
    The last connection that goes asks for no page and gets none, and leaves what is kept as it is.
    """
    node.attach("alice")
    since = top_of(redis, node.keys)
    sent(redis, node.keys, [1])
    gone = await roundtrip(table.attach(node.keys, "n1", [Count(ALICE, 0)], grace=GRACE))

    assert gone is not None
    assert [] == gone.pages
    assert [1] == numbers(await roundtrip(read(node.keys, ALICE, since)))


async def test_what_was_dropped_as_too_many_is_a_gap(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Of many messages the newest are kept, at least as many as asked for. From before them a page is not whole, and says
    where it begins; from right before them it is.
    """
    start = top_of(redis, keys)
    sent(redis, keys, range(1, 401), keep=Keep(messages=120))
    pages = await read_all(roundtrip, keys, start)
    oldest = numbers(*pages)[0]
    right_before = Position(start.epoch, start.offset + oldest - 1)

    assert 1 < oldest <= 401 - 120
    assert list(range(oldest, 401)) == numbers(*pages)
    assert [False, *[True] * (len(pages) - 1)] == [page.is_whole for page in pages]
    assert right_before == pages[0].start
    assert [True] == list({page.is_whole for page in await read_all(roundtrip, keys, right_before)})


async def test_what_expired_is_a_gap(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    When what was kept has expired, a page from before it is empty and not whole; it goes on after the newest message.
    """
    since = top_of(redis, keys)
    sent(redis, keys, [1, 2], keep=Keep(seconds=1 * MS))
    await until(lambda: not redis.exists(keys.history(ALICE)))
    top = Position(since.epoch, since.offset + 2)

    assert Missed(top, top, False) == await roundtrip(read(keys, ALICE, since))

    sent(redis, keys, [3])
    assert [3] == numbers(await roundtrip(read(keys, ALICE, top)))
    assert not (await roundtrip(read(keys, ALICE, since))).is_whole


async def test_a_position_of_another_epoch_is_a_gap(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    With an offset of another Redis, nothing says that all is there; what is kept and was not seen is given all the
    same, and positions are of this epoch from there on.
    """
    start = top_of(redis, keys)
    sent(redis, keys, [1, 2, 3])
    top = top_of(redis, keys)
    older, newer = Position("1-abc", start.offset - 10**9), Position("1-abc", top.offset + 10**9)

    for since in (older, Position("1-abc", 0), newer):
        page = await roundtrip(read(keys, ALICE, since))
        assert (False, [1, 2, 3], top, top, start) == (
            page.is_whole,
            numbers(page),
            page.top,
            page.reached,
            page.start,
        )


async def test_nothing_is_kept_for_a_position_of_another_epoch(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Where nothing was ever sent, a position of another epoch is not whole either: something was there before.
    """
    page = await roundtrip(read(keys, ALICE, Position("1-abc", 7)))

    assert Missed(page.top, page.top, False) == page
    assert top_of(redis, keys) == page.top == page.start


@pytest.mark.parametrize("beyond", [1, NEVER_GIVEN])
async def test_an_offset_that_was_never_given_is_a_gap(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys, beyond: int
) -> None:
    """
    A position beyond the newest message is nobody's: not whole, and it goes on after the newest.
    """
    sent(redis, keys, [1, 2])
    top = top_of(redis, keys)
    since = Position(top.epoch, min(top.offset + beyond, NEVER_GIVEN))

    assert Missed(top, top, False) == await roundtrip(read(keys, ALICE, since))


async def test_an_offset_before_all_is_a_gap(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Offset 0 was never given either; whoever says it gets all that is kept, and is told that it may not be all.
    """
    sent(redis, keys, [1, 2])
    page = await roundtrip(read(keys, ALICE, Position(top_of(redis, keys).epoch, 0)))

    assert (False, [1, 2]) == (page.is_whole, numbers(page))


@pytest.mark.parametrize(("count", "sizes"), [(49, [49]), (50, [50]), (51, [50, 1]), (120, [50, 50, 20])])
async def test_a_page_has_50_messages(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys, count: int, sizes: list[int]
) -> None:
    """
    More come in pages, each of which goes on where the one before has ended, without a hole.
    """
    start = top_of(redis, keys)
    sent(redis, keys, range(count))
    pages = await read_all(roundtrip, keys, start)

    assert sizes == [len(page.entries) for page in pages]
    assert list(range(count)) == numbers(*pages)
    assert [start.offset + step for step in range(1, count + 1)] == offsets(*pages)
    assert {True} == {page.is_whole for page in pages}
    assert {top_of(redis, keys)} == {page.top for page in pages}


async def test_a_page_ends_when_it_has_half_a_mebibyte(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Large messages make short pages, each with one at least, so that a reader never holds much.
    """
    start = top_of(redis, keys)
    for number, size in enumerate([PAGE_BYTES // 2, PAGE_BYTES // 2, PAGE_BYTES - 1, 1, PAGE_BYTES + 1, 1]):
        await roundtrip(publish(keys, Message(Kind.BINARY, bytes(size)), f"m{number}", [ALICE]))
    pages = await read_all(roundtrip, keys, start)

    assert [2, 2, 1, 1] == [len(page.entries) for page in pages]
    assert [start.offset + step for step in range(1, 7)] == offsets(*pages)
    assert {True} == {page.is_whole for page in pages}


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.BINARY, bytes(range(256))),
        Message(Kind.BINARY, b"\n\r\n\t\x00"),
        Message(Kind.BINARY, b""),
        Message(Kind.TEXT, "tab\tand 😀\n".encode()),
        Close(4101, "revoked").to_message(),
    ],
    ids=lambda message: f"{message.kind.name} {message.payload[:5]!r}",
)
async def test_what_is_kept_is_untouched(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys, message: Message
) -> None:
    """
    Whatever its bytes, a message is read as it was sent, with its kind.
    """
    start = top_of(redis, keys)
    await roundtrip(publish(keys, message, "m1", [ALICE]))

    page = await roundtrip(read(keys, ALICE, start))

    assert [message] == [entry.message for entry in page.entries]


async def test_an_odd_user_id_has_a_stream_of_its_own(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    Ids with spaces, separators of keys, braces and any script have their own messages only.
    """
    users = ["u:a b", "u:a:b", "u:{q1}", "u:u:alice", "u:*", "u:李😀", "u:%s", "u:" + "é" * 128]
    before = await roundtrip(tops(keys, users))
    for number, user in enumerate(users):
        sent(redis, keys, [number], user)

    assert [[number] for number in range(len(users))] == [
        numbers(await roundtrip(read(keys, user, before[user]))) for user in users
    ]


async def test_a_repeated_message_has_one_offset(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    A publish under an id that was seen keeps nothing and counts nothing, for none of its streams.
    """
    users = ["u:alice", "u:bob"]
    before = await roundtrip(tops(keys, users))
    for _ in range(3):
        await roundtrip(publish(keys, text(1), "m1", users))
    after = await roundtrip(tops(keys, users))

    assert [1, 1] == [after[user].offset - before[user].offset for user in users]
    assert [[1], [1]] == [numbers(await roundtrip(read(keys, user, before[user]))) for user in users]


async def test_tops_are_of_each_audience_asked_for(roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys) -> None:
    """
    The newest position of each, also of those that nothing was ever sent to, and again the same.
    """
    sent(redis, keys, [1, 2, 3])
    sent(redis, keys, [1], "u:bob")
    first = await roundtrip(tops(keys, ["u:bob", "u:nobody", ALICE]))

    assert ["u:bob", "u:nobody", ALICE] == list(first)
    assert first == await roundtrip(tops(keys, ["u:bob", "u:nobody", ALICE]))
    assert {} == await roundtrip(tops(keys, []))


async def test_what_is_kept_expires_after_the_last_message(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Each message lengthens the time of all that are kept; it is 300 s unless told otherwise.
    """
    await roundtrip(publish(keys, text(1), "m1", [ALICE], keep=Keep(seconds=100)))
    short = redis.pttl(keys.history(ALICE))
    await roundtrip(publish(keys, text(2), "m2", [ALICE]))
    long = redis.pttl(keys.history(ALICE))

    assert 90_000 < short <= 100_000
    assert 290_000 < long <= 300_000


async def test_a_position_that_no_connection_asked_for_is_short_lived(
    roundtrip: RoundTrip, node: Node, redis: redis_py.Redis
) -> None:
    """
    Messages to someone who never connects leave nothing behind after 5 minutes; the first connection keeps the count.
    """
    sent(redis, node.keys, [1])
    sent(redis, node.keys, [1], "c:x")
    kept = [node.keys.position(ALICE), node.keys.history(ALICE), node.keys.position("c:x"), node.keys.history("c:x")]
    before = [redis.pttl(key) for key in kept]
    await roundtrip(attach(node.keys, "n1", ALICE, 1, limit=20, grace=GRACE))

    assert [True] * 4 == [290_000 < ms <= 300_000 for ms in before], before
    assert -1 == redis.pttl(node.keys.position(ALICE))


async def test_a_count_that_was_forgotten_goes_on_above(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    Where only the position has expired, what follows has higher offsets, and no position before is taken for whole.
    """
    sent(redis, keys, [1, 2])
    before = top_of(redis, keys)
    redis.delete(keys.position(ALICE))
    await until(lambda: now_ms(redis) > before.offset + 1)
    sent(redis, keys, [3])
    page = await roundtrip(read(keys, ALICE, before))

    assert top_of(redis, keys).offset > before.offset + 1
    assert (False, [3]) == (page.is_whole, numbers(page))


async def test_a_count_ahead_of_the_clock_goes_on_above(
    roundtrip: RoundTrip, redis: redis_py.Redis, keys: Keys
) -> None:
    """
    So it does where more than 1 000 messages a second were sent: nothing is ever kept under an older offset.
    """
    ahead = now_ms(redis) + 10**9
    redis.set(keys.position(ALICE), ahead)
    sent(redis, keys, [1])
    redis.delete(keys.position(ALICE))
    await roundtrip(publish(keys, text(2), "m2", [ALICE]))

    assert ahead + 2 == top_of(redis, keys).offset
    assert [1, 2] == numbers(await roundtrip(read(keys, ALICE, Position(top_of(redis, keys).epoch, ahead))))


@pytest.fixture
def full_redis(own_redis: redis_py.Redis) -> Callable[[], None]:
    """Call it to make the server of this test full: from then on Redis refuses what might take memory."""

    def fill() -> None:
        own_redis.config_set("maxmemory", 1)
        with pytest.raises(ResponseError):
            own_redis.set("x", 1)

    return fill


async def test_a_full_redis_is_read_from(
    roundtrip: RoundTrip, own_redis: redis_py.Redis, full_redis: Callable[[], None]
) -> None:
    """
    When Redis is full, clients come back and get what they missed, leases are renewed, dead nodes are reaped and
    transitions told; only new messages are refused, at once, and leave no trace.
    """
    node, dead = Node(own_redis, "n1"), Node(own_redis, "dead")
    keys = node.keys
    dead.attach("bob")
    start = top_of(own_redis, keys)
    sent(own_redis, keys, [1, 2])
    dead.end_lease()
    full_redis()

    assert await roundtrip(renew(keys, "n1", lease=LEASE, grace=GRACE)) is not None
    came = await roundtrip(attach(keys, "n1", ALICE, 1, limit=20, grace=GRACE, since=start))
    (gone,) = (await roundtrip(reap(keys, "n1", grace=0))).transitions
    assert came.transition is not None
    assert [None, None] == [
        await roundtrip(acknowledge(keys, "n1", transition, grace=GRACE)) for transition in (came.transition, gone)
    ]
    with pytest.raises(Unavailable, match=r"\(OOM\)"):
        await roundtrip(publish(keys, text(3), "m3", [ALICE]))

    assert (Attach.OK, "u:bob") == (came.status, gone.stream)
    assert came.missed is not None
    assert [1, 2] == numbers(came.missed)
    assert [1, 2] == numbers(await roundtrip(read(keys, ALICE, start)))
    assert {ALICE, "u:nobody"} == set(await roundtrip(tops(keys, [ALICE, "u:nobody"])))
    own_redis.config_set("maxmemory", 0)
    assert Routed(1, frozenset({"n1"})) == await roundtrip(publish(keys, text(3), "m3", [ALICE]))
    assert [1, 2, 3] == numbers(await roundtrip(read(keys, ALICE, start)))
    for one in (node, dead):
        one.hang_up()
