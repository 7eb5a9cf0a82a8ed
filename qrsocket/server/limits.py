"""What connections may use: messages per second, descriptors, and time without a sign of life."""

import asyncio
import math
import resource
import socket
from contextlib import suppress

from qrsocket.settings import Settings

FRAMES_PER_MESSAGE = 10
# What a client that reads has this long to take what waits for it, and then the close frame.
CLOSE_TIMEOUT = 2.0
# For another server to close a client that does not read. Most give up after 10 s themselves.
SERVERS_CLOSE_TIMEOUT = 20.0
MOST_CONNECTIONS = 10_000
# Redis has up to 50, and the process its own.
OTHER_FILES = 64


class TokenBucket:
    """
    Allows *rate* events per second on average, and *burst* at once.

    Source: https://en.wikipedia.org/wiki/Token_bucket
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), now

    def refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now

    def take(self, now: float, amount: int = 1) -> bool:
        self.refill(now)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def charge(self, amount: float) -> None:
        """Count *amount* more of what was let through already."""
        self._tokens -= amount

    def owed(self, now: float) -> float:
        """Return in how many seconds what was charged above what there was is paid; 0 if nothing is owed."""
        return max(0.0, -self._tokens / self._rate - (now - self._at))


def max_connections(settings: Settings) -> int:
    """Return how many connections a node takes: as set, or the smaller of 10 000 and 0.8 × the open-file limit."""
    if settings.max_connections_per_node:
        return settings.max_connections_per_node
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft_limit == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, int(0.8 * soft_limit))


def max_open() -> float:
    """
    Return how many connections of any kind may be open: what is left of the open-file limit is for Redis and files. A
    server that has reached its limit can neither take a connection nor refuse one.
    """
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return math.inf
    return soft_limit - min(soft_limit // 2, max(OTHER_FILES, soft_limit // 10))


def end_when_nothing_is_acknowledged(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel end a connection whose other side acknowledges nothing: pings are behind what waits there."""
    option, sock = getattr(socket, "TCP_USER_TIMEOUT", None), transport.get_extra_info("socket")
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):  # it has closed already; the other is uvloop's
            sock.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
