"""A node's word on who is connected to it: given, kept true by a lease, and given again when Redis forgot it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar
from weakref import WeakValueDictionary

from redis.exceptions import RedisError

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
SETTLED_AT_ONCE = 50


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
        self._trouble = ""
        self._locks: WeakValueDictionary[Audience, asyncio.Lock] = WeakValueDictionary()
        # Of whom Redis may not know the true count, and of these, who had their place before the node was fenced.
        self._unsettled: set[Audience] = set()
        self._returning: set[Audience] = set()

    @property
    def is_live(self) -> bool:
        """Whether Redis takes the node's word: joined with all its users, and renewed within the lease."""
        is_joined = self._joined.is_set() and not self._returning
        return is_joined and time.monotonic() - self._renewed_at < self._settings.lease

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

    def doubt(self, audience: Audience) -> None:
        """Have *audience* settled at the next renewal, whatever becomes of the caller until then."""
        self._unsettled.add(audience)

    async def settle(self, audience: Audience) -> Attach:
        """
        Tell Redis how many connections of *audience* are here. LIMIT: they are too many, and nothing has changed.

        Raises:
            Unavailable: Redis did not answer. It is told later, when it does.
        """
        self.doubt(audience)
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                while (status := await self._attach(audience)) is Attach.FENCED:
                    await self._joined.wait()
                return status
        except TimeoutError as error:
            raise Unavailable("presence not settled", self._settings.redis_timeout) from error

    async def _attach(self, audience: Audience) -> Attach:
        await self._joined.wait()
        async with self._locks.setdefault(audience, asyncio.Lock()):
            node, count = self.node, self._count(audience)
            limit = NO_LIMIT if audience in self._returning else self._settings.max_connections_per_user
            keys, grace = self._keyspace.of_audience(audience), self._settings.offline_grace
            attached = await self._call(table.attach(keys, node, audience, count, limit=limit, grace=grace))
            if attached.status is Attach.FENCED:
                if node == self.node:  # otherwise this is old news
                    self._joined.clear()
                    self._fenced.set()
                return attached.status
            self._unsettled.discard(audience)
            self._returning.discard(audience)
        if attached.edge:
            self._on_edge(attached.edge)
        return attached.status

    async def _join(self, node: str, audiences: Iterable[Audience]) -> None:
        while True:
            try:
                for keys in self._keyspace.shards:
                    await self._call(table.join(keys, node, lease=self._settings.lease))
                break
            except Unavailable as error:
                self._log_trouble(error.cause)
                await asyncio.sleep(self._settings.renew_interval)
        self.node, self._renewed_at = node, time.monotonic()
        self._returning = set(audiences)
        self._unsettled |= self._returning
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
                await self._settle_the_unsettled()
                self._log_trouble("")
                if self._returning:
                    continue  # renew, and go on
            except Unavailable as error:
                self._log_trouble(error.cause)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.renew_interval):
                    await self._fenced.wait()

    async def _settle_the_unsettled(self) -> None:
        """Settle many at once, and stop in time for the next renewal: after a fence they may be thousands."""
        until = time.monotonic() + self._settings.renew_interval
        todo = tuple(self._unsettled)
        for start in range(0, len(todo), SETTLED_AT_ONCE):
            if self._fenced.is_set() or time.monotonic() > until:
                return
            await asyncio.gather(*map(self._attach_if_joined, todo[start : start + SETTLED_AT_ONCE]))

    async def _attach_if_joined(self, audience: Audience) -> None:
        if self._joined.is_set():  # to wait for that here, in the one task that joins, would be for ever
            await self._attach(audience)

    async def _reap(self, keys: Keys) -> None:
        more = True
        while more:
            reaped = await self._call(table.reap(keys, self.node, grace=self._settings.offline_grace))
            for edge in reaped.edges:
                self._on_edge(edge)
            more = reaped.more

    async def _call(self, call: Call[T]) -> T:
        try:
            return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
        except RedisError as error:
            # A script that fails, say. The node is not ready then, and tries again; to die would help nobody.
            raise Unavailable(f"{type(error).__name__}: {error}"[:200], self._settings.redis_timeout) from error

    def _log_trouble(self, cause: str) -> None:
        """Log when trouble with Redis begins, changes and ends. An empty *cause* is its end."""
        if cause and cause != self._trouble:
            logger.error("no word from Redis: sockets stay open", extra={"node": self.node, "cause": cause})
        elif self._trouble and not cause:
            logger.info("Redis takes this node's word again", extra={"node": self.node})
        self._trouble = cause
