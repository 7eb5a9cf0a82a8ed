"""The node of an application, from the start of its lifespan to the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.errors import Unavailable
from qrsocket.logger import Logger
from qrsocket.roundtrip import arun, info
from qrsocket.server import requests
from qrsocket.server.handlers import Handlers
from qrsocket.server.runtime import Node
from qrsocket.server.signals import clients_first
from qrsocket.settings import Settings

logger = Logger(__name__)

DIED = "node died: restart this process"

_of_app: WeakKeyDictionary[Any, Node] = WeakKeyDictionary()


@asynccontextmanager
async def node_of(app: Any, handlers: Handlers, given: Settings | None) -> AsyncIterator[None]:
    """
    Run the node of *app* until the block ends. All its routers share one: the first to come starts it.

    Args:
        given: The settings of this router; None: it was given none.

    Raises:
        RuntimeError: Its routers were given different settings.
    """
    if app in _of_app:
        if _of_app[app].given != given:
            raise RuntimeError(
                "the socket routers of an application share one node: give the same settings to all of them, or to none"
            )
        _of_app[app].hooks.add(handlers.on_online, handlers.on_offline)
        yield
        return
    node = _of_app[app] = Node(given, app)
    if node.lost:
        logger.warning(node.lost)
    requests.install(app, given)
    node.hooks.add(handlers.on_online, handlers.on_offline)
    running = asyncio.create_task(_run(node), name="qrsocket node")
    try:
        await _wait_for_start(node)
        with clients_first(node.let_clients_go, node.settings.drain_seconds):
            yield
    finally:
        del _of_app[app]
        await _stop(node, running)


def running_node(app: Any) -> Node | None:
    return _of_app.get(app)


async def _run(node: Node) -> None:
    # uvicorn would keep serving; the sockets are closed, and `/ready` tells it from now on.
    try:
        await node.run()
    except Exception:
        logger.exception(DIED, node=node.keeper.node)
    else:
        if not node.keeper.is_stopping:  # a part of it was cancelled, which a task group takes for an end
            logger.error(DIED, node=node.keeper.node)


async def _wait_for_start(node: Node) -> None:
    """Wait until the node has joined, so that the first client is served; without Redis, start all the same."""
    try:
        async with asyncio.timeout(node.settings.redis_timeout):
            await node.keeper.wait_joined()
        logger.info("node joined", node=node.keeper.node)
        await _warn_of_eviction(node.settings)
    except TimeoutError:
        logger.error("node not joined yet: clients are refused until it is")


async def _warn_of_eviction(settings: Settings) -> None:
    with suppress(Unavailable, RedisError):  # who may not ask need not know
        memory = await arun(clients.awaiting(settings), info("memory"), timeout=settings.redis_timeout)
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            logger.warning("Redis may evict presence and routes: set maxmemory-policy noeviction, not %s", policy)


async def _stop(node: Node, running: asyncio.Task[None]) -> None:
    await node.stop()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    if not _of_app:  # otherwise another node of this process, in the middle of a command, would lose its connection
        await clients.aclose()
