"""How long the event loop was held up, by the CPU time of its thread: what else the machine does counts for nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.machine import slowness

TICK = 0.001
# Another user's next message is to be served within 0.2 s of an ordinary machine's CPU.
LONGEST_TURN = 0.2 * slowness()


@dataclass
class Turns:
    """
    Attributes:
        longest: Seconds of CPU time that the loop's thread has spent between two looks at its timers.
    """

    longest: float = 0.0


@asynccontextmanager
async def measured_turns() -> AsyncIterator[Turns]:
    """Watch the running loop until the block ends."""
    turns, loop, at = Turns(), asyncio.get_running_loop(), time.thread_time()

    def tick() -> None:
        nonlocal at, timer
        before, at = at, time.thread_time()
        turns.longest = max(turns.longest, at - before)
        timer = loop.call_later(TICK, tick)

    timer = loop.call_soon(tick)
    try:
        yield turns
    finally:
        tick()
        timer.cancel()
