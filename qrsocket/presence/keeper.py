"""A node's lease: what it tells Redis of its connections counts as long as the lease is renewed."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from qrsocket import events
from qrsocket.errors import Unavailable
from qrsocket.events import LeaseRenewed
from qrsocket.keys import Keys, Keyspace
from qrsocket.logger import Logger
from qrsocket.position import Position
from qrsocket.presence import table
from qrsocket.presence.answers import Transition
from qrsocket.presence.audit import Audit
from qrsocket.presence.calls import call_redis
from qrsocket.presence.canary import Canary
from qrsocket.presence.mailbox import Mailbox
from qrsocket.presence.registry import Fenced, Registration, Registry
from qrsocket.roundtrip import Call
from qrsocket.settings import Settings
from qrsocket.streams import Stream
from qrsocket.trouble import Trouble

logger = Logger(__name__)
T = TypeVar("T")


class Keeper:
    """
    Attributes:
        node: The name that the lease is held under; changes when the node was fenced.
        mailbox: Transitions of users that this node is to tell.
        canary: Whether what Redis publishes reaches this node.
        is_stopping: It takes over nothing more from dead nodes.
    """

    def __init__(
        self,
        settings: Settings,
        here: Callable[[], Collection[Stream]],
        count: Callable[[Stream], int],
        proof: Callable[[Stream], float | None],
        on_revoked: Callable[[Stream, float], Collection[Stream]],
        on_transition: Callable[[Transition], None],
        on_top: Callable[[Stream, Position, float], None],
        trouble: Trouble,
        figures: Callable[[], bytes] = bytes,
    ) -> None:
        """
        Args:
            here: Tells which streams have subscriptions here.
            count: Tells how many subscriptions of a stream there are here.
            proof: Tells when the oldest proof of those subscriptions of a user that have not begun was issued (Unix
                time, 0 if that is not known); None if all have.
            on_revoked: Gets a stream that was refused since that proof was from before a revocation, and when that was;
                ends those subscriptions, and returns the streams that there are fewer of.
            on_transition: Gets each transition of a user that this node is to tell; must not block.
            on_top: Gets the position of the newest message of a stream of this node, and when its user was revoked (0
                if never); must not block.
            figures: Tells what the node says of itself, at each renewal.
        """
        self.node, self.is_stopping = "", False
        self.mailbox = Mailbox(on_transition, grace=settings.offline_grace, lease=settings.lease)
        self.canary = Canary(settings.lease)
        self._settings, self._keyspace, self._trouble = settings, Keyspace.of(settings), trouble
        self._here, self._count, self._figures = here, count, figures
        self._registry = Registry(settings, count, proof, on_revoked, self.mailbox, on_top, trouble)
        self._joined, self._fenced = asyncio.Event(), asyncio.Event()
        self._renewed_at, self._audit = 0.0, Audit()
        # The epoch in which the node joined, of each shard, and the names that it had and has not given up yet.
        self._epochs: dict[Keys, str] = {}
        self._former: list[str] = []

    @property
    def is_live(self) -> bool:
        """Whether Redis takes the node's word: joined with all its users, renewed in time, and without trouble."""
        is_joined = self._joined.is_set() and not self._registry.returning and not self._trouble.of("presence")
        return is_joined and time.monotonic() - self._renewed_at < self._settings.lease

    async def wait_joined(self) -> None:
        await self._joined.wait()

    def joined_in(self, keys: Keys) -> str:
        """Return the epoch in which the node has joined; "" before it has."""
        return self._epochs.get(keys, "")

    async def live(self, node: str) -> None:
        """Join as *node*, tell who is here, and keep the lease. Returns when fenced; then join under a new name."""
        await self._join(node)
        try:
            async with asyncio.TaskGroup() as group:
                registering = group.create_task(self._register(), name="register")
                await self._keep()
                registering.cancel()
        finally:
            self._joined.clear()

    async def leave(self) -> None:
        """Give up the lease, so that the others need not wait for its end."""
        for keys in self._keyspace.shards:
            await self._call(table.leave(keys, self.node))

    def doubt(self, streams: Iterable[Stream]) -> None:
        """Have *streams* told at the next renewal, whatever becomes of the caller until then."""
        self._registry.doubtful.update(streams)

    async def register(
        self,
        streams: Iterable[Stream],
        since: Mapping[Stream, Position] | None = None,
    ) -> Registration:
        """
        Tell Redis how many subscriptions of *streams* are here now.

        Args:
            since: Where a client that comes back is, by stream; the answer has what it missed.

        Raises:
            Unavailable: Redis did not answer. It is told later, when it does.
        """
        return await self._registry.register(streams, since or {})

    async def acknowledge(self, transition: Transition) -> None:
        """Tell Redis that *transition* was told, as soon as it can be reached, and take the next of that user."""
        keys = self._keyspace.of_stream(transition.stream)
        while self.mailbox.held.get(transition.stream) is transition:
            await self._joined.wait()
            try:
                call = table.acknowledge(keys, self.node, transition, grace=self._settings.offline_grace)
                following = await self._call(call)
            except Unavailable:
                await asyncio.sleep(self._settings.renew_interval)  # `_keep` meets it, too
            else:
                self.mailbox.end(transition)
                if following is not None:
                    self.mailbox.take(following)

    async def _register(self) -> None:
        try:
            await self._registry.run(self.node)
        except Fenced:
            self._fenced.set()

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
        self.canary.begin(node)
        self._registry.returning = set(self._here())
        if redis_forgot:
            self._registry.returning |= self.mailbox.of_the_gone()
        self._registry.doubtful |= self._registry.returning
        self._fenced.clear()
        self._joined.set()

    async def _join_as(self, node: str) -> bool:
        """
        Join all shards, and go on with the transitions that this node has to tell: before it acknowledges any.

        Returns:
            Whether Redis was restarted since this node joined under another name.
        """
        epochs: dict[Keys, str] = {}
        for keys in self._keyspace.shards:
            before = self._epochs.get(keys, "")
            epoch = await self._call(table.join(keys, node, lease=self._settings.lease, epoch=before))
            for transition in self._held(keys):
                call = table.reclaim(keys, node, transition, former=self.node, epoch=before)
                if not await self._call(call):
                    self.mailbox.drop(transition)
            epochs[keys] = epoch
        redis_forgot = any(self._epochs.get(keys, epoch) != epoch for keys, epoch in epochs.items())
        self._epochs = epochs  # once all have answered: until then, each attempt is the first
        return redis_forgot

    def _held(self, keys: Keys) -> list[Transition]:
        return [one for one in self.mailbox.held.values() if self._keyspace.of_stream(one.stream) is keys]

    async def _keep(self) -> None:
        """Renew the lease, reap the dead, and tell what Redis may not know, until fenced."""
        while not self._fenced.is_set():
            self._audit.next()
            began_at = time.monotonic()
            try:
                with self._trouble.noted("presence"):
                    for keys in self._keyspace.shards:
                        if not await self._renew(keys):
                            raise Fenced
                        await self._reap(keys)
                    self._renewed_at = time.monotonic()
                    if events.observers:
                        events.notify(LeaseRenewed(self.node, self._renewed_at - began_at))
                    await self._registry.tell_doubtful(self.node, self._renewed_at + self._settings.renew_interval)
                    await self._give_up_former_names()
                    self.mailbox.forget(self._count)
                    if self._registry.returning:
                        continue  # renew, and go on
            except Fenced:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.renew_interval):
                    await self._fenced.wait()

    async def _renew(self, keys: Keys) -> bool:
        """Return whether the node may go on under its name."""
        self.canary.asked(keys.channel(self.node))
        lease, grace = self._settings.lease, self._settings.offline_grace
        figures = self._figures() if keys is self._keyspace.shards[0] else b""
        renewed = await self._call(table.renew(keys, self.node, lease=lease, grace=grace, figures=figures))
        if renewed is None or renewed.epoch != self._epochs[keys]:
            return False
        if renewed.claims > len(self._held(keys)):
            # An answer was lost that handed them over.
            for transition in await self._call(table.claims(keys, self.node)):
                self.mailbox.take(transition)
        if self._audit.is_due and not self._registry.doubtful:
            here = sum(self._keyspace.of_stream(stream) is keys for stream in self._here())
            if self._audit.fails(keys, here, renewed.streams):  # to come back mends any difference
                logger.warning("node joins again: Redis knows of other streams than its %d", here, node=self.node)
                return False
        return True

    async def _give_up_former_names(self) -> None:
        """Have emptied what the node left under other names, now that its users are here under this one."""
        while self._former and not self._registry.returning:
            for keys in self._keyspace.shards:
                await self._call(table.leave(keys, self._former[0]))
            del self._former[0]

    async def _reap(self, keys: Keys) -> None:
        more = not self.is_stopping
        while more:
            reaped = await self._call(table.reap(keys, self.node, grace=self._settings.offline_grace))
            for transition in reaped.transitions:
                self.mailbox.take(transition)
            more = reaped.more

    async def _call(self, call: Call[T]) -> T:
        return await call_redis(self._settings, call)
