"""What a connection may use: messages per second, and the server's own limits, which uvicorn sets too wide for us."""

import asyncio
import logging
import resource
import time
from typing import Any

from starlette.websockets import WebSocket

from qrsocket.settings import Settings

logger = logging.getLogger(__name__)

FRAMES_PER_MESSAGE = 10
MOST_CONNECTIONS = 10_000


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


def tune_server(websocket: WebSocket, settings: Settings) -> Any:
    """
    Give this connection our limits where the server is uvicorn; call it before `accept`, and in the task that the
    server has made. Returns the transport, or None with another server.

    uvicorn's are for the whole process and set by its command line: 16 MiB a message, compression on (which costs 35
    KiB a connection), a ping every 20 s. Another server keeps its own; what we check ourselves holds there too.
    """
    protocol = _server_protocol(websocket)
    if hasattr(protocol, "ping_interval"):
        protocol.ping_interval, protocol.ping_timeout = settings.ping_interval, settings.ping_timeout
    if hasattr(protocol, "keepalive_timeout"):
        _abort_what_is_not_read(protocol)
    connection: Any = getattr(protocol, "conn", None)
    if hasattr(connection, "max_message_size"):
        connection.max_message_size = settings.max_message_in_bytes
        _guard_frames(protocol, connection, settings)
    response: Any = getattr(protocol, "response", None)
    if not settings.compression and hasattr(connection, "extensions") and hasattr(response, "headers"):
        connection.extensions = []
        response.headers.pop("Sec-WebSocket-Extensions", None)
    return getattr(protocol, "transport", None)


def _abort_what_is_not_read(protocol: Any) -> None:
    """Cut off a client whose pong did not come: uvicorn closes, and waits without end for what it has not read."""
    give_up = protocol.keepalive_timeout

    def keepalive_timeout() -> None:
        give_up()
        abort_if_unread(protocol.transport)

    protocol.keepalive_timeout = keepalive_timeout


def abort_if_unread(transport: Any) -> None:
    if transport.get_write_buffer_size():  # otherwise it has closed, and asyncio's fails when it is aborted then
        transport.abort()


def _guard_frames(protocol: Any, connection: Any, settings: Settings) -> None:
    """
    Cut off a client that floods with frames which are no messages, pings or empty fragments, or leaves pongs unread.

    uvicorn takes any number of them, answers each ping, and keeps the answers until they are read.
    """
    received = connection.events_received
    rate, burst = FRAMES_PER_MESSAGE * settings.rate, FRAMES_PER_MESSAGE * settings.rate_burst
    frames = TokenBucket(rate, int(burst), time.monotonic())

    def events_received() -> list[Any]:
        events: list[Any] = received()
        transport = protocol.transport
        if transport.is_closing():
            return events
        is_flood = not frames.take(time.monotonic(), len(events))
        if is_flood or transport.get_write_buffer_size() > settings.max_queued_bytes:
            logger.warning("flood of frames: connection aborted")
            transport.abort()
            return []
        return events

    connection.events_received = events_received


def mark_refused(websocket: WebSocket) -> None:
    """Tell uvicorn that a handshake was answered; 0.54 logs an error for each one answered with an HTTP response."""
    protocol = _server_protocol(websocket)
    if hasattr(protocol, "handshake_complete"):
        protocol.handshake_complete = True


def _server_protocol(websocket: WebSocket) -> Any:
    """Return uvicorn's protocol object, which owns the transport; None with another server."""
    receive = websocket._receive  # noqa: SLF001 - ASGI hands out nothing else that leads to the transport
    owner = getattr(receive, "__self__", None)
    if not _is_uvicorns(owner):
        # A middleware has wrapped it, as tracers do. This task runs a method of the protocol, though.
        task = asyncio.current_task()
        frame = getattr(task and task.get_coro(), "cr_frame", None)
        owner = frame and frame.f_locals.get("self")
    return owner if _is_uvicorns(owner) else None


def _is_uvicorns(owner: object) -> bool:
    return any(base.__module__.startswith("uvicorn.") for base in type(owner).__mro__)
