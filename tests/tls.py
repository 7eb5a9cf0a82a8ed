"""
TLS before a Redis that speaks none: the embedded server is built without. To its clients it is a server with TLS.

It runs in a thread, so that a test may wait for processes meanwhile.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class TlsProxy:
    """
    Attributes:
        port: Of 127.0.0.1.
        connections: How many were accepted, TLS agreed on.
    """

    def __init__(self, redis_port: int, context: ssl.SSLContext) -> None:
        self.port, self.connections = 0, 0
        self._redis_port, self._context = redis_port, context
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listens, self._ends = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()], name="TLS")

    def start(self) -> None:
        self._thread.start()
        self._listens.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break all connections. New ones are taken."""
        self._loop.call_soon_threadsafe(self._cut)

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._ends.wait()
        server.close()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_redis, redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        await asyncio.gather(self._pass_on(reader, redis), self._pass_on(from_redis, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError):
            while words := await reader.read(65_536):
                writer.write(words)
                await writer.drain()
        writer.close()
        self._open.discard(writer)

    def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()


@contextmanager
def tls_before(
    redis_port: int, key: Path, certificate: Path, *, for_clients_of: Path | None = None
) -> Iterator[TlsProxy]:
    """
    Speak TLS before the Redis of *redis_port* until the block ends.

    Args:
        for_clients_of: A certificate that those of clients must be signed by; otherwise they need none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if for_clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(for_clients_of)
    proxy = TlsProxy(redis_port, context)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
