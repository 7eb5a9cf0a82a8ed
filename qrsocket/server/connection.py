"""One open WebSocket: whose it is, what it is subscribed to, what its client is told of it, and how it is closed."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket import events
from qrsocket.errors import CloseCode
from qrsocket.events import GapTold
from qrsocket.logger import Logger
from qrsocket.message import ORDERS, Close, Kind, Message
from qrsocket.position import Entry, Position
from qrsocket.server.asgi_writer import AsgiWriter
from qrsocket.server.limits import CLOSE_TIMEOUT, SERVERS_CLOSE_TIMEOUT
from qrsocket.server.outbox import Outbox
from qrsocket.server.outgoing import Outgoing
from qrsocket.server.subscription import Subscription
from qrsocket.server.wire import Wire
from qrsocket.settings import Settings
from qrsocket.streams import Stream, of_connection, of_user, topic_of

if TYPE_CHECKING:
    from qrsocket.server.protocol import WebSocketProtocol  # which another uvicorn has not

logger = Logger(__name__)

SIGNED_OUT = "signed out"


class Connection(Outgoing):
    """
    Attributes:
        id: Unique in the whole cluster.
        wire: The protocol that its client speaks.
        user: Id of the user that it belongs to, once there is one.
        issued: When the proof of that was issued (Unix time); 0 if it is not known.
        revoked_at: When the user was last revoked, as far as this node knows; 0 if never.
        former: Id of the connection that its client has had before, as the client says.
        subscriptions: By their streams.
        on_order: Gets the orders to join topics and to leave them.
        on_close: Called when it is to be closed.
    """

    __slots__ = (
        "_asgi_writer",
        "_protocol",
        "former",
        "id",
        "issued",
        "on_close",
        "on_order",
        "own_stream",
        "revoked_at",
        "subscriptions",
        "user",
        "websocket",
        "wire",
    )

    def __init__(
        self, id: str, websocket: WebSocket, wire: Wire, user: str | None, settings: Settings, outbox: Outbox
    ) -> None:
        super().__init__(outbox, settings)
        self.id, self.websocket, self.wire, self.user = id, websocket, wire, user
        self.issued = self.revoked_at = 0.0
        self.former = ""
        self.own_stream = of_connection(id)
        self.subscriptions: dict[Stream, Subscription] = {}
        self._hear_nobody()
        self._protocol: WebSocketProtocol | None = None
        self._asgi_writer: AsgiWriter | None = None

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
            frame = self.wire.message(entry.message, self.shown(stream, entry.offset), topic_of(stream))
            self.offer_whatever_waits(frame)

    @property
    def facts(self) -> dict[str, object]:
        return {"connection": self.id, "user": self.user}

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
        but, user = message.options.but, message.options.user
        if but:
            return but not in (self.id, self.former) or user != (self.user or "")
        return user in ("", self.user)

    def drop_newest_of(self, stream: Stream) -> None:
        """Drop what waits of a stream that it is not subscribed to any more."""
        for name in [name for name in self._newest if name.startswith(f"{stream} ")]:
            self._forget_newest(name)

    def tell(self, name: str, **fields: object) -> int:
        """Tell the client about its connection, in so many bytes; 0 if its protocol has no words for that."""
        frame = self.wire.control(name, fields)
        if frame is None:
            return 0
        self.offer(frame)
        return len(frame)

    def tell_error(self, text: str, request: str | None, *, is_temporary: bool = False) -> None:
        """Tell the client what went wrong. Temporary: nothing was refused, and it may ask again in a while."""
        # Half a surrogate pair, which no UTF-8 can hold, is shown as a question mark.
        shown = text.encode("utf-8", "replace").decode()
        self.offer(self.wire.error(shown, request, is_temporary=is_temporary))

    def tell_registered(self, name: str, **fields: object) -> int:
        """
        Tell the client what it is subscribed to, whatever the limits: its jobs, and a topic's members, may be many.
        Returns the bytes.
        """
        frame = self.wire.control(name, fields)
        if frame is None or self.closing is not None:
            return 0
        self.offer_whatever_waits(frame)
        return len(frame)

    def tell_gap(self, stream: Stream, position: Position) -> bool:
        """
        Tell the client that messages before *position* are missing. Returns False if its protocol has no words for
        that. What is sent to the connection alone, once there is a user, is not counted, and nothing need be told.
        """
        topic = topic_of(stream)
        if topic is None and stream != self.stream:
            return True
        self.note_gap(stream, position)
        return self.tell("gap", **({} if topic is None else {"topic": topic}), **position._asdict()) > 0

    def note_gap(self, stream: Stream, position: Position) -> None:
        """Tell the log, and those who observe, that what was sent before *position* is gone."""
        logger.warning("gap told: messages are gone", **self.facts, stream=stream, offset=position.offset)
        if events.observers:
            events.notify(GapTold(self.id, self.user, stream))

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
            self._wake()
            self.on_close()

    def revoke(self, at: float) -> None:
        """Have what was issued before *at* prove nothing any more."""
        self.revoked_at = at
        if self.issued < at:
            self.close(CloseCode.REVOKED, SIGNED_OUT)

    def _hear_nobody(self) -> None:
        self.on_order: Callable[[Message], None] = lambda _order: None
        self.on_close: Callable[[], None] = lambda: None

    def open(self, protocol: "WebSocketProtocol | None") -> None:
        """
        Write from now on, since it is accepted.

        Args:
            protocol: What serves it, if it can lend its transport.
        """
        self._protocol = protocol
        if protocol is None or not protocol.lend(self):
            self._asgi_writer = AsgiWriter(self.websocket, self)
            self.begin(self._asgi_writer.write)

    async def finish(self) -> None:
        """Write what waits and the close frame. A client that does not read is cut off, so that nothing is held."""
        code, reason = self.closing or (CloseCode.NORMAL, "")
        is_slow = code == CloseCode.SLOW_CONSUMER
        # Where we cannot cut it off, nothing ends it but its server.
        for_slow = SERVERS_CLOSE_TIMEOUT if self._protocol is None else 0
        if is_slow and self._asgi_writer is not None:
            self._asgi_writer.cancel()
        try:
            async with asyncio.timeout(for_slow if is_slow else CLOSE_TIMEOUT):
                if not is_slow:
                    await self.drained()
                await self.websocket.close(code, reason)
        except TimeoutError:
            if self._protocol is not None:
                self._protocol.cut(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client closed first
        except AttributeError:
            if self._protocol is not None:  # otherwise an older uvicorn's: the client left in the midst of a handshake
                raise
        finally:
            self.gone()  # nothing follows a close frame
            self._hear_nobody()  # who is told is who holds it: such a circle would wait for the garbage collection
            if self._asgi_writer is not None:
                self._asgi_writer.cancel()
            if self._protocol is not None:
                self._protocol.take_back()
                self._protocol.abort_what_is_not_read()
