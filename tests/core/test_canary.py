"""Whether a node hears what Redis publishes, by a clock that the test holds."""

from types import SimpleNamespace

from qrsocket import events
from qrsocket.presence.canary import Canary

LEASE = 15.0


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_heartbeat_says_how_long_it_took() -> None:
    """
    From the first request that it answers: one that is late has not been replaced by the next. One that nobody has
    asked for says nothing.
    """
    time, seen = Time(), list[events.Event]()
    canary = Canary(LEASE, time)
    canary.begin("n1")
    with events.observed(SimpleNamespace(on_event=seen.append)):
        canary.asked("c")
        time.now += 5
        canary.asked("c")
        time.now += 1
        canary.heard(b"c")
        canary.heard(b"c")

    assert 6.0 == canary.lag
    canary.asked("c")
    time.now += 5
    assert 6.0 == canary.lag  # of the last one, as long as the next is not longer
    time.now += 5
    assert 10.0 == canary.lag
    assert [events.Heartbeat("n1", 6.0)] == seen


def test_it_is_deaf_after_a_lease() -> None:
    """
    On any channel: each shard has its own. With the heartbeat, or another name, it is not.
    """
    time = Time()
    canary = Canary(LEASE, time)
    canary.begin("n1")
    for channel in ("a", "b"):
        canary.asked(channel)
    canary.heard(b"a")
    time.now += LEASE
    assert not canary.is_deaf
    time.now += 0.1
    assert canary.is_deaf
    canary.heard(b"b")
    assert not canary.is_deaf
    canary.asked("a")
    time.now += LEASE + 0.1
    canary.begin("n2")
    assert not canary.is_deaf


def test_before_the_first_heartbeat() -> None:
    """
    There is nothing to say, and nothing to miss.
    """
    canary = Canary(LEASE, Time())

    assert (0.0, False) == (canary.lag, canary.is_deaf)
