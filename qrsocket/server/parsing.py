"""Large documents are parsed one at a time, in a thread: whoever sends them holds up nobody else."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from qrsocket.server.inbox import Inbox

T = TypeVar("T")

# A smaller one takes a few ms at worst, and far less than the way to a thread and back as a rule.
LARGE_BYTES = 4 * 1024
LONGEST_WAIT = 1.0


class ClientGone(Exception):
    """Raised instead of parsing what nobody waits for any more."""


class Parsing:
    """Of one node. All large documents share it, since Python runs one thread at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore()
        self._threads: CapacityLimiter | None = None

    async def run(self, size_bytes: int, parse: Callable[[], T], inbox: Inbox | None = None) -> T:
        """
        Return what *parse* makes of a document of *size_bytes*, or raise what it raises.

        Args:
            inbox: Of the client that sent it: the CPU time is charged to it, and while it owes some it waits.

        Raises:
            ClientGone: The client has gone while the document waited.
        """
        while True:
            await _paid(inbox)
            if size_bytes < LARGE_BYTES:
                return _timed(parse, inbox)()
            async with self._turn:
                if inbox is not None and inbox.owed(time.monotonic()):
                    continue  # for another message of the same client, whose turn was before this one's
                # Threads of its own: those that all `def` handlers share may be taken.
                self._threads = self._threads or CapacityLimiter(1)
                return await to_thread.run_sync(_timed(parse, inbox), limiter=self._threads)


async def _paid(inbox: Inbox | None) -> None:
    while inbox is not None and (wait := inbox.owed(time.monotonic())):
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        if inbox.is_closed:
            raise ClientGone


def _timed(parse: Callable[[], T], inbox: Inbox | None) -> Callable[[], T]:
    if inbox is None:
        return parse

    def timed() -> T:
        began = time.thread_time()
        try:
            return parse()
        finally:
            inbox.charge_seconds(time.thread_time() - began)

    return timed
