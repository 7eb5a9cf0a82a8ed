"""Whether what Redis publishes reaches this node: with each renewal of its lease it has a heartbeat sent to itself."""

import time
from collections.abc import Callable

from qrsocket import events
from qrsocket.events import Heartbeat


class Canary:
    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease, self._clock = lease, clock
        self._node, self._last = "", 0.0
        self._asked_at: dict[str, float] = {}  # by the channel on which none has come since

    def begin(self, node: str) -> None:
        """Wait for the heartbeats of *node* from now on, and for none that was sent to it under another name."""
        self._node, self._asked_at = node, {}

    def asked(self, channel: str) -> None:
        """Redis is about to be asked for a heartbeat on *channel*."""
        self._asked_at.setdefault(channel, self._clock())

    def heard(self, channel: bytes) -> None:
        """A heartbeat has come."""
        asked_at = self._asked_at.pop(channel.decode(), None)
        if asked_at is None:
            return  # of a renewal that another heartbeat has answered for
        self._last = self._clock() - asked_at
        if events.observers:
            events.notify(Heartbeat(self._node, self._last))

    @property
    def lag(self) -> float:
        """Seconds from the request for a heartbeat to its arrival, of the last one; or until now, if that is longer."""
        now = self._clock()
        return max(self._last, *(now - asked_at for asked_at in self._asked_at.values()), 0.0)

    @property
    def is_deaf(self) -> bool:
        """Whether a heartbeat is out for longer than a lease."""
        now = self._clock()
        return any(now - asked_at > self._lease for asked_at in self._asked_at.values())
