"""What a node says of itself at each renewal of its lease."""

import time
from collections.abc import Callable

from qrsocket import events
from qrsocket.events import Counted
from qrsocket.presence.census import Figures
from qrsocket.process import this_process
from qrsocket.server.hub import Hub
from qrsocket.server.noticed import noticed
from qrsocket.server.outbox import Outbox
from qrsocket.streams import topic_of, user_of


class Teller:
    """Counts what happens between one telling and the next."""

    def __init__(self, hub: Hub, outbox: Outbox, behind: Callable[[], int], lag: Callable[[], float]) -> None:
        """
        Args:
            behind: Tells how many connections are.
            lag: Tells how long the last heartbeat took.
        """
        self._hub, self._outbox, self._behind, self._lag = hub, outbox, behind, lag
        self._since, self._told_at, self._written = time.time(), time.monotonic(), 0

    def tell(self) -> bytes:
        now, written = time.monotonic(), self._outbox.written
        seconds, messages = now - self._told_at, written - self._written
        self._told_at, self._written = now, written
        if events.observers:
            events.notify(self._counted())
        return Figures(
            **this_process(),
            since=self._since,
            connections=len(self._hub),
            messages_per_second=round(messages / seconds, 1) if seconds else 0.0,
            waiting_bytes=self._outbox.waiting_bytes,
            behind=self._behind(),
            lag=self._lag(),
            refusals=noticed.refusals,
            slowest=noticed.slowest(),
        ).to_json()

    def _counted(self) -> Counted:
        streams, outbox = self._hub.streams, self._outbox
        return Counted(
            users=sum(user_of(stream) is not None for stream in streams),
            topics=sum(topic_of(stream) is not None for stream in streams),
            waiting_messages=outbox.waiting_messages,
            waiting_bytes=outbox.waiting_bytes,
            behind=self._behind(),
        )
