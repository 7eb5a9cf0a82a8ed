"""How a node lets its clients go before its process ends: a few at a time, each told when to come back."""

import asyncio
import math
import random
from collections.abc import Sequence
from typing import TypeVar

from qrsocket.errors import CloseCode
from qrsocket.server.hub import Hub

T = TypeVar("T")

# Seconds between two batches.
INTERVAL = 0.25
# A node takes the clients of one that stops at this rate without a delay that they would notice.
RETURNING_PER_SECOND = 200


async def drain(hub: Hub, seconds: float, grace: float) -> None:
    """
    Close all connections over *seconds*, those that come meanwhile as well. It may take less.

    Args:
        grace: Seconds after which a user who has not come back counts as gone. Each is told to come back before that.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while waiting := [connection for connection in hub.connections if connection.closing is None]:
        batch = next_batch(waiting, until - loop.time())
        spread = min(len(batch) / RETURNING_PER_SECOND, grace / 2)
        for connection in batch:
            connection.tell("draining", retry_after=round(random.uniform(0, spread), 2))  # noqa: S311 - spreads the load
            connection.close(CloseCode.RESTART, "the node stops")
        if len(batch) == len(waiting):
            return
        await asyncio.sleep(INTERVAL)


def next_batch(waiting: Sequence[T], seconds: float) -> Sequence[T]:
    """Return those of *waiting* that go now, so that batches of one size take *seconds* for all."""
    batches = max(1, math.ceil(seconds / INTERVAL))
    return waiting[: math.ceil(len(waiting) / batches)]
