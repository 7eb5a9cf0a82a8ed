"""What a node keeps of refusals and slow handlers for the console."""

import pytest

from qrsocket.events import Closed, Connected, GapTold, Handled, Refused
from qrsocket.presence.census import Slow
from qrsocket.server import noticed as module
from qrsocket.server.noticed import MOST_REFUSALS, MOST_SLOW, PERIOD, Noticed


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def closed(code: int, *, by_client: bool = False) -> Closed:
    return Closed("c1", "alice", "plain", code, "why", by_client, 1.0)


def test_refusals() -> None:
    """
    Handshakes, what the node ends, and gaps; not what ends as usual, nor what a client chooses to close with.
    """
    noticed = Noticed()
    for event in (
        Connected("c1", "alice", "plain"),
        Refused(403, "InvalidToken"),
        closed(4000),
        closed(1001),
        closed(4000, by_client=True),
        GapTold("c1", "alice", "t:room"),
    ):
        noticed.on_event(event)

    assert [
        ("handshake 403", "InvalidToken", None),
        ("closed 4000", "why", "alice"),
        ("gap", "messages of t:room are gone", "alice"),
    ] == [(one.what, one.cause, one.user) for one in noticed.refusals]


def test_the_newest_refusals() -> None:
    """
    So many are kept.
    """
    noticed = Noticed()
    for number in range(MOST_REFUSALS + 1):
        noticed.on_event(Refused(403, str(number)))

    assert [str(number) for number in range(1, MOST_REFUSALS + 1)] == [one.cause for one in noticed.refusals]


def test_the_slowest(clock: Clock) -> None:
    """
    Of each handler how often it ran and how long at most, over this minute and the one before.
    """
    noticed = Noticed()
    for seconds in (0.1, 0.3, 0.2):
        noticed.on_event(Handled("take", "c1", None, None, seconds))
    noticed.on_event(Handled("give", "c1", None, None, 0.5))
    assert (Slow("give", 1, 0.5), Slow("take", 3, 0.3)) == noticed.slowest()

    clock.now += PERIOD
    assert 2 == len(noticed.slowest())
    noticed.on_event(Handled("take", "c1", None, None, 0.1))
    assert (Slow("give", 1, 0.5), Slow("take", 4, 0.3)) == noticed.slowest()

    clock.now += PERIOD
    assert (Slow("take", 1, 0.1),) == noticed.slowest()

    clock.now += 2 * PERIOD
    assert () == noticed.slowest()


def test_the_slowest_of_many() -> None:
    """
    So many are told.
    """
    noticed = Noticed()
    for number in range(MOST_SLOW + 1):
        noticed.on_event(Handled(f"h{number}", "c1", None, None, float(number)))

    assert [f"h{number}" for number in range(MOST_SLOW, 0, -1)] == [slow.handler for slow in noticed.slowest()]
