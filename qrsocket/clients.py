"""The connections to Redis of this process: one pool for blocking code, one for each event loop."""

import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeAlias, cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from qrsocket.internals.redis import AwaitingConnection, BlockingConnection, Pool, without_maintenance
from qrsocket.per_loop import PerLoop
from qrsocket.settings import Settings

# Where Redis is and how long it may take: what tells two clients apart.
Target: TypeAlias = tuple[str, float]

MOST_CONNECTIONS = 50

Clients: TypeAlias = dict[Target, redis.asyncio.Redis]


def blocking(settings: Settings) -> redis.Redis:
    """Return the client for blocking code. A process that was forked has another one."""
    return _blocking(_target(settings), os.getpid())


@lru_cache(maxsize=64)
def _blocking(target: Target, _process: int) -> redis.Redis:
    options = {**_options(target, BlockingConnection), "retry": Retry(NoBackoff(), 0)}
    return redis.Redis.from_pool(Pool.from_url(target[0], **options))


def awaiting(settings: Settings) -> redis.asyncio.Redis:
    """Return the client of the running event loop. A connection belongs to the loop it was opened on."""
    target = _target(settings)
    clients, _ = _of_loop.get()
    if target not in clients:
        # Without a timeout of its own: `arun` has one. With it, redis-py calls `asyncio.wait_for`, which before Python
        # 3.12 loses a cancellation that comes when it is done (https://github.com/python/cpython/issues/86296), and
        # makes a task for each command.
        options = {**_options(target, AwaitingConnection), "socket_timeout": None, "retry": AsyncRetry(NoBackoff(), 0)}
        # Who finds all connections taken waits in line, again until `arun`'s deadline.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            target[0], max_connections=MOST_CONNECTIONS, timeout=None, **options
        )
        clients[target] = redis.asyncio.Redis.from_pool(pool)
    return clients[target]


def _closed_with_loop() -> tuple[Clients, AsyncGenerator[None, None]]:
    """
    Return a dictionary for clients, and what closes them when their loop ends: otherwise each `asyncio.run(...)` would
    leave a connection and a warning behind.

    `asyncio.run` closes the async generators that were begun on its loop, and calls nothing else at its end.
    Source: https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.shutdown_asyncgens
    """

    clients: Clients = {}

    async def open_until_closed() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in clients.values():
                await client.aclose()

    generator = open_until_closed()
    with suppress(StopIteration):
        generator.asend(None).send(None)  # begin it; it does not wait before its first yield
    return clients, generator


_of_loop = PerLoop(_closed_with_loop)


async def aclose() -> None:
    """Close the clients of the running event loop. Used again, they connect again."""
    if held := _of_loop.pop():
        await held[1].aclose()


def subscriber_connection(settings: Settings) -> AwaitingConnection:
    """
    Return a connection, not yet open, for a subscriber: reads wait without limit, and nothing reconnects by itself.

    `redis.asyncio.PubSub` reconnects silently and so loses messages silently.
    RESP2: hiredis parses its pub/sub frames in 3.5 µs, against 5.7 µs for RESP3.
    """
    target = _target(settings)
    options = {**_options(target, AwaitingConnection), "socket_timeout": None, "protocol": 2}
    return cast(AwaitingConnection, redis.asyncio.ConnectionPool.from_url(target[0], **options).make_connection())


def _target(settings: Settings) -> Target:
    return settings.redis_url.get_secret_value(), settings.redis_timeout


def _options(target: Target, connection: type[Any]) -> dict[str, Any]:
    url, timeout = target
    of_tcp = {} if url.startswith("unix:") else {"socket_connect_timeout": timeout / 2, "socket_keepalive": True}
    # `run` and `arun` retry, since they know the deadline and that our scripts may be repeated; redis-py does not.
    return {
        **of_tcp,
        **without_maintenance(connection),
        "socket_timeout": timeout,
        "client_name": "qrsocket",
    }
