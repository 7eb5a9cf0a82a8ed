"""What is taken of what a client sends, and what waits: without sockets, and with a clock of our own."""

import pytest

from qrsocket.server.inbox import BYTES_PER_MESSAGE, Inbox, Lane, Verdict
from qrsocket.server.wire import Inbound
from qrsocket.settings import Settings

SETTINGS = Settings(rate=10, rate_burst=5, max_message_in_bytes=2**20, max_waiting_bytes=100, max_handlers_in_flight=2)


def inbox() -> Inbox:
    return Inbox(SETTINGS, 0.0)


def taken(inbox: Inbox, size_bytes: int, *, now: float = 0.0) -> int:
    """Return how many messages of this size are taken in a row."""
    count = 0
    while inbox.judge(size_bytes, now) is Verdict.TAKEN:
        count += 1
    return count


def test_small_messages_count_as_one() -> None:
    """
    A burst is taken, then what the rate gives.
    """
    box = inbox()

    assert (5, 1, 0) == (taken(box, 10), taken(box, 10, now=0.11), taken(box, 10, now=0.12))


def test_large_messages_count_as_several() -> None:
    """
    Each 16 KiB of a message counts as one more, and what one message has overdrawn is paid back first.
    """
    box = inbox()

    assert 2 == taken(box, 2 * BYTES_PER_MESSAGE)
    assert (0, 1) == (taken(box, 10, now=0.1), taken(box, 10, now=0.2001))


def test_one_huge_message_is_taken() -> None:
    """
    A message that is worth more than a burst is taken from a client that has sent nothing, and is paid for after it.
    """
    box = inbox()

    assert 1 == taken(box, 7 * BYTES_PER_MESSAGE)
    assert (pytest.approx(0.3), pytest.approx(0.1), 0.0) == (box.owed(0.0), box.owed(0.2), box.owed(0.4))
    assert (0, 1) == (taken(box, 10, now=0.39), taken(box, 10, now=0.41))


def test_cpu_time_counts() -> None:
    """
    Each ms of CPU time that a message took counts as one message.
    """
    box = inbox()
    box.charge_seconds(0.003)

    assert 2 == taken(box, 10)


def test_refusals_end_in_abuse() -> None:
    """
    As many messages as a burst are refused with a word; then the client is cut off. Its size alone refuses a message.
    """
    box = inbox()
    taken(box, 10)

    assert [Verdict.TOO_FAST] * 4 + [Verdict.ABUSE] == [box.judge(10, 0.0) for _ in range(5)]
    assert Verdict.TOO_LARGE is box.judge(2**20 + 1, 0.0)


def test_a_lane_keeps_the_order() -> None:
    """
    So many are handled at once; the others wait, and come in the order in which they were sent.
    """
    lane = Lane(2)
    sent = [Inbound(str(number)) for number in range(4)]

    assert [True, True, False, False] == [lane.enter(one) for one in sent]
    assert [sent[2], sent[3], None] == [lane.leave() for _ in range(3)]
    assert [True, False] == [lane.enter(one) for one in sent[:2]]


@pytest.mark.parametrize(
    ("waiting", "following", "has_room"),
    [([], 1000, True), ([40], 60, True), ([40], 61, False), ([1, 1, 1, 1], 1, True), ([1, 1, 1, 1, 1], 1, False)],
)
def test_what_waits_is_bounded(waiting: list[int], following: int, has_room: bool) -> None:
    """
    What waits is bounded in number and in bytes; where nothing waits there is room for one message of any size.
    """
    box = inbox()
    for size in (1, 1, *waiting):
        box.messages.enter(Inbound("x" * size))

    assert has_room == box.has_room(Inbound("x" * following))


def test_what_waits_is_dropped() -> None:
    """
    Once the client has gone nothing waits any more.
    """
    box = inbox()
    for lane in (box.messages, box.asks):
        for _ in range(3):
            lane.enter(Inbound("x"))
    box.close()

    assert (None, None) == (box.messages.leave(), box.asks.leave())
