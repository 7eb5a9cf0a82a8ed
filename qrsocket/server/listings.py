"""The lists of jobs that are asked for. They are dear to Redis, so that those who ask at once share one."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from qrsocket import clients
from qrsocket.jobs.table import Jobs
from qrsocket.keys import Keyspace
from qrsocket.roundtrip import arun
from qrsocket.settings import Settings
from qrsocket.streams import Stream

# After a list was read, its owner's next one waits for so many times as long, at most for a second: whatever one user
# asks of a node, Redis spends a tenth of its time on it.
REST, LONGEST_REST = 9, 1.0

Listed = list[dict[str, Any]]


@dataclass(slots=True)
class Owner:
    """
    Attributes:
        turn: Held while a list is read.
        following: The reading that has not begun. Whoever asks now gets what it returns.
        free_at: When the next one may begin, on the loop's clock.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    following: "asyncio.Task[Listed] | None" = None
    free_at: float = 0.0


class Listings:
    """Of one node."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owners: dict[Stream, Owner] = {}

    async def of(self, owner: Stream) -> Listed:
        """
        Return the jobs of *owner*, read after this was called: those that run, and those that ended a while ago.

        Raises:
            Unavailable: Redis did not answer.
        """
        known = self._owners.setdefault(owner, Owner())
        if known.following is None:
            known.following = asyncio.create_task(self._read(owner, known), name="list jobs")
            known.following.add_done_callback(_heard)
        return await asyncio.shield(known.following)

    async def _read(self, owner: Stream, known: Owner) -> Listed:
        loop = asyncio.get_running_loop()
        async with known.turn:
            await asyncio.sleep(known.free_at - loop.time())
            known.following, began = None, loop.time()
            try:
                call = Jobs(Keyspace.of(self._settings).of_stream(owner), self._settings).listed(owner)
                return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
            finally:
                rest = min(REST * (loop.time() - began), LONGEST_REST)
                known.free_at = loop.time() + rest
                loop.call_later(rest, self._forget, owner, known)

    def _forget(self, owner: Stream, known: Owner) -> None:
        if known.following is None and not known.turn.locked():
            self._owners.pop(owner, None)


def _heard(reading: "asyncio.Task[Listed]") -> None:
    """Take an error that nobody waits for any more, which asyncio would log."""
    if not reading.cancelled():
        reading.exception()
