"""A node's part in the trails of messages: what it did with each, noted in Redis a moment later, some together."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from qrsocket import clients, events
from qrsocket.errors import Unavailable
from qrsocket.events import Behind, Closed, Connected, Event, GapTold, Offered, Recovered
from qrsocket.keys import Keys, Keyspace
from qrsocket.roundtrip import arun
from qrsocket.settings import Settings
from qrsocket.streams import Stream, of_connection, of_user
from qrsocket.trail import MOST_IDS, Note, add

# Seconds in which notes come together, and how many go in one call. While Redis is away the oldest are dropped.
INTERVAL = 0.2
AT_ONCE = 200
MOST_WAITING = 10_000


class Trailing:
    """An observer of one node."""

    def __init__(self, settings: Settings, node: Callable[[], str]) -> None:
        """
        Args:
            node: Tells its name.
        """
        self._settings, self._node, self._keyspace = settings, node, Keyspace.of(settings)
        self._waiting: deque[tuple[Keys, Note]] = deque(maxlen=MOST_WAITING)
        self._has_notes = asyncio.Event()

    async def run(self) -> None:
        """Observe without end."""
        with events.observed(self, messages=True):
            while True:
                await self._has_notes.wait()
                await asyncio.sleep(INTERVAL)
                self._has_notes.clear()
                while self._waiting:
                    await self._add()

    def on_event(self, event: Event) -> None:
        match event:
            case Offered():
                self._note(event.stream, event.message_id, "offered", _offered(event))
            case Connected() | Closed():
                stream = of_connection(event.connection) if event.user is None else of_user(event.user)
                closed = _closed(event) if isinstance(event, Closed) else {}
                what = "closed" if isinstance(event, Closed) else "connected"
                self._note(stream, stream, what, {"connection": event.connection, **closed})
            case Behind():
                self._note(event.stream, event.stream, "behind", {"connections": event.connections[:MOST_IDS]})
            case Recovered():
                about = {"connection": event.connection, "first": str(event.first), "last": str(event.last)}
                self._note(event.stream, event.stream, "recovered", about)
            case GapTold():
                self._note(event.stream, event.stream, "gap", {"connection": event.connection})
            case _:
                pass

    def _note(self, stream: Stream, name: str, what: str, more: dict[str, Any]) -> None:
        text = json.dumps({"at": round(time.time() * 1000), "what": what, "node": self._node(), **more})
        self._waiting.append((self._keyspace.of_stream(stream), Note(name, text)))
        self._has_notes.set()

    async def _add(self) -> None:
        by_shard: dict[Keys, list[Note]] = {}
        for _ in range(min(len(self._waiting), AT_ONCE)):
            keys, note = self._waiting.popleft()
            by_shard.setdefault(keys, []).append(note)
        for keys, notes in by_shard.items():
            try:
                call = add(keys, notes, self._settings.trail_seconds)
                await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
            except (Unavailable, RedisError):
                pass  # others say that Redis is away; a trail is no promise


def _closed(event: Closed) -> dict[str, Any]:
    """Return how it ended. A reason of its client's own is its words, and not noted."""
    return {"code": event.code, "reason": "" if event.by_client else event.reason}


def _offered(event: Offered) -> dict[str, Any]:
    """Return whom it was offered to, and of many connections some, and how many."""
    said: dict[str, Any] = {"stream": event.stream, "offset": "" if event.offset is None else str(event.offset)}
    for place in ("written", "waiting", "dropped", "behind", "left_out"):
        if connections := getattr(event, place):
            said[place] = {"count": len(connections), "first": connections[:MOST_IDS]}
    return said
