"""A test client's connection: opened, read as it speaks, waited on, and lost."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from qrsocket.errors import CloseCode
from qrsocket.settings import Settings
from qrsocket.testing.conversation import Conversation
from qrsocket.testing.opening import Target

T = TypeVar("T")

ABNORMAL = 1006


class Link:
    """
    One connection after the other, of one conversation.

    Attributes:
        closed: Code and reason, while there is no connection.
        timeout: Seconds that a wait may take, unless it says its own.
        settings: Those that the application was given; None: the environment's.
    """

    def __init__(self, timeout: float) -> None:
        self.conversation = Conversation()
        self.closed: tuple[int, str] | None = (ABNORMAL, "not connected yet")
        self.timeout = timeout
        self.settings: Settings | None = None
        self._changed = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, target: Target, auth: Any) -> None:
        """Say hello from where this client was, and wait for what the server makes of it: a `ready`, or a close."""
        self.conversation.transcript.note("connecting")
        self.conversation.ready = None
        connection = self._connection = await target.open(timeout=self.timeout)
        self.closed = None
        self._reader = asyncio.create_task(self._read(connection), name="reader of a test client")
        hello = self.conversation.hello(auth)
        self.conversation.transcript.sent(hello)
        try:
            await connection.send(hello)
        except ConnectionClosed:  # the code says why
            await self._end_reader()
        await self.wait(lambda: self.conversation.ready or self.closed, "ready", None, open_only=False)

    async def write(self, frame: str | bytes) -> None:
        if self._connection is None or self.closed is not None:
            raise self.failure(f"cannot send, since the connection is closed: {self._why()}")
        self.conversation.transcript.sent(frame)
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            await self._end_reader()
            raise self.failure(f"cannot send, since the connection is closed: {self._why()}") from None

    async def cut(self) -> None:
        """Lose the connection without a word."""
        if self._connection is not None:
            # Closed at once and with a reset, instead of in good order.
            raw = self._connection.transport.get_extra_info("socket")
            if raw is not None and self.closed is None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._connection.transport.abort()
            await self._end_reader()

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            await self._end_reader()

    async def wait(
        self, look: Callable[[], T | None], what: str, timeout: float | None, *, open_only: bool = True
    ) -> T:
        """
        Return what *look* finds, once it finds something.

        Raises:
            AssertionError: It found nothing within *timeout* seconds, or before the connection was closed.
            RuntimeError: The connection belongs to another event loop.
        """
        if self._reader is not None and self._reader.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("connected in another event loop: give the client's fixture and the test one loop scope")
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                while (found := look()) is None:
                    if open_only and self.closed is not None:
                        raise self.failure(f"expected {what}, but the connection is closed: {self._why()}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise self.failure(f"expected {what}, but it did not come within {seconds:g} s") from None
        return found

    def failure(self, text: str) -> AssertionError:
        return AssertionError(f"{text}\n\nWhat was said:\n{self.conversation.transcript}")

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                self.conversation.take(frame)
                self._changed.set()
        except ConnectionClosed:
            pass
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self.conversation.transcript.note(f"this is not qrsocket.v1: {error!r}")
            connection.transport.abort()
            await connection.wait_closed()
        finally:
            self.closed = (connection.close_code or ABNORMAL, connection.close_reason or "")
            self.conversation.transcript.note(f"closed: {self._why()}")
            self._changed.set()

    async def _end_reader(self) -> None:
        if self._reader is not None:
            await asyncio.wait({self._reader})

    def _why(self) -> str:
        code, reason = self.closed or (0, "")
        name = CloseCode(code).name if code in set(CloseCode) else {ABNORMAL: "cut"}.get(code, "")
        return " ".join(filter(None, (str(code), name, reason and f"({reason})")))
