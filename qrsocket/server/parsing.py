"""Large documents are parsed one at a time, in a thread: whoever sends them holds up nobody else."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

# A smaller one takes less than a millisecond.
LARGE_BYTES = 8 * 1024


class Parsing:
    """Of one node. All large documents share it, since Python runs one thread at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore()
        self._threads: CapacityLimiter | None = None

    async def run(self, size_bytes: int, parse: Callable[[], T], charge: Callable[[float], None] | None = None) -> T:
        """
        Return what *parse* makes of a document of *size_bytes*, or raise what it raises.

        Args:
            charge: Gets the seconds of CPU time that a large one has taken.
        """
        if size_bytes < LARGE_BYTES:
            return parse()

        def timed() -> T:
            began = time.thread_time()
            try:
                return parse()
            finally:
                if charge is not None:
                    charge(time.thread_time() - began)

        async with self._turn:
            # Threads of its own: those that all `def` handlers share may be taken.
            self._threads = self._threads or CapacityLimiter(1)
            return await to_thread.run_sync(timed, limiter=self._threads)
