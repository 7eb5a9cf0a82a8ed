"""
What this node's connections have missed, found and read from Redis.

A node may miss messages without a sign, when its subscription was cut or Redis was frozen. Whoever suspects it, since
the numbers of envelopes do not follow each other or there was a new subscription, has it compared with the streams.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.fanout.history import read, tops
from qrsocket.keys import Keys, Keyspace
from qrsocket.logger import Logger
from qrsocket.presence.table import members_of
from qrsocket.roundtrip import Call, arun
from qrsocket.server.connection import Connection
from qrsocket.server.hub import Hub
from qrsocket.server.listings import Listings
from qrsocket.server.subscription import Subscription
from qrsocket.settings import Settings
from qrsocket.streams import Stream
from qrsocket.trouble import Trouble

logger = Logger(__name__)
T = TypeVar("T")

COMPARED_AT_ONCE = 200
# Thousands may be behind at once. The keeper needs connections to Redis, too.
READ_AT_ONCE = 20


class CatchUp:
    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        listings: Listings,
        wait_joined: Callable[[], Awaitable[None]],
        joined_in: Callable[[Keys], str],
        trouble: Trouble,
    ) -> None:
        """
        Args:
            wait_joined: Waits until the node has joined: before, Redis may not know who is there, after a restart say.
            joined_in: Tells in which epoch that was.
        """
        self._wait_joined, self._joined_in = wait_joined, joined_in
        self._settings, self._hub, self._listings, self._trouble = settings, hub, listings, trouble
        self._keyspace = Keyspace.of(settings)
        self._is_suspect = asyncio.Event()
        self._catching_up: dict[Connection, dict[Subscription, None]] = {}  # in the order of their turns
        self._rereading: set[Stream] = set()
        # Thousands of a topic fall behind together, and miss the same: one reading is for all of them.
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}
        self._turns = asyncio.Semaphore(READ_AT_ONCE)

    @property
    def behind(self) -> int:
        """How many connections read what they have missed."""
        return len(self._catching_up)

    def suspect(self) -> None:
        """Something may be missing: compare, and read what is."""
        self._is_suspect.set()

    async def run(self) -> None:
        """Compare whenever there is a suspicion, without end."""
        while True:
            await self._is_suspect.wait()
            self._is_suspect.clear()
            for keys, streams in self._keyspace.group(self._hub.counted).items():
                for start in range(0, len(streams), COMPARED_AT_ONCE):
                    await self._compare(keys, streams[start : start + COMPARED_AT_ONCE])

    async def catch_up(self, subscription: Subscription) -> None:
        """
        Read what *subscription* is behind, page by page, as fast as its client takes it. Those of one client take
        turns: it may have many, and a page of each would fill the node's memory.
        """
        connection = subscription.connection
        if (behind := self._catching_up.get(connection)) is not None:
            behind[subscription] = None
            return
        behind = self._catching_up[connection] = {subscription: None}
        try:
            while behind:
                subscription = next(iter(behind))
                del behind[subscription]
                if self._hub.is_behind(subscription):
                    await connection.wait_written()
                    await self._read_page(subscription)
                    behind[subscription] = None  # after the others, until it is behind no more
        except Exception:  # one message that cannot be read must not end the node
            logger.exception("catching up failed", **connection.facts)
            connection.close(CloseCode.INTERNAL_ERROR)
        finally:
            del self._catching_up[connection]

    async def reread(self, stream: Stream) -> None:
        """Read the jobs of a user, or the members of a topic, a change of which was missed."""
        if stream in self._rereading:
            return
        self._rereading.add(stream)
        try:
            while self._hub.states.is_stale(stream):
                if stream.startswith("j:"):
                    await self._reread_jobs(stream)
                elif not await self.read_members(stream):
                    await asyncio.sleep(self._settings.renew_interval)  # until all nodes have said who is there
        except Exception:
            logger.exception("jobs or members could not be read", stream=stream)
        finally:
            self._rereading.discard(stream)

    async def _read_page(self, subscription: Subscription) -> None:
        stream, position = subscription.stream, subscription.position
        if position is None:
            return
        heard = self._hub.heard_of(stream)
        reading = read(self._keyspace.of_stream(stream), stream, position, ring=self._settings.ring)
        page = await self._once((stream, position), reading)
        if subscription.position == position:  # otherwise it has moved on
            self._hub.take_page(subscription, page, heard)

    async def read_members(self, stream: Stream) -> bool:
        """Read who has joined a topic, and return whether that is certain."""
        await self._wait_joined()
        keys = self._keyspace.of_stream(stream)
        if stream not in self._under_way:
            self._hub.states.reading_members(stream)
        members = await self._once(stream, members_of(keys, stream[2:]))
        if members.version.epoch != self._joined_in(keys):
            # Redis came back, empty perhaps, and this node has not noticed yet: it has not said who is here.
            members = members._replace(is_certain=False)
        self._hub.states.take_members(stream, members)
        return members.is_certain

    async def _once(self, name: Hashable, call: Call[T]) -> T:
        """Make the round trip *name*, or wait for one that is under way."""
        while (reading := self._under_way.get(name)) is not None:
            await asyncio.wait([reading])
            if not reading.cancelled():  # otherwise whoever has begun it has gone, or failed
                return cast(T, reading.result())
        reading = self._under_way[name] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._available(call)
            reading.set_result(answer)
            return answer
        finally:
            reading.cancel()  # nothing happens if it has a result
            del self._under_way[name]

    async def _reread_jobs(self, stream: Stream) -> None:
        owner = stream[2:]
        for position in (await self._available(tops(self._keyspace.of_stream(stream), [stream]))).values():
            self._hub.states.reread_jobs(stream, position)
        try:
            self._hub.states.take_jobs(owner, await self._listings.of(owner))
        except (Unavailable, RedisError) as error:
            self._trouble.met("recovery", error)
            self._hub.states.doubt_jobs(stream)
            await self._pause()

    async def _compare(self, keys: Keys, streams: list[Stream]) -> None:
        for stream, top in (await self._available(tops(keys, streams))).items():
            self._hub.heard(stream, top)

    async def _available(self, call: Call[T]) -> T:
        """Make the round trip as soon as Redis can be reached."""
        while True:
            with self._trouble.noted("recovery"):
                async with self._turns:
                    return await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(random.uniform(0.5, 1) * self._settings.renew_interval)  # noqa: S311 - spreads the load
