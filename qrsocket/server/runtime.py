"""One web node: its name, its lease, its relay and its connections' places in Redis, kept right until it stops."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakValueDictionary

from qrsocket import clients
from qrsocket.audience import Audience
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.fanout.publish import answer_probe
from qrsocket.fanout.subscription import Subscription
from qrsocket.keys import Keys, Keyspace
from qrsocket.presence import table
from qrsocket.presence.table import Attach, Edge
from qrsocket.roundtrip import Call, arun
from qrsocket.server.hooks import Hooks
from qrsocket.server.hub import Hub
from qrsocket.server.limits import max_connections
from qrsocket.server.relay import relay
from qrsocket.settings import Settings, get_settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
NO_LIMIT = 2**31


class Node:
    """
    A process that serves sockets.

    Attributes:
        name: Its incarnation. A node that was given up by the others comes back under a new name.
        hub: Its open connections.
        max_connections: It takes so many.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hub = Hub()
        self.hooks = Hooks(settings.hook_timeout)
        self.max_connections = max_connections(settings)
        self.name = ""
        self._keyspace = Keyspace.of(settings)
        self._joined = asyncio.Event()
        self._wake = asyncio.Event()
        self._renewed_at = 0.0
        self._reached_redis = True
        self._subscription: Subscription | None = None
        self._locks: WeakValueDictionary[Audience, asyncio.Lock] = WeakValueDictionary()
        self._unsettled: set[Audience] = set()
        self._background: asyncio.TaskGroup | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a message to one of its connections would arrive now."""
        is_subscribed = self._subscription is not None and self._subscription.is_open.is_set()
        is_live = time.monotonic() - self._renewed_at < self.settings.lease
        return self._joined.is_set() and is_subscribed and is_live

    async def wait_joined(self) -> None:
        await self._joined.wait()

    async def run(self) -> None:
        """Serve until cancelled. If a part dies, all sockets are closed: clients reconnect, to another node."""
        try:
            async with asyncio.TaskGroup() as self._background:
                while True:
                    await self._live(f"{self.settings.node_name or socket.gethostname()}.{uuid4().hex[:8]}")
        finally:
            self._joined.clear()
            self.hub.close_all(CloseCode.RESTART, "the node stops")

    async def leave(self) -> None:
        """Give up the lease, so that the others need not wait for its end."""
        for keys in self._keyspace.shards:
            await self._call(table.leave(keys, self.name))

    async def settle(self, audience: Audience, *, limit: int = NO_LIMIT) -> Attach:
        """
        Tell Redis how many connections of *audience* are here.

        Args:
            limit: Most connections on all nodes together; a higher count is refused.

        Raises:
            Unavailable: Redis did not answer. It is told later, when it does.
        """
        lock = self._locks.setdefault(audience, asyncio.Lock())
        async with lock:
            try:
                async with asyncio.timeout(self.settings.redis_timeout):
                    return await self._settle(audience, limit)
            except (Unavailable, TimeoutError) as error:
                self._unsettled.add(audience)
                raise Unavailable("presence not settled", self.settings.redis_timeout) from error

    async def _settle(self, audience: Audience, limit: int) -> Attach:
        keys = self._keyspace.of_audience(audience)
        while True:
            await self._joined.wait()
            count = self.hub.count(audience)
            call = table.attach(keys, self.name, audience, count, limit=limit, grace=self.settings.offline_grace)
            attached = await self._call(call)
            if attached.status is not Attach.FENCED:
                self._unsettled.discard(audience)
                if attached.edge:
                    self._on_edge(attached.edge)
                return attached.status
            self._joined.clear()
            self._wake.set()

    async def _live(self, name: str) -> None:
        """Serve under *name* until it is fenced: subscribe, then join, then attach."""
        channels = [keys.channel(name) for keys in self._keyspace.shards]
        self._subscription = Subscription(self.settings, channels)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(relay(self._subscription, self.hub, self._on_probe), name="relay")
            await self._subscription.is_open.wait()
            await self._join(name)
            logger.info("node joined", extra={"node": name})
            await self._keep(name)
            logger.warning("node fenced: it comes back under a new name", extra={"node": name})
            self._joined.clear()
            listening.cancel()

    async def _join(self, name: str) -> None:
        while not self._joined.is_set():
            try:
                for keys in self._keyspace.shards:
                    await self._call(table.join(keys, name, lease=self.settings.lease))
            except Unavailable:
                await asyncio.sleep(self.settings.renew_interval)
                continue
            self.name = name
            self._renewed_at = time.monotonic()
            self._wake.clear()
            self._unsettled.update(self.hub.audiences)
            self._joined.set()

    async def _keep(self, name: str) -> None:
        """Renew the lease, reap the dead, and settle what could not be settled. Returns when fenced."""
        while True:
            try:
                for keys in self._keyspace.shards:
                    if not await self._call(table.renew(keys, name, lease=self.settings.lease)):
                        return
                    await self._reap(keys, name)
                self._renewed_at = time.monotonic()
                for audience in tuple(self._unsettled):
                    await self.settle(audience)
                self._log_redis(reached=True)
            except Unavailable:
                self._log_redis(reached=False)
            try:
                async with asyncio.timeout(self.settings.renew_interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            else:
                return

    async def _reap(self, keys: Keys, name: str) -> None:
        more = True
        while more:
            reaped = await self._call(table.reap(keys, name, grace=self.settings.offline_grace))
            for edge in reaped.edges:
                self._on_edge(edge)
            more = reaped.more

    def _on_edge(self, edge: Edge) -> None:
        self._start(self.hooks.run(edge), f"hook of {edge.audience}")

    def _on_probe(self, probe_id: str) -> None:
        self._start(self._answer(probe_id), "probe")

    async def _answer(self, probe_id: str) -> None:
        try:
            await self._call(answer_probe(self._keyspace.shards[0], self.name, probe_id))
        except Unavailable:
            logger.warning("probe not answered", extra={"node": self.name})

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        assert self._background is not None, "only what run() has started calls this"  # noqa: S101
        self._background.create_task(coroutine, name=name)

    async def _call(self, call: Call[T]) -> T:
        return await arun(clients.awaiting(self.settings), call, timeout=self.settings.redis_timeout)

    def _log_redis(self, *, reached: bool) -> None:
        if reached != self._reached_redis:
            self._reached_redis = reached
            logger.log(
                logging.INFO if reached else logging.ERROR,
                "Redis reached again" if reached else "Redis cannot be reached: sockets stay open, nothing arrives",
                extra={"node": self.name},
            )


_of_app: WeakKeyDictionary[Any, Node] = WeakKeyDictionary()


@asynccontextmanager
async def node_of(app: Any) -> AsyncIterator[Node]:
    """Run the node of *app* until the block ends. All its routers share one: the first to come starts it."""
    if app in _of_app:
        yield _of_app[app]
        return
    node = _of_app[app] = Node(get_settings())
    running = asyncio.create_task(_watched(node), name="qrsocket node")
    try:
        await _wait_for_start(node)
        yield node
    finally:
        del _of_app[app]
        await _stop(node, running)


async def _watched(node: Node) -> None:
    try:
        await node.run()
    except Exception:
        # uvicorn would keep serving; `run` has closed the sockets, and `/ready` tells it from now on.
        logger.exception("node died: restart this process", extra={"node": node.name})


async def _wait_for_start(node: Node) -> None:
    """Wait until the node has joined, so that the first client is served; without Redis, start all the same."""
    try:
        async with asyncio.timeout(node.settings.redis_timeout):
            await node.wait_joined()
    except TimeoutError:
        logger.error("Redis cannot be reached: clients are refused until it is")


async def _stop(node: Node, running: asyncio.Task[None]) -> None:
    if node.is_ready:
        try:
            await node.leave()
        except Unavailable:
            logger.warning("lease not given up: the others wait for its end", extra={"node": node.name})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await clients.aclose()
