"""How much slower this machine is now than an idle one: by so much, what waits in a test waits longer."""

import time
from functools import cache

# Of the work below, on one core of an ordinary machine with nothing else to do.
IDLE_SECONDS = 0.2
SLOWEST = 8.0


@cache
def pace() -> float:
    """Return 1 on a machine with nothing else to do, 2 on one on which the same work takes twice as long, at most 8."""
    began = time.monotonic()
    for _ in range(40):
        sum(number * number for number in range(80_000))
    return min(max(1.0, round((time.monotonic() - began) / IDLE_SECONDS, 1)), SLOWEST)
