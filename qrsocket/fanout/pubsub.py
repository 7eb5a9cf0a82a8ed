"""Pub/sub as it comes from Redis: a read's messages at once, without a task switch for each."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis
from redis.exceptions import InvalidResponse, NoPermissionError, ResponseError

# Channel and data of each message of one read.
OnRead: TypeAlias = Callable[[list[tuple[bytes, bytes]]], None]


def _refusal(text: str) -> ResponseError:
    """Return what redis-py would raise, which knows more of them."""
    may_not = text.startswith("NOPERM")
    return NoPermissionError(text.removeprefix("NOPERM ")) if may_not else ResponseError(text)


class PubSubProtocol(asyncio.Protocol):
    """
    Takes over a connection to Redis (RESP2) that nobody else reads any more.

    Attributes:
        subscribed: Done when all channels are subscribed to.
        heard_at: When something came last, by the clock of the loop.
        lost: Fails when the connection is lost, or what comes cannot be read.
    """

    def __init__(self, channels: int, on_read: OnRead, on_open: Callable[[], None]) -> None:
        """
        Args:
            channels: How many are subscribed to.
            on_open: Called when all are, before what is published is read.
        """
        self._loop = loop = asyncio.get_running_loop()
        self.heard_at = loop.time()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._awaited, self._on_read, self._on_open = channels, on_read, on_open
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_refusal)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            if messages := self._messages():
                self._on_read(messages)
        except Exception as error:
            self._lose(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc or ConnectionError("closed by Redis"))

    def _messages(self) -> list[tuple[bytes, bytes]]:
        gets, messages = self._reader.gets, []
        while (reply := gets()) is not False:
            if isinstance(reply, ResponseError):
                raise reply
            if not isinstance(reply, list) or len(reply) != 3:
                raise InvalidResponse(f"pub/sub answers with three parts, not {type(reply).__name__}")
            kind, channel, data = reply
            if kind == b"message":
                messages.append((channel, data))
            else:
                self._count(reply)
        return messages

    def _count(self, reply: list[Any]) -> None:
        self._awaited -= reply[0] == b"subscribe"
        if not self._awaited and not self.subscribed.done():
            self.subscribed.set_result(None)
            self._on_open()

    def _lose(self, error: Exception) -> None:
        for future in (self.subscribed, self.lost):
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at: not all of them are waited for
