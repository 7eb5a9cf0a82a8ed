"""The frames of one node, as they come from Redis: connected again when the connection is lost or silent."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import cast

from redis.exceptions import RedisError

from qrsocket import clients
from qrsocket.fanout.history import tops
from qrsocket.keys import Keyspace
from qrsocket.listening import Listening
from qrsocket.settings import Settings
from qrsocket.trouble import Trouble

logger = logging.getLogger(__name__)

# A node hears its own heartbeat with every renewal. So much silence means that the connection is dead, or Redis frozen.
SILENT_RENEWALS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class Subscriber:
    """
    Attributes:
        is_open: Set while what is published on *channels* arrives here.
    """

    def __init__(self, settings: Settings, channels: Sequence[str], trouble: Trouble) -> None:
        self._settings, self._trouble = settings, trouble
        self._channels = tuple(channels)
        self._silence = max(SILENT_RENEWALS * settings.renew_interval, settings.redis_timeout)
        self.is_open = asyncio.Event()

    async def run(self, on_frame: Callable[[bytes, bytes], None], on_open: Callable[[], None]) -> None:
        """
        Call *on_frame* with channel and data of all that is published, without end; and *on_open* each time that it
        begins. What is published while it is not open does not come.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                await self._read(on_frame, on_open)
            except (RedisError, OSError, TimeoutError, RuntimeError) as error:  # the last is uvloop's, of a closed one
                if self.is_open.is_set():
                    logger.warning("subscription lost", extra={"error": type(error).__name__})
                    pause = FIRST_PAUSE
                else:
                    self._trouble.met("subscription", error)
            finally:
                self.is_open.clear()
            await asyncio.sleep(pause)  # until Redis takes connections again; nothing tells when
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _read(self, on_frame: Callable[[bytes, bytes], None], on_open: Callable[[], None]) -> None:
        connection = clients.listening(self._settings)
        try:
            async with Listening(self._settings.redis_timeout) as deadline:
                await connection.connect()
                for keys in Keyspace.of(self._settings).shards:
                    # A replica refuses it: there a subscriber would hear late, or nothing. A server that has taken the
                    # place of another begins a new epoch.
                    await connection.send_command(*tops(keys, ()).words_with_source)
                    await connection.read_response()
                await connection.send_command("SUBSCRIBE", *self._channels)
                for _ in self._channels:
                    await connection.read_response()
                self.is_open.set()
                self._trouble.over("subscription")
                on_open()
                deadline.restart(self._silence)
                while True:
                    # RESP2: [b"message", channel, data]
                    _, channel, frame = cast(list[bytes], await connection.read_response())
                    if frame.startswith(b"h"):
                        deadline.restart(self._silence)
                    on_frame(channel, frame)
        finally:
            await connection.disconnect(nowait=True)
