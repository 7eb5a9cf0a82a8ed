"""
redis-py's connections and pools. Its own way from a command to the answer takes as long as all the rest of a send: it
looks at the socket, counts for metrics, converts, and retries without knowing our deadline.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from inspect import Parameter, signature
from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection as AwaitingConnection
from redis.asyncio.connection import Connection as AwaitingTcpConnection
from redis.connection import AbstractConnection as BlockingConnection
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ResponseError

from qrsocket.internals import require

__all__ = [
    "LEAST_TIME",
    "AwaitingConnection",
    "BlockingConnection",
    "Pool",
    "aexchange",
    "deadline",
    "exchange",
    "transport_of",
    "without_maintenance",
]

# Seconds. Less is no time to be answered in.
LEAST_TIME = 0.001

for connection in (Connection, AwaitingTcpConnection):
    require("redis", connection, "connect", "disconnect", "send_packed_command", "read_response")
require("redis", Connection, "_sock", "socket_timeout", "socket_connect_timeout")
require("redis", AwaitingTcpConnection, "_writer")
for pool in (redis.ConnectionPool, redis.asyncio.ConnectionPool):
    require("redis", pool, "from_url", "make_connection", "get_connection", "release", "disconnect")

# Before redis-py 5.3 a pool had to be told the name of the command, and did nothing with it.
_name_of_command = signature(redis.ConnectionPool.get_connection).parameters.get("command_name")
COMMAND = ("",) if _name_of_command is not None and _name_of_command.default is Parameter.empty else ()

# When the blocking attempt that runs here is given up. redis-py has one timeout for all calls.
deadline: ContextVar[float | None] = ContextVar("qrsocket deadline", default=None)


def exchange(pool: redis.ConnectionPool, command: bytes) -> Any:
    """Send *command*, packed, and return the answer as it comes (RESP)."""
    connection = pool.get_connection(*COMMAND)
    try:
        connection.send_packed_command([command])
        return connection.read_response()
    except ResponseError:
        raise
    except BaseException:  # a signal's, between the two: the next one would read this one's answer
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


async def aexchange(pool: redis.asyncio.ConnectionPool, command: bytes) -> Any:
    """Send *command* and return the answer, awaiting; otherwise as `exchange`."""
    connection = await pool.get_connection(*COMMAND)
    try:
        await connection.send_packed_command([command])
        return await connection.read_response()
    except ResponseError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def transport_of(connection: AwaitingConnection) -> asyncio.Transport:
    """Return what *connection*, which is open, writes to: to take over what comes from there."""
    writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]
    return cast(asyncio.Transport, writer.transport)


def without_maintenance(connection: type[Any]) -> dict[str, Any]:
    """
    Return the option that keeps *connection* from asking for notifications of maintenance. They are Redis Enterprise's,
    and elsewhere one refused command more for each connection.
    """
    if "maint_notifications_config" not in signature(connection.__init__).parameters:
        return {}  # before redis-py 8 nobody asks, and until 8.1 only one of the two colours
    from redis.maint_notifications import MaintNotificationsConfig

    return {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}


class Pool(redis.ConnectionPool):
    """
    Gives the connection that was given back last, as it is. redis-py's pool first asks the socket whether it is still
    open, and counts it for metrics: that takes a quarter of a send. A connection that Redis has closed meanwhile fails
    at its first command; then `run` tries again, and it opens itself.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: deque[Any] = deque()
        self.connection_class = IN_TIME[self.connection_class]

    def get_connection(self, *args: Any, **options: Any) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return super().get_connection(*args, **options)

    def release(self, connection: Any) -> None:
        self._idle.append(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        with suppress(IndexError):  # other threads take them, too
            while True:
                super().release(self._idle.pop())
        super().disconnect(inuse_connections)


class _InTime(BlockingConnection):
    """
    A connection that is opened, written to and read from within the time that its caller has left.

    With redis-py's one timeout for all calls an attempt that begins late ends late, and a short wait is a long one.
    """

    _sock: Any

    def connect(self) -> None:
        if self._sock is None and (left := _time_left()) is not None:
            self.socket_timeout = left  # for TLS to be agreed on
            self.socket_connect_timeout = left / 2  # the name may have another address
        super().connect()  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        left = _time_left()
        # To set it takes 5 µs, and most calls have all the time that there is.
        if left is not None and self._sock is not None and abs(self._sock.gettimeout() - left) > left / 100:
            self._sock.settimeout(left)
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class _TcpInTime(_InTime, Connection): ...


class _TlsInTime(_InTime, SSLConnection): ...


class _UnixInTime(_InTime, UnixDomainSocketConnection): ...


IN_TIME: dict[type[Any], type[Any]] = {
    Connection: _TcpInTime,
    SSLConnection: _TlsInTime,
    UnixDomainSocketConnection: _UnixInTime,
}


def _time_left() -> float | None:
    """Return the seconds that the blocking attempt which runs here has left, a little at least; None: there is none."""
    until = deadline.get()
    return None if until is None else max(until - time.monotonic(), LEAST_TIME)
