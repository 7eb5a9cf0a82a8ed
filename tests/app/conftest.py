"""Whole applications in this process: real uvicorn on a loopback port, real clients. One application is one node."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from qrsocket.embedded_redis import EmbeddedRedis
from tests.conftest import MS, PATIENCE, Configure


@dataclass
class Client:
    """A client that remembers what was said, for when a test fails."""

    connection: ClientConnection
    transcript: list[str] = field(default_factory=list)

    async def send(self, message: Any) -> None:
        """Send bytes as a binary frame, anything else as JSON."""
        await self.send_text(message if isinstance(message, bytes) else json.dumps(message))

    async def send_text(self, frame: str | bytes) -> None:
        self.transcript.append(f"> {frame!r:.200}")
        await self.connection.send(frame)

    async def receive(self) -> Any:
        """Return the next message: bytes of a binary frame, otherwise the JSON's value."""
        frame = await self._next()
        return frame if isinstance(frame, bytes) else json.loads(frame)

    async def receive_text(self) -> str | bytes:
        return await self._next()

    async def closed(self) -> int:
        """Return the close code. What is received before it is in the transcript."""
        try:
            while True:
                await self._next()
        except ConnectionClosed:
            return self.connection.close_code or 0

    async def _next(self) -> str | bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                frame = await self.connection.recv()
        except TimeoutError:
            raise AssertionError("\n".join(["nothing came", *self.transcript])) from None
        except ConnectionClosed as error:
            self.transcript.append(f"< closed {error!r}")
            raise
        self.transcript.append(f"< {frame!r:.200}")
        return frame


Open: TypeAlias = Callable[..., Awaitable[Client]]
Serve: TypeAlias = Callable[..., Awaitable[str]]


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve *app* as `uvicorn module:app` does; yields `127.0.0.1:<port>`."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not running.done(), "uvicorn did not start"
            await asyncio.sleep(MS)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def serve(redis_server: EmbeddedRedis, configure: Configure) -> AsyncIterator[Serve]:
    """Serve routers as an application of their own, until the test ends: `address = await serve(router)`."""
    configure(renew_interval=20 * MS, offline_grace=30 * MS)
    async with AsyncExitStack() as stack:

        async def serve(*routers: APIRouter, app: FastAPI | None = None) -> str:
            app = app or FastAPI()
            for router in routers:
                app.include_router(router)
            return await stack.enter_async_context(serving(app))

        yield serve


@pytest.fixture
async def open_client() -> AsyncIterator[Open]:
    """Connect, until the test ends: `client = await open_client(address, "/socket?user=alice")`."""
    async with AsyncExitStack() as stack:

        async def open(address: str, path: str = "/socket", **options: Any) -> Client:
            opening: AbstractAsyncContextManager[ClientConnection] = connect(
                f"ws://{address}{path}", close_timeout=1, **options
            )
            return Client(await stack.enter_async_context(opening))

        yield open
