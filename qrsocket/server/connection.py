"""One open WebSocket: what waits to be written, and how it is closed. Nobody who offers a message ever waits."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket.errors import CloseCode
from qrsocket.message import ORDERS, Close, Kind, Message
from qrsocket.position import Entry, Position
from qrsocket.server.limits import abort_if_unread
from qrsocket.server.subscription import Subscription
from qrsocket.server.wire import Event, Wire
from qrsocket.settings import Settings
from qrsocket.streams import Stream, of_connection, of_user, topic_of

logger = logging.getLogger(__name__)

# What a client that reads has this long to take what waits for it, and then the close frame.
CLOSE_TIMEOUT = 2.0


class Connection:
    """
    Attributes:
        id: Unique in the whole cluster.
        wire: The protocol that its client speaks.
        user: Id of the user that it belongs to, once there is one.
        former: Id of the connection that its client has had before, as the client says.
        subscriptions: By their streams.
        on_order: Gets the orders to join topics and to leave them.
        transport: The server's, once it is open, if it can be known.
        closing: Code and reason once it is to be closed, by us or by the client.
    """

    def __init__(self, id: str, websocket: WebSocket, wire: Wire, user: str | None, settings: Settings) -> None:
        self.id, self.websocket, self.wire, self.user = id, websocket, wire, user
        self.former = ""
        self.own_stream = of_connection(id)
        self.subscriptions: dict[Stream, Subscription] = {}
        self.on_order: Callable[[Message], None] = lambda _order: None
        self.transport: Any = None
        self.closing: tuple[int, str] | None = None
        self._settings = settings
        self._waiting: deque[Event] = deque()
        self._waiting_bytes = 0
        self._newest: dict[str, Event] = {}
        self._newest_bytes = 0
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

    def offer_entry(self, subscription: Subscription, entry: Entry) -> None:
        """
        Queue a message that was kept. They come by the page, each when the one before was written, whatever the limits.

        An order is for those that were here when it was given. Offsets begin with the clock, so that one of another
        epoch compares as well.
        """
        if not self.is_meant(entry.message):
            return
        if entry.message.kind in ORDERS:
            if subscription.since is None or entry.offset > subscription.since.offset:
                self.obey(entry.message)
        elif self.closing is None:
            stream = subscription.stream
            self._queue(self.wire.message(entry.message, self.shown(stream, entry.offset), topic_of(stream)))

    @property
    def stream(self) -> Stream:
        """What is sent to it by name: to its user, or to itself if it has none."""
        return self.own_stream if self.user is None else of_user(self.user)

    def shown(self, stream: Stream, offset: int | None) -> int | None:
        """
        Return the offset as its client is shown it, who counts one stream besides the topics. What was sent to the
        connection alone, once there is a user, is not counted.
        """
        return None if stream == self.own_stream and self.user is not None else offset

    def is_meant(self, message: Message) -> bool:
        """Whether it is to get *message*, or is left out."""
        _, but, user = message.options
        if but:
            return but not in (self.id, self.former) or user != (self.user or "")
        return user in ("", self.user)

    def offer_newest(self, of: str, event: Event) -> None:
        """
        Queue an event of which only the newest *of* its kind counts. It goes when nothing else waits. Of more kinds
        than may wait the oldest is dropped: nobody is promised any of them.
        """
        if self.closing is None:
            before = self._newest.get(of)
            self._newest_bytes += event[1] - (0 if before is None else before[1])
            self._newest[of] = event
            while self._newest_bytes > self._settings.max_queued_bytes:
                self._forget_newest(next(iter(self._newest)))
            self._changed.set()

    def drop_newest(self, of: str | None = None) -> None:
        """Drop what waits *of* this kind, or of all, since what is offered next is newer."""
        for name in tuple(self._newest) if of is None else (of,):
            self._forget_newest(name)

    def drop_newest_of(self, stream: Stream) -> None:
        """Drop what waits of a stream that it is not subscribed to any more."""
        for name in [name for name in self._newest if name.startswith(f"{stream} ")]:
            self._forget_newest(name)

    def _forget_newest(self, of: str) -> Event | None:
        event = self._newest.pop(of, None)
        self._newest_bytes -= 0 if event is None else event[1]
        return event

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

    def tell_error(self, text: str, request: str | None, *, is_temporary: bool = False) -> None:
        """Tell the client what went wrong. Temporary: nothing was refused, and it may ask again in a while."""
        # Half a surrogate pair, which no UTF-8 can hold, is shown as a question mark.
        shown = text.encode("utf-8", "replace").decode()
        self.offer(self.wire.error(shown, request, is_temporary=is_temporary))

    def tell_place(self, name: str, **fields: object) -> int:
        """
        Tell the client that it has its place, whatever the limits, since its jobs, and members of a topic, may be many.
        Returns the bytes.
        """
        event = self.wire.control(name, fields)
        if event is None or self.closing is not None:
            return 0
        self._queue(event)
        return event[1]

    def tell_gap(self, stream: Stream, position: Position) -> bool:
        """
        Tell the client that messages before *position* are missing. Returns False if its protocol has no words for
        that. What is sent to the connection alone, once there is a user, is not counted, and nothing need be told.
        """
        topic = topic_of(stream)
        if topic is not None:
            return self.tell("gap", topic=topic, **position._asdict()) > 0
        return stream != self.stream or self.tell("gap", **position._asdict()) > 0

    def obey(self, order: Message) -> None:
        if order.kind is Kind.CLOSE:
            close = Close.from_payload(order.payload)
            self.close(close.code, close.reason)
        elif self.closing is None:
            self.on_order(order)

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
                        newest = self._forget_newest(next(iter(self._newest)))
                        if newest is not None:
                            await self._send(newest[0])
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
