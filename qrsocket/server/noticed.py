"""What those who run an application look for first, for its console: what was refused lately, and what is slow."""

import time
from collections import deque

from qrsocket import events
from qrsocket.events import Closed, Event, GapTold, Handled, Refused
from qrsocket.presence.census import Refusal, Slow
from qrsocket.server.noting import REFUSALS

MOST_REFUSALS, MOST_SLOW = 20, 5
# Handlers are compared over this many seconds, and over those of the time before.
PERIOD = 60.0


class Noticed:
    """An observer of one process."""

    def __init__(self) -> None:
        self._refusals: deque[Refusal] = deque(maxlen=MOST_REFUSALS)
        self._now: dict[str, Slow] = {}
        self._before: dict[str, Slow] = {}
        self._turned_at = time.monotonic()

    def on_event(self, event: Event) -> None:
        match event:
            case Refused():
                self._refuse(f"handshake {event.status}", event.cause, None)
            case Closed() if event.code in REFUSALS and not event.by_client:
                self._refuse(f"closed {event.code}", event.reason, event.user)
            case GapTold():
                self._refuse("gap", f"messages of {event.stream} are gone", event.user)
            case Handled():
                self._now[event.handler] = _longer(Slow(event.handler, 1, event.seconds), self._now.get(event.handler))
            case _:
                pass

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The newest last."""
        return tuple(self._refusals)

    def slowest(self) -> tuple[Slow, ...]:
        """Return the handlers that took longest in the last minute, or two, the slowest first."""
        past = time.monotonic() - self._turned_at
        if past >= PERIOD:
            self._before, self._now = (self._now if past < 2 * PERIOD else {}), {}
            self._turned_at = time.monotonic()
        both = {
            name: _longer(self._now[name], self._before.get(name)) if name in self._now else self._before[name]
            for name in {*self._now, *self._before}
        }
        return tuple(sorted(both.values(), key=lambda slow: -slow.longest)[:MOST_SLOW])

    def _refuse(self, what: str, cause: str, user: str | None) -> None:
        self._refusals.append(Refusal(time.time(), what, cause, user))


def _longer(one: Slow, other: Slow | None) -> Slow:
    if other is None:
        return one
    return Slow(one.handler, one.times + other.times, max(one.longest, other.longest))


noticed = Noticed()


def notice() -> None:
    """Observe this process from now on, for its console."""
    events.observe(noticed)
