"""A node's word on who is connected to it: given, kept true by a lease, and given again when Redis forgot it."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TypeVar
from weakref import WeakValueDictionary

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.audience import Audience
from qrsocket.errors import Unavailable
from qrsocket.keys import Keys, Keyspace
from qrsocket.listening import Listening
from qrsocket.position import Position
from qrsocket.presence import table
from qrsocket.presence.mailbox import Mailbox
from qrsocket.presence.table import Attach, Attached, Edge, Renewed
from qrsocket.roundtrip import Call, arun
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

logger = logging.getLogger(__name__)
T = TypeVar("T")
NO_LIMIT = 2**31
# Enough to keep Redis busy. Of thousands who come at once the others wait for their turn, and not for a late answer.
SETTLED_AT_ONCE = 25
ROUNDS_PER_AUDIT = 10


class Keeper:
    """
    Attributes:
        node: The name that the lease is held under; changes when the node was fenced.
        mailbox: Transitions of users that this node is to tell.
        is_stopping: It takes over nothing more from dead nodes.
    """

    def __init__(
        self,
        settings: Settings,
        here: Callable[[], Collection[Audience]],
        count: Callable[[Audience], int],
        on_edge: Callable[[Edge], None],
        on_top: Callable[[Audience, Position], None],
        trouble: Trouble,
    ) -> None:
        """
        Args:
            here: Tells which audiences have connections here.
            count: Tells how many connections of an audience are open here.
            on_edge: Gets each transition of a user that this node is to tell; must not block.
            on_top: Gets the position of the newest message of an audience of this node; must not block.
        """
        self.node, self.is_stopping = "", False
        self.mailbox = Mailbox(on_edge, grace=settings.offline_grace, lease=settings.lease)
        self._settings, self._keyspace, self._trouble = settings, Keyspace.of(settings), trouble
        self._here, self._count, self._on_top = here, count, on_top
        self._joined = asyncio.Event()
        self._fenced = asyncio.Event()
        self._renewed_at = 0.0
        self._locks: WeakValueDictionary[Audience, asyncio.Lock] = WeakValueDictionary()
        # The epoch in which the node joined, of each shard, and the names that it had and has not given up yet.
        self._epochs: dict[Keys, str] = {}
        self._former: list[str] = []
        # Of whom Redis may not know the true count, and of these, who had their place before the node was fenced.
        self._unsettled: set[Audience] = set()
        self._returning: set[Audience] = set()
        self._turns = asyncio.Semaphore(SETTLED_AT_ONCE)
        self._rounds = 0
        self._odd: set[Keys] = set()  # shards that had other users of this node at the last audit

    @property
    def is_live(self) -> bool:
        """Whether Redis takes the node's word: joined with all its users, and renewed within the lease."""
        is_joined = self._joined.is_set() and not self._returning
        return is_joined and time.monotonic() - self._renewed_at < self._settings.lease

    async def wait_joined(self) -> None:
        await self._joined.wait()

    async def live(self, node: str) -> None:
        """Join as *node*, settle who is here, and keep the lease. Returns when fenced; then join under a new name."""
        try:
            await self._join(node)
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

    async def settle(self, audience: Audience, since: Position | None = None) -> Attached:
        """
        Tell Redis how many connections of *audience* are here. LIMIT: they are too many, and nothing has changed.

        Args:
            since: Where a client that comes back is; the answer has what it missed.

        Raises:
            Unavailable: Redis did not answer. It is told later, when it does.
        """
        self.doubt(audience)
        async with self._turns:
            await asyncio.sleep(0)  # time counts from the loop's next turn: this one may have thousands to begin with
            if cause := self._trouble.of("presence"):  # who waits in line need not find out one after the other
                raise Unavailable(cause, self._settings.redis_timeout)
            try:
                async with Listening(self._settings.redis_timeout):
                    while (attached := await self._attach(audience, since)).status is Attach.FENCED:
                        await self._joined.wait()
                    return attached
            except TimeoutError as error:
                raise Unavailable("presence not settled", self._settings.redis_timeout) from error

    async def acknowledge(self, edge: Edge) -> None:
        """Tell Redis that *edge* was told, as soon as it can be reached, and take the next of that user."""
        keys = self._keyspace.of_audience(edge.audience)
        while self.mailbox.held.get(edge.audience) is edge:
            await self._joined.wait()
            try:
                call = table.acknowledge(keys, self.node, edge, grace=self._settings.offline_grace)
                following = await self._call(call)
            except Unavailable:
                await asyncio.sleep(self._settings.renew_interval)  # `_keep` meets it, too
            else:
                self.mailbox.end(edge)
                if following is not None:
                    self.mailbox.take(following)

    async def _attach(self, audience: Audience, since: Position | None = None) -> Attached:
        await self._joined.wait()
        async with self._locks.setdefault(audience, asyncio.Lock()):
            node, count = self.node, self._count(audience)
            limit = NO_LIMIT if audience in self._returning else self._settings.max_connections_per_user
            keys, grace = self._keyspace.of_audience(audience), self._settings.offline_grace
            known = self.mailbox.known(audience)
            call = table.attach(keys, node, audience, count, limit=limit, grace=grace, known=known, since=since)
            attached = await self._call(call)
            if attached.status is Attach.FENCED:
                if node == self.node:  # otherwise this is old news
                    self._joined.clear()
                    self._fenced.set()
                return attached
            self._unsettled.discard(audience)
            self._returning.discard(audience)
        if attached.known.seq:
            self.mailbox.learn(audience, attached.known)
        if attached.edge:
            self.mailbox.take(attached.edge)
        if attached.missed and count:
            self._on_top(audience, attached.missed.top)
        return attached

    async def _join(self, node: str) -> None:
        while True:
            try:
                redis_forgot = await self._join_as(node)
                break
            except Unavailable as error:
                self._trouble.met("presence", error)
                await asyncio.sleep(self._settings.renew_interval)
        if self.node:
            self._former.append(self.node)
        self.node, self._renewed_at = node, time.monotonic()
        self._returning = set(self._here())
        if redis_forgot:
            self._returning |= self.mailbox.of_the_gone()
        self._unsettled |= self._returning
        self._fenced.clear()
        self._joined.set()

    async def _join_as(self, node: str) -> bool:
        """
        Join all shards, and go on with the edges that this node has to tell: before it acknowledges any.

        Returns:
            Whether Redis was restarted since this node joined under another name.
        """
        epochs: dict[Keys, str] = {}
        for keys in self._keyspace.shards:
            before = self._epochs.get(keys, "")
            epoch = await self._call(table.join(keys, node, lease=self._settings.lease, epoch=before))
            for edge in self._held(keys):
                call = table.reclaim(keys, node, edge, former=self.node, epoch=before)
                if not await self._call(call):
                    self.mailbox.drop(edge)
            epochs[keys] = epoch
        redis_forgot = any(self._epochs.get(keys, epoch) != epoch for keys, epoch in epochs.items())
        self._epochs = epochs  # once all have answered: until then, each attempt is the first
        return redis_forgot

    def _held(self, keys: Keys) -> list[Edge]:
        return [edge for edge in self.mailbox.held.values() if self._keyspace.of_audience(edge.audience) is keys]

    async def _keep(self) -> None:
        """Renew the lease, reap the dead, and settle what could not be settled, until fenced."""
        while not self._fenced.is_set():
            self._rounds += 1
            try:
                for keys in self._keyspace.shards:
                    if not await self._renew(keys):
                        return
                    await self._reap(keys)
                self._renewed_at = time.monotonic()
                await self._settle_the_unsettled()
                await self._give_up_former_names()
                self.mailbox.forget(self._count)
                self._trouble.over("presence")
                if self._returning:
                    continue  # renew, and go on
            except Unavailable as error:
                self._trouble.met("presence", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.renew_interval):
                    await self._fenced.wait()

    async def _renew(self, keys: Keys) -> bool:
        """Return whether the node may go on under its name."""
        call = table.renew(keys, self.node, lease=self._settings.lease, grace=self._settings.offline_grace)
        renewed = await self._call(call)
        if renewed is None or renewed.epoch != self._epochs[keys]:
            return False
        if renewed.claims > len(self._held(keys)):
            # An answer was lost that handed them over.
            for edge in await self._call(table.claims(keys, self.node)):
                self.mailbox.take(edge)
        return self._is_as_expected(keys, renewed)

    def _is_as_expected(self, keys: Keys, renewed: Renewed) -> bool:
        """Compare, now and then, what Redis has of this node with what there is. To come back mends any difference."""
        if self._rounds % ROUNDS_PER_AUDIT or self._unsettled:
            return True
        here = sum(self._keyspace.of_audience(audience) is keys for audience in self._here())
        if here == renewed.members:
            self._odd.discard(keys)
        elif keys not in self._odd:
            self._odd.add(keys)  # once: somebody is on the way
        else:
            self._odd.clear()
            logger.warning("Redis has other users of this node", extra={"node": self.node, "users": here})
            return False
        return True

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

    async def _give_up_former_names(self) -> None:
        """Have emptied what the node left under other names, now that its users are here under this one."""
        while self._former and not self._returning:
            for keys in self._keyspace.shards:
                await self._call(table.leave(keys, self._former[0]))
            del self._former[0]

    async def _reap(self, keys: Keys) -> None:
        more = not self.is_stopping
        while more:
            reaped = await self._call(table.reap(keys, self.node, grace=self._settings.offline_grace))
            for edge in reaped.edges:
                self.mailbox.take(edge)
            more = reaped.more

    async def _call(self, call: Call[T]) -> T:
        try:
            return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
        except RedisError as error:
            # A script that fails, say. The node is not ready then, and tries again; to die would help nobody.
            raise Unavailable(f"{type(error).__name__}: {error}"[:200], self._settings.redis_timeout) from error
