"""Redis frozen, gone, deaf or slow."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from qrsocket.embedded_redis import EmbeddedRedis
from tests.conftest import MS

# Long enough for a busy machine to open a connection.
TIMEOUT = 500 * MS
# A bound that holds on a busy machine and is far under what redis-py or the kernel would wait by themselves.
SLACK = 5_000 * MS


@contextmanager
def frozen(server: EmbeddedRedis) -> Iterator[None]:
    """SIGSTOP: the kernel goes on taking connections and bytes, and nobody answers."""
    server.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)  # until then it may go on to answer
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def kill(server: EmbeddedRedis) -> None:
    server.process.kill()
    server.process.wait()


@contextmanager
def another_program() -> Iterator[int]:
    """A program that speaks HTTP, at a port where Redis is expected."""

    def answer() -> None:
        with suppress(OSError):  # the port is closed
            while True:
                connection, _ = listener.accept()
                with connection, suppress(ConnectionError):
                    connection.recv(1)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer)
        answering.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends what waits to accept; a close would not
            answering.join()


@asynccontextmanager
async def between(port: int, pass_on: Callable[[bytes], Awaitable[bool]]) -> AsyncIterator[int]:
    """A proxy to *port* that asks *pass_on* about the answer to each script, and hangs up where that says no."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((to_client, to_server))
        script_runs = False

        async def there() -> None:
            nonlocal script_runs
            while words := await client.read(65_536):
                script_runs = script_runs or b"EVAL" in words
                to_server.write(words)
            to_server.close()

        async def back() -> None:
            nonlocal script_runs
            while answer := await server.read(65_536):
                if script_runs and not await pass_on(answer):
                    break
                script_runs = False
                to_client.write(answer)
            to_client.close()

        await asyncio.gather(there(), back())

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        yield proxy.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()


@asynccontextmanager
async def deafening(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """
    A proxy to *port*, and an event: while it is set, nothing that is published passes, and everything else does.
    """
    is_deaf, writers = asyncio.Event(), list[asyncio.StreamWriter]()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((to_client, to_server))
        subscribes = False

        async def there() -> None:
            nonlocal subscribes
            while words := await client.read(65_536):
                subscribes = subscribes or b"SUBSCRIBE" in words
                to_server.write(words)
            to_server.close()

        async def back() -> None:
            while answer := await server.read(65_536):
                if not (subscribes and is_deaf.is_set()):
                    to_client.write(answer)
            to_client.close()

        with suppress(OSError):
            await asyncio.gather(there(), back())

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], is_deaf
    finally:
        listener.close()
        for writer in writers:
            writer.close()
