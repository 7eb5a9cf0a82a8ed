"""One open WebSocket: what waits to be written, and how it is closed. Nobody who offers a message ever waits."""

import asyncio
import logging
from collections import deque
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket.audience import Audience
from qrsocket.errors import CloseCode
from qrsocket.message import Close, Kind
from qrsocket.position import Entry, Position
from qrsocket.server.limits import abort_if_unread
from qrsocket.server.wire import Event, Wire
from qrsocket.settings import Settings

logger = logging.getLogger(__name__)

# What a client that reads has this long to take what waits for it, and then the close frame.
CLOSE_TIMEOUT = 2.0


class Connection:
    """
    Attributes:
        id: Unique in the whole cluster.
        wire: The protocol that its client speaks.
        audience: The user that it belongs to, or itself if it has none.
        position: Of the last message that was offered to it, unless it is live; None until it has a place in Redis.
        since: Where it began: what was sent before is of no concern to it but as a message.
        transport: The server's, once it is open, if it can be known.
        closing: Code and reason once it is to be closed, by us or by the client.
    """

    def __init__(self, id: str, websocket: WebSocket, wire: Wire, audience: Audience, settings: Settings) -> None:
        self.id, self.websocket, self.wire, self.audience = id, websocket, wire, audience
        self.position: Position | None = None
        self.since: Position | None = None
        self.transport: Any = None
        self.closing: tuple[int, str] | None = None
        self._settings = settings
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._newest: dict[str, Event] = {}
        self._writing_since: float | None = None
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def offer(self, event: Event) -> None:
        """
        Queue an event, which many connections share: do not change it.

        A client that is too slow for what is sent to it is closed (4000).
        """
        if self.closing is not None:
            return
        self._queue(event)
        too_many = len(self._waiting) > self._settings.max_queued_messages
        if too_many or self._waiting_bytes > self._settings.max_queued_bytes:
            self._waiting.clear()
            self.close(CloseCode.SLOW_CONSUMER, "too slow to read what is sent")

    def offer_entry(self, entry: Entry) -> None:
        """
        Queue a message that was kept. They come by the page, each when the one before was written, whatever the limits.

        An order to close is for those that were here when it was given. Offsets begin with the clock, so that one of
        another epoch compares as well.
        """
        if entry.message.kind is Kind.CLOSE:
            if self.since is None or entry.offset > self.since.offset:
                self.obey(Close.from_payload(entry.message.payload))
        elif self.closing is None:
            self._queue(self.wire.message(entry.offset, entry.message))

    def offer_newest(self, of: str, event: Event) -> None:
        """Queue an event of which only the newest *of* its kind counts. It goes when nothing else waits."""
        if self.closing is None:
            self._newest[of] = event
            self._changed.set()

    def drop_newest(self, of: str | None = None) -> None:
        """Drop what waits *of* this kind, or of all, since what is offered next is newer."""
        if of is None:
            self._newest.clear()
        else:
            self._newest.pop(of, None)

    @property
    def has_room(self) -> bool:
        """Whether less waits than half of what may: to be sent to as others are, it must not be nearly full."""
        is_short = 2 * len(self._waiting) <= self._settings.max_queued_messages
        return is_short and 2 * self._waiting_bytes <= self._settings.max_queued_bytes

    def _queue(self, event: Event) -> None:
        self._waiting.append(event)
        self._waiting_bytes += event[1]
        self._written.clear()
        self._changed.set()

    def tell(self, name: str, **fields: object) -> int:
        """Tell the client about its connection, in so many bytes; 0 if its protocol has no words for that."""
        event = self.wire.control(name, fields)
        if event is None:
            return 0
        self.offer(event)
        return event[1]

    def tell_ready(self, **fields: object) -> None:
        """Tell the client that it has its place, whatever the limits: what its jobs are may be long."""
        event = self.wire.control("ready", fields)
        if event is not None and self.closing is None:
            self._queue(event)

    def obey(self, order: Close) -> None:
        if order.connection in ("", self.id):
            self.close(order.code, order.reason)

    def close(self, code: int, reason: str = "") -> None:
        """Close it, after what is waiting has been written. Only the first code counts."""
        if self.closing is None:
            self.closing = (code, reason)
            self._changed.set()
            self._closed.set()
            self._written.set()

    async def wait_written(self) -> None:
        """Wait until nothing waits to be written, or it is closing."""
        await self._written.wait()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def write(self) -> None:
        """Write what is offered, until the connection is closing and nothing waits."""
        try:
            while self._waiting or self.closing is None:
                if not self._waiting:
                    if self._newest:
                        event, _ = self._newest.pop(next(iter(self._newest)))
                        await self._send(event)
                        continue
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                event, size_bytes = self._waiting[0]
                await self._send(event)
                # Counted until it is written, and the queue may have been cleared meanwhile.
                if self._waiting:
                    self._waiting.popleft()
                    self._waiting_bytes -= size_bytes
                if not self._waiting:
                    self._written.set()
        except (WebSocketDisconnect, RuntimeError):  # the client has gone: reading tells the same
            self.close(CloseCode.NORMAL)
        except Exception:  # without a writer the client would wait for ever
            logger.exception("writing failed", extra={"connection": self.id})
            self.close(CloseCode.INTERNAL_ERROR)

    async def _send(self, event: dict[str, Any]) -> None:
        self._writing_since = asyncio.get_running_loop().time()
        await self.websocket.send(event)
        self._writing_since = None

    def is_stuck(self, seconds: float) -> bool:
        """Whether its client has taken nothing of what is written for so long."""
        return self._writing_since is not None and asyncio.get_running_loop().time() - self._writing_since >= seconds

    async def finish(self, writer: asyncio.Task[None]) -> None:
        """Write what waits and the close frame. A client that does not read is cut off, so that nothing is held."""
        code, reason = self.closing or (CloseCode.NORMAL, "")
        transport = self.transport
        try:
            async with asyncio.timeout(0 if code == CloseCode.SLOW_CONSUMER else CLOSE_TIMEOUT):
                await writer
                await self.websocket.close(code, reason)
        except TimeoutError:
            if transport is not None and not transport.is_closing():
                # Behind what the transport holds. RFC 6455, 5.2: FIN and opcode 8; a server does not mask.
                body = code.to_bytes(2, "big") + reason.encode()
                transport.write(bytes((0x88, len(body))) + body)
                transport.close()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client closed first
        finally:
            if transport is not None and transport.get_write_buffer_size():
                # Whoever has closed it: a transport waits for its last byte to be read, and uvicorn for the transport.
                asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, abort_if_unread, transport)
