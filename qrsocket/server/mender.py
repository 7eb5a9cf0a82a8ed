"""
What this node's connections have missed, found and read from the streams.

A node may miss messages without a sign, when its subscription was cut or Redis was frozen. Whoever suspects it, since
the numbers of frames do not follow each other or there was a new subscription, has it compared with the streams.
"""

import asyncio
import logging
import random
from typing import TypeVar

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.audience import Audience
from qrsocket.errors import CloseCode, Unavailable
from qrsocket.fanout.history import read, tops
from qrsocket.keys import Keys, Keyspace
from qrsocket.roundtrip import Call, arun
from qrsocket.server.connection import Connection
from qrsocket.server.hub import Hub
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

logger = logging.getLogger(__name__)
T = TypeVar("T")

COMPARED_AT_ONCE = 200
# Thousands may be behind at once. The keeper needs connections to Redis, too.
READ_AT_ONCE = 20


class Mender:
    def __init__(self, settings: Settings, hub: Hub, trouble: Trouble) -> None:
        self._settings, self._hub, self._keyspace, self._trouble = settings, hub, Keyspace.of(settings), trouble
        self._is_suspect = asyncio.Event()
        self._reading: set[str] = set()
        self._turns = asyncio.Semaphore(READ_AT_ONCE)

    def suspect(self) -> None:
        """Something may be missing: compare, and read what is."""
        self._is_suspect.set()

    async def run(self) -> None:
        """Compare whenever there is a suspicion, without end."""
        while True:
            await self._is_suspect.wait()
            self._is_suspect.clear()
            for keys, audiences in self._keyspace.group(self._hub.audiences).items():
                for start in range(0, len(audiences), COMPARED_AT_ONCE):
                    await self._compare(keys, audiences[start : start + COMPARED_AT_ONCE])

    async def catch_up(self, connection: Connection) -> None:
        """Read what *connection* is behind, page by page, as fast as its client takes it."""
        if connection.id in self._reading:
            return
        self._reading.add(connection.id)
        try:
            while self._hub.is_behind(connection):
                await connection.wait_written()
                await self._read_page(connection)
        except Exception:  # one message that cannot be read must not end the node
            logger.exception("catching up failed", extra={"connection": connection.id})
            connection.close(CloseCode.INTERNAL_ERROR)
        finally:
            self._reading.discard(connection.id)

    async def _read_page(self, connection: Connection) -> None:
        audience, position = connection.audience, connection.position
        if position is None:
            return
        heard = self._hub.heard_of(audience)
        page = await self._available(read(self._keyspace.of_audience(audience), audience, position))
        if (connection.audience, connection.position) == (audience, position):  # otherwise it has moved on
            self._hub.take_page(connection, page, heard)

    async def _compare(self, keys: Keys, audiences: list[Audience]) -> None:
        for audience, top in (await self._available(tops(keys, audiences))).items():
            self._hub.heard(audience, top)

    async def _available(self, call: Call[T]) -> T:
        """Make the round trip as soon as Redis can be reached."""
        while True:
            try:
                async with self._turns:
                    answer = await arun(clients.awaiting(self._settings), call, timeout=self._settings.redis_timeout)
                self._trouble.over("recovery")
                return answer
            except (Unavailable, RedisError) as error:
                self._trouble.met("recovery", error)
            await asyncio.sleep(random.uniform(0.5, 1) * self._settings.renew_interval)  # noqa: S311 - spreads the load
