"""A WebSocket client of any application: the `websockets` library, and nothing of ours."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.machine import pace

# How long to wait for what must happen: nobody waits for it while all is well, and other work may begin on the machine
# after its pace was measured.
PATIENCE = 30.0 * pace()


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


@asynccontextmanager
async def opening() -> AsyncIterator[Open]:
    """Give what connects clients until the block ends: `client = await open(address, "/socket?user=alice")`."""
    async with AsyncExitStack() as stack:

        async def open(address: str, path: str = "/socket", **options: Any) -> Client:
            connecting: AbstractAsyncContextManager[ClientConnection] = connect(
                f"ws://{address}{path}", close_timeout=1, **options
            )
            return Client(await stack.enter_async_context(connecting))

        yield open
