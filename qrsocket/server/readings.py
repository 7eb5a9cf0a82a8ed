"""What a node has read from Redis, for observers: told of many readings together, with the time of some."""

import time

from qrsocket import events
from qrsocket.events import Relayed

# To tell of each reading, with its time, would cost 5 % of what a delivery to one connection costs.
TIMED_EVERY, TOLD_TOGETHER, TOLD_EVERY = 8, 128, 0.5


class Readings:
    def __init__(self) -> None:
        self._told_at = time.monotonic()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._envelopes = self._count = 0
        self._seconds: list[float] = []

    def begin(self) -> float | None:
        """Return when this reading begins, if it is to be timed."""
        return None if self._count % TIMED_EVERY else time.monotonic()

    def end(self, envelopes: int, began_at: float | None) -> None:
        """Count a reading that began then."""
        self._envelopes += envelopes
        self._count += 1
        if began_at is None:
            return
        now = time.monotonic()
        self._seconds.append(now - began_at)
        if self._count >= TOLD_TOGETHER or now - self._told_at >= TOLD_EVERY:
            events.notify(Relayed(self._envelopes, tuple(self._seconds)))
            self._told_at = now
            self._begin_anew()
