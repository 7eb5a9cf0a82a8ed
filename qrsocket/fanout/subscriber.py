"""The envelopes of one node, as they come from Redis: connected again when the connection is lost or silent."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.fanout.history import tops
from qrsocket.fanout.pubsub import OnRead, PubSubProtocol
from qrsocket.internals.redis import transport_of
from qrsocket.keys import Keyspace
from qrsocket.logger import Logger
from qrsocket.patient_timeout import ONCE_MORE, PatientTimeout
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

logger = Logger(__name__)

# A node hears its own heartbeat with every renewal. So much silence means that the connection is dead, or Redis frozen.
SILENT_RENEWALS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class Subscriber:
    """
    Attributes:
        is_open: Set while what is published on *channels* arrives here.
    """

    def __init__(self, settings: Settings, node: str, channels: Sequence[str], trouble: Trouble) -> None:
        self._settings, self._node, self._trouble = settings, node, trouble
        self._channels = tuple(channels)
        self._silence = max(SILENT_RENEWALS * settings.renew_interval, settings.redis_timeout)
        self.is_open = asyncio.Event()

    async def run(self, on_read: OnRead, on_open: Callable[[], None]) -> None:
        """
        Call *on_read* with what is published, without end; and *on_open* each time that it begins. What is published
        while it is not open does not come.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                await self._read(on_read, on_open)
            except (RedisError, OSError, TimeoutError, RuntimeError) as error:
                # RuntimeError is uvloop's, of a connection that is closed.
                if self.is_open.is_set():
                    logger.warning(
                        "subscription lost: what is missed is read", node=self._node, error=type(error).__name__
                    )
                    pause = FIRST_PAUSE
                else:
                    self._trouble.met("subscription", error)
            finally:
                self.is_open.clear()
            await asyncio.sleep(pause)  # until Redis takes connections again; nothing tells when
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _read(self, on_read: OnRead, on_open: Callable[[], None]) -> None:
        connection = clients.subscriber_connection(self._settings)
        try:
            async with PatientTimeout(self._settings.redis_timeout):
                await connection.connect()
                for keys in Keyspace.of(self._settings).shards:
                    # A replica refuses it: there a subscriber would hear late, or nothing. A server that has taken the
                    # place of another begins a new epoch.
                    await connection.send_command(*tops(keys, ()).words_with_source)
                    await connection.read_response()
                protocol = PubSubProtocol(len(self._channels), on_read, partial(self._be_open, on_open))
                transport = transport_of(connection)
                transport.set_protocol(protocol)
                transport.writelines(connection.pack_command("SUBSCRIBE", *self._channels))
                await protocol.subscribed
            await self._wait_lost(protocol)
        finally:
            await connection.disconnect(nowait=True)

    def _be_open(self, on_open: Callable[[], None]) -> None:
        self.is_open.set()
        self._trouble.over("subscription")
        on_open()

    async def _wait_lost(self, protocol: PubSubProtocol) -> None:
        """Wait until the connection is lost, or was silent for too long, and raise that."""
        loop = asyncio.get_running_loop()
        while (left := protocol.heard_at + self._silence - loop.time()) > 0:
            await asyncio.wait([protocol.lost], timeout=left)
            if protocol.lost.done():
                return protocol.lost.result()
            if loop.time() - protocol.heard_at >= self._silence:
                await asyncio.sleep(ONCE_MORE)  # a loop that was too busy may not have looked
        raise TimeoutError
