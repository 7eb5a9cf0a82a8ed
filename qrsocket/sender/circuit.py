"""When Redis has just failed, the next calls do not wait for it: they fail at once, and one in a while looks again."""

import os
import threading

from qrsocket import events
from qrsocket.errors import Unavailable
from qrsocket.events import CircuitChanged

# Long enough that a process does next to nothing but its work while Redis is gone; short enough that nobody waits for
# it to come back to life.
PAUSE = 1.0


class NotTried(Unavailable):
    """Raised instead of asking a Redis that failed a moment ago: unlike after other `Unavailable`, nothing is done."""

    def __str__(self) -> str:
        return f"{self.cause}; `qrsocket doctor` says where it fails"


class Circuit:
    """
    Whether Redis is worth a try. All times are seconds of one clock that does not go back, such as `time.monotonic()`.

    May be used by many threads at once. It never waits.
    """

    __slots__ = ("_answered_at", "_failed_at", "_probe_at", "_probing")

    def __init__(self) -> None:
        self._answered_at = self._failed_at = self._probe_at = float("-inf")
        self._probing = threading.Lock()

    def admit(self, now: float, *, timeout: float) -> None:
        """
        Let a call through that takes at most *timeout* seconds.

        Raises:
            NotTried: Redis failed less than `PAUSE` ago, or is being probed by another call.
        """
        if self._failed_at <= self._answered_at:
            return
        if now >= self._probe_at and self._probing.acquire(blocking=False):
            try:
                if now >= self._probe_at:
                    # A probe that is cancelled tells nothing: when it would have ended, another one may go.
                    self._probe_at = now + timeout
                    return
            finally:
                self._probing.release()
        raise NotTried(f"not tried: Redis failed {max(now - self._failed_at, 0.0):.1f} s ago", timeout)

    def answered(self, now: float) -> None:
        """Note that Redis answered a call at *now*."""
        is_closed = self._failed_at <= self._answered_at
        self._answered_at = now
        if not is_closed and events.observers:
            events.notify(CircuitChanged(is_open=False))

    def failed(self, now: float, *, began: float) -> None:
        """
        Note that a call which *began* then, was given up at *now*.

        If Redis has answered another call meanwhile, it was this one's connection that failed, and that is gone now.
        """
        if began >= self._answered_at:
            is_closed = self._failed_at <= self._answered_at
            self._probe_at = now + PAUSE  # before the circuit opens, or another thread would find it due
            self._failed_at = now
            if is_closed and events.observers:
                events.notify(CircuitChanged(is_open=True))


_circuits: dict[str, Circuit] = {}


def circuit_of(redis_url: str) -> Circuit:
    """Return the circuit of this process for one Redis, which code that awaits and code that blocks share."""
    circuit = _circuits.get(redis_url)
    return _circuits.setdefault(redis_url, Circuit()) if circuit is None else circuit


# A child finds out for itself; a lock that another thread of its parent held would be held for ever.
os.register_at_fork(after_in_child=_circuits.clear)
