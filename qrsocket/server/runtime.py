"""One web node: its name, its connections, its relay, its keeper and its hooks, from start to stop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.fanout.publish import answer_probe
from qrsocket.fanout.subscription import Subscription
from qrsocket.keys import Keyspace
from qrsocket.presence.keeper import Keeper
from qrsocket.presence.table import Edge
from qrsocket.roundtrip import Call, arun
from qrsocket.server.hooks import Hooks
from qrsocket.server.hub import Hub
from qrsocket.server.limits import max_connections
from qrsocket.server.relay import relay
from qrsocket.settings import Settings, get_settings

logger = logging.getLogger(__name__)

# Hooks that run when the node stops may end, within this; containers are usually killed after 10 s.
STOP_TIMEOUT = 3.0


class Node:
    """
    A process that serves sockets.

    Attributes:
        hub: Its open connections.
        keeper: Their places in Redis.
        max_connections: It takes so many.
        handshakes: How many are not connections yet.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hub = Hub()
        self.hooks = Hooks(settings.hook_timeout)
        self.keeper = Keeper(settings, self.hub.count, self._on_edge)
        self.max_connections = max_connections(settings)
        self.handshakes = 0
        self._living: asyncio.Task[None] | None = None
        self._keyspace = Keyspace.of(settings)
        self._subscription: Subscription | None = None
        self._background = asyncio.TaskGroup()

    @property
    def is_ready(self) -> bool:
        """Whether a message to one of its connections would arrive now."""
        is_subscribed = self._subscription is not None and self._subscription.is_open.is_set()
        return is_subscribed and self.keeper.is_live

    @property
    def is_full(self) -> bool:
        return len(self.hub) + self.handshakes >= self.max_connections

    async def run(self) -> None:
        """Serve until stopped. If a part dies, all sockets are closed: clients reconnect, to another node."""
        try:
            async with self._background as background:
                self._living = background.create_task(self._live(), name="node")
        finally:
            self.hub.close_all(CloseCode.RESTART, "the node stops")

    async def stop(self) -> None:
        """Leave; `run` returns when the hooks that still run have ended."""
        was_ready = self.is_ready
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living})
        if was_ready:
            try:
                await self.keeper.leave()
            except Unavailable:
                logger.warning("lease not given up: the others wait for its end", extra={"node": self.keeper.node})

    async def _live(self) -> None:
        while True:
            await self._live_as(f"{self.settings.node_name or socket.gethostname()}.{uuid4().hex[:8]}")

    async def _live_as(self, name: str) -> None:
        """Serve under *name* until it is fenced. It listens first: once it has joined, others send to it."""
        channels = [keys.channel(name) for keys in self._keyspace.shards]
        self._subscription = Subscription(self.settings, channels)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(relay(self._subscription, self.hub, self._on_probe), name="relay")
            await self._subscription.is_open.wait()
            await self.keeper.live(name, self.hub.audiences)
            logger.warning("node fenced: it comes back under a new name", extra={"node": name})
            listening.cancel()

    def _on_edge(self, edge: Edge) -> None:
        self._start(self.hooks.run(edge), f"hook of {edge.audience}")

    def _on_probe(self, probe_id: str) -> None:
        self._start(self._answer(probe_id), "probe")

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        try:
            self._background.create_task(coroutine, name=name)
        except RuntimeError:  # a connection that ends after the node has
            coroutine.close()
            logger.warning("too late for it", extra={"what": name})

    async def _answer(self, probe_id: str) -> None:
        call = answer_probe(self._keyspace.shards[0], self.keeper.node, probe_id)
        try:
            await arun(clients.awaiting(self.settings), call, timeout=self.settings.redis_timeout)
        except (Unavailable, RedisError):
            logger.warning("probe not answered", extra={"node": self.keeper.node})


_of_app: WeakKeyDictionary[Any, Node] = WeakKeyDictionary()


@asynccontextmanager
async def node_of(app: Any) -> AsyncIterator[Node]:
    """Run the node of *app* until the block ends. All its routers share one: the first to come starts it."""
    if app in _of_app:
        yield _of_app[app]
        return
    node = _of_app[app] = Node(get_settings())
    running = asyncio.create_task(_run(node), name="qrsocket node")
    try:
        await _wait_for_start(node)
        yield node
    finally:
        del _of_app[app]
        await _stop(node, running)


def running_node(app: Any) -> Node | None:
    return _of_app.get(app)


async def _run(node: Node) -> None:
    try:
        await node.run()
    except Exception:
        # uvicorn would keep serving; the sockets are closed, and `/ready` tells it from now on.
        logger.exception("node died: restart this process", extra={"node": node.keeper.node})


async def _wait_for_start(node: Node) -> None:
    """Wait until the node has joined, so that the first client is served; without Redis, start all the same."""
    try:
        async with asyncio.timeout(node.settings.redis_timeout):
            await node.keeper.wait_joined()
        logger.info("node joined", extra={"node": node.keeper.node})
        await _warn_of_eviction(node.settings)
    except TimeoutError:
        logger.error("Redis cannot be reached: clients are refused until it is")


async def _warn_of_eviction(settings: Settings) -> None:
    call: Call[dict[str, Any]] = Call(("INFO", "memory"), dict)
    with suppress(Unavailable, RedisError):  # who may not ask need not know
        memory = await arun(clients.awaiting(settings), call, timeout=settings.redis_timeout)
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            logger.warning("Redis may evict presence and routes: set maxmemory-policy noeviction, not %s", policy)


async def _stop(node: Node, running: asyncio.Task[None]) -> None:
    await node.stop()
    await asyncio.wait({running}, timeout=min(node.settings.hook_timeout, STOP_TIMEOUT))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await clients.aclose()
