"""A node's word on who is connected to it: given, kept true by a lease, and given again when Redis forgot it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TypeVar
from weakref import WeakValueDictionary

from qrsocket import clients
from qrsocket.audience import Audience
from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.presence import table
from qrsocket.presence.table import Attach, Edge
from qrsocket.roundtrip import Call, arun
from qrsocket.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
NO_LIMIT = 2**31


class Keeper:
    """
    Attributes:
        node: The name that the lease is held under; changes when the node was fenced.
    """

    def __init__(self, settings: Settings, count: Callable[[Audience], int], on_edge: Callable[[Edge], None]) -> None:
        """
        Args:
            count: Tells how many connections of an audience are open here.
            on_edge: Gets each transition of a user that this node is to tell; must not block.
        """
        self.node = ""
        self._settings, self._keyspace = settings, Keyspace.of(settings)
        self._count, self._on_edge = count, on_edge
        self._joined = asyncio.Event()
        self._fenced = asyncio.Event()
        self._renewed_at = 0.0
        self._is_reached = True
        self._locks: WeakValueDictionary[Audience, asyncio.Lock] = WeakValueDictionary()
        self._unsettled: set[Audience] = set()

    @property
    def is_live(self) -> bool:
        """Whether Redis takes the node's word: joined, and renewed within the lease."""
        return self._joined.is_set() and time.monotonic() - self._renewed_at < self._settings.lease

    async def wait_joined(self) -> None:
        await self._joined.wait()

    async def live(self, node: str, audiences: Iterable[Audience]) -> None:
        """Join as *node*, settle *audiences*, and keep the lease. Returns when fenced; then join under a new name."""
        try:
            await self._join(node, audiences)
            await self._keep()
        finally:
            self._joined.clear()

    async def leave(self) -> None:
        """Give up the lease, so that the others need not wait for its end."""
        for keys in self._keyspace.shards:
            await self._call(table.leave(keys, self.node))

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
                async with asyncio.timeout(self._settings.redis_timeout):
                    return await self._settle(audience, limit)
            except (Unavailable, TimeoutError) as error:
                self._unsettled.add(audience)
                raise Unavailable("presence not settled", self._settings.redis_timeout) from error

    async def _settle(self, audience: Audience, limit: int) -> Attach:
        keys, grace = self._keyspace.of_audience(audience), self._settings.offline_grace
        while True:
            await self._joined.wait()
            call = table.attach(keys, self.node, audience, self._count(audience), limit=limit, grace=grace)
            attached = await self._call(call)
            if attached.status is not Attach.FENCED:
                self._unsettled.discard(audience)
                if attached.edge:
                    self._on_edge(attached.edge)
                return attached.status
            self._joined.clear()
            self._fenced.set()

    async def _join(self, node: str, audiences: Iterable[Audience]) -> None:
        while True:
            try:
                for keys in self._keyspace.shards:
                    await self._call(table.join(keys, node, lease=self._settings.lease))
                break
            except Unavailable:
                self._log_reached(False)
                await asyncio.sleep(self._settings.renew_interval)
        self.node, self._renewed_at = node, time.monotonic()
        self._unsettled.update(audiences)
        self._fenced.clear()
        self._joined.set()

    async def _keep(self) -> None:
        """Renew the lease, reap the dead, and settle what could not be settled, until fenced."""
        while not self._fenced.is_set():
            try:
                for keys in self._keyspace.shards:
                    if not await self._call(table.renew(keys, self.node, lease=self._settings.lease)):
                        return
                    await self._reap(keys)
                self._renewed_at = time.monotonic()
                for audience in tuple(self._unsettled):
                    await self.settle(audience)
                self._log_reached(True)
            except Unavailable:
                self._log_reached(False)
            try:
                async with asyncio.timeout(self._settings.renew_interval):
                    await self._fenced.wait()
            except TimeoutError:
                continue

    async def _reap(self, keys: Keys) -> None:
        more = True
        while more:
            reaped = await self._call(table.reap(keys, self.node, grace=self._settings.offline_grace))
            for edge in reaped.edges:
                self._on_edge(edge)
            more = reaped.more

    async def _call(self, call: Call[T]) -> T:
        return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)

    def _log_reached(self, is_reached: bool) -> None:
        if is_reached == self._is_reached:
            return
        self._is_reached = is_reached
        if is_reached:
            logger.info("Redis reached again", extra={"node": self.node})
        else:
            logger.error("Redis cannot be reached: sockets stay open, nothing arrives", extra={"node": self.node})
