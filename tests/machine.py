"""How much slower this machine is now than an idle one: by so much, what waits in a test waits longer."""

import os
import time

# Of the work below, on one core of an ordinary machine with nothing else to do.
IDLE_SECONDS = 0.2
SLOWEST = 8.0
# Measured once, for the processes of one run of the tests: those that come later would measure each other.
KNOWN = "TESTS_PACE"


def pace() -> float:
    """Return 1 on a machine with nothing else to do, 2 on one on which the same work takes twice as long, at most 8."""
    if KNOWN not in os.environ:
        os.environ[KNOWN] = str(min(max(1.0, round(_measured(), 1)), SLOWEST))
    return float(os.environ[KNOWN])


def slowness() -> float:
    """Return how many times as much CPU time the same work takes here as on an ordinary machine, whatever else runs."""
    began = time.process_time()
    _work()
    return max(1.0, (time.process_time() - began) / IDLE_SECONDS)


def _measured() -> float:
    began = time.monotonic()
    _work()
    slower = (time.monotonic() - began) / IDLE_SECONDS
    return 2 * slower - 1  # twice as much, since what the tests start has to share what is left


def _work() -> None:
    for _ in range(40):
        sum(number * number for number in range(80_000))
