"""The only way from one node to Redis: a TCP proxy that can hang or reset, so that the node is cut off and runs on."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 65_536


class Proxy:
    """
    Attributes:
        port: Where the node finds Redis.
    """

    port: int

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._passes = asyncio.Event()
        self._passes.set()
        self._resets = False
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """Pass nothing on until the block ends, as when packets are lost; then all that was held."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    @asynccontextmanager
    async def resetting(self) -> AsyncIterator[None]:
        """Reset all connections, and each new one, until the block ends."""
        self._resets = True
        self.reset()
        try:
            yield
        finally:
            self._resets = False

    def lead_to(self, redis_port: int) -> None:
        """Lead new connections to another server, as a name does after a failover. Those that are open stay."""
        self._redis_port = redis_port

    def reset(self) -> None:
        """Reset all connections."""
        for writer in tuple(self._writers):
            _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the node."""
        if self._resets:
            _reset(writer)
            return
        await self._passes.wait()
        try:
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:  # Redis is down
            _reset(writer)
            return
        both = {writer, to_redis}
        self._writers |= both
        try:
            await asyncio.gather(self._pass_on(reader, to_redis), self._pass_on(from_redis, writer))
        finally:
            self._writers -= both
            for one in both:
                one.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while words := await reader.read(CHUNK_BYTES):
                await self._passes.wait()
                writer.write(words)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy_to(redis_port: int) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port until the block ends."""
    proxy = Proxy(redis_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.reset()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):  # closed already
        # Lingering for no time at all is how a socket is told to send RST (socket(7)).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
