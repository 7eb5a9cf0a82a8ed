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


def test_bytes_are_paid_for() -> None:
    """
    Large messages are taken as others are. Above a burst of 16 KiB each, their bytes are paid for at the rate, before
    the next one is handled.
    """
    box = inbox()

    assert 5 == taken(box, 2 * BYTES_PER_MESSAGE)
    assert (pytest.approx(0.5), pytest.approx(0.3), 0.0) == (box.owed(0.0), box.owed(0.2), box.owed(0.6))


def test_small_messages_owe_nothing() -> None:
    """
    Whoever keeps to the rate with small messages never waits.
    """
    box = inbox()
    taken(box, 100)

    assert 0.0 == box.owed(0.0)


def test_cpu_time_is_paid_for() -> None:
    """
    CPU time above a burst of ms is paid for at the rate, and what was saved is no more than a burst.
    """
    box = inbox()
    box.judge(10, 100.0)
    box.charge_seconds(0.007)

    assert (pytest.approx(0.2, abs=0.01), 0.0) == (box.owed(100.0), box.owed(100.3))


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
    ("waiting", "is_full", "is_crowded"),
    [
        ([], False, False),
        (["x" * 99], False, False),
        (["x" * 40, b"x" * 60], True, False),
        (["x" * 24 + "👋"], True, False),
        ([""] * 4, False, False),
        ([""] * 5, False, True),
    ],
)
def test_what_waits_is_bounded(waiting: list[str | bytes], is_full: bool, is_crowded: bool) -> None:
    """
    What waits is bounded in number, and in the bytes that it takes in memory: a text of which one letter is wide takes
    four times as many.
    """
    box = inbox()
    for payload in ("x", "x", *waiting):
        box.messages.enter(Inbound(payload))

    assert (is_full, is_crowded) == (box.is_full, box.is_crowded)


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
