"""The connections to Redis of this process: one pool for blocking code, one for each event loop."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import lru_cache
from inspect import signature
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection as BlockingConnection
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from qrsocket.roundtrip import time_left
from qrsocket.settings import Settings

# Where Redis is and how long it may take: what tells two clients apart.
Place: TypeAlias = tuple[str, float]

MOST_CONNECTIONS = 50

Clients: TypeAlias = dict[Place, redis.asyncio.Redis]

_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Clients, AsyncGenerator[None, None]]] = WeakKeyDictionary()


def blocking(settings: Settings) -> redis.Redis:
    """Return the client for blocking code. A process that was forked has another one."""
    return _blocking(_place(settings), os.getpid())


@lru_cache(maxsize=8)
def _blocking(place: Place, _process: int) -> redis.Redis:
    options = {**_options(place, BlockingConnection), "retry": Retry(NoBackoff(), 0)}
    pool = _Pool.from_url(place[0], **options)
    pool.connection_class = IN_TIME[pool.connection_class]
    return redis.Redis.from_pool(pool)


class _Pool(redis.ConnectionPool):
    """
    Gives the connection that was given back last, as it is. redis-py's pool first asks the socket whether it is still
    open, and counts it for metrics: that takes a quarter of a send. A connection that Redis has closed meanwhile fails
    at its first command; then `run` tries again, and it opens itself.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: deque[Any] = deque()

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
        if self._sock is None and (left := time_left()) is not None:
            self.socket_timeout = left  # for TLS to be agreed on
            self.socket_connect_timeout = left / 2  # the name may have another address
        super().connect()  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        left = time_left()
        # To set it takes 5 µs, and most calls have all the time that there is.
        if left is not None and self._sock is not None and abs(self._sock.gettimeout() - left) > left / 100:
            self.update_current_socket_timeout(left)
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class _TcpInTime(_InTime, Connection): ...


class _TlsInTime(_InTime, SSLConnection): ...


class _UnixInTime(_InTime, UnixDomainSocketConnection): ...


IN_TIME: dict[type[Any], type[Any]] = {
    Connection: _TcpInTime,
    SSLConnection: _TlsInTime,
    UnixDomainSocketConnection: _UnixInTime,
}


def awaiting(settings: Settings) -> redis.asyncio.Redis:
    """Return the client of the running event loop. A connection belongs to the loop it was opened on."""
    place = _place(settings)
    loop = asyncio.get_running_loop()
    if loop not in _of_loop:
        clients: Clients = {}
        _of_loop[loop] = clients, _closed_with_loop(clients)
    clients, _ = _of_loop[loop]
    if place not in clients:
        # Without a timeout of its own: `arun` has one. With it, redis-py calls `asyncio.wait_for`, which before Python
        # 3.12 loses a cancellation that comes when it is done (https://github.com/python/cpython/issues/86296), and
        # makes a task for each command.
        options = {**_options(place, AbstractConnection), "socket_timeout": None, "retry": AsyncRetry(NoBackoff(), 0)}
        # Who finds all connections taken waits in line, again until `arun`'s deadline.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            place[0], max_connections=MOST_CONNECTIONS, timeout=None, **options
        )
        clients[place] = redis.asyncio.Redis.from_pool(pool)
    return clients[place]


def _closed_with_loop(clients: Clients) -> AsyncGenerator[None, None]:
    """
    Close *clients* when their loop ends, or each `asyncio.run(...)` would leave a connection and a warning behind.

    `asyncio.run` closes the async generators that were begun on its loop, and calls nothing else at its end.
    Source: https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.shutdown_asyncgens
    """

    async def open_until_closed() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in clients.values():
                await client.aclose()

    generator = open_until_closed()
    with suppress(StopIteration):
        generator.asend(None).send(None)  # begin it; it does not wait before its first yield
    return generator


async def aclose() -> None:
    """Close the clients of the running event loop. Used again, they connect again."""
    if held := _of_loop.pop(asyncio.get_running_loop(), None):
        await held[1].aclose()


def listening(settings: Settings) -> AbstractConnection:
    """
    Return a connection, not yet open, for a subscriber: reads wait without limit, and nothing reconnects by itself.

    `redis.asyncio.PubSub` reconnects silently and so loses messages silently.
    RESP2: hiredis parses its pub/sub frames in 3.5 µs, against 5.7 µs for RESP3.
    """
    place = _place(settings)
    options = {**_options(place, AbstractConnection), "socket_timeout": None, "protocol": 2}
    return cast(AbstractConnection, redis.asyncio.ConnectionPool.from_url(place[0], **options).make_connection())


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """Return what *connection*, which is open, writes to: to take over what comes from there."""
    writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]  # noqa: SLF001 - redis-py has no other way
    return cast(asyncio.Transport, writer.transport)


def _place(settings: Settings) -> Place:
    return settings.redis_url.get_secret_value(), settings.redis_timeout


def _options(place: Place, connection: type[Any]) -> dict[str, Any]:
    url, timeout = place
    of_tcp = {} if url.startswith("unix:") else {"socket_connect_timeout": timeout / 2, "socket_keepalive": True}
    # For Redis Enterprise only, and elsewhere one refused command more for each connection. From redis-py 8.1 on both
    # colours know it.
    knows_maintenance = "maint_notifications_config" in signature(connection.__init__).parameters
    maintenance = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)} if knows_maintenance else {}
    # `run` and `arun` retry, since they know the deadline and that our scripts may be repeated; redis-py does not.
    return {
        **of_tcp,
        **maintenance,
        "socket_timeout": timeout,
        "client_name": "qrsocket",
    }
