"""
uvicorn's WebSocket protocol, with limits of our own and a way to write past ASGI.

    uvicorn main:app --ws qrsocket.server.protocol:WebSocketProtocol

What is sent to a thousand clients is framed once, and ASGI would frame it for each. So the protocol lends its transport
to the connection that it serves, by an extension in the ASGI scope: see finding.py. Besides that, opening.py and
http_protocol.py nothing knows of uvicorn's insides.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, cast

from qrsocket.logger import Logger
from qrsocket.server.framing import close_frame
from qrsocket.server.limits import CLOSE_TIMEOUT, FRAMES_PER_MESSAGE, TokenBucket, end_when_nothing_is_acknowledged
from qrsocket.server.opening import Opening
from qrsocket.server.outgoing import PIECE_BYTES, Outgoing
from qrsocket.server.small import Gate, Line
from qrsocket.settings import Settings

logger = Logger(__name__)

EXTENSION = "qrsocket"
FAULTS = (1002, 1003, 1007, 1009)  # of a client's frames: RFC 6455, 7.4.1

Serve: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class WebSocketProtocol(Opening):
    # Attributes of the class, since an object of uvicorn's own may become one of these.
    _outgoing: Outgoing | None = None
    _frames: TokenBucket | None = None
    _most_unread = 0
    _serve: Serve | None = None
    _abandon: Callable[[], None] = staticmethod(lambda: None)
    _aborting: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue, self.writable = cast(Any, Line()), cast(Any, Gate())
        self.writable.set()

    # What a connection of ours asks for

    def limit(self, settings: Settings) -> None:
        """
        Set the limits of *settings*, before it is accepted.

        uvicorn's are for the whole process and set by its command line: 16 MiB a message, compression on (which costs
        35 KiB a connection), a ping every 20 s, and any number of pings and empty fragments.
        """
        self.ping_interval, self.ping_timeout = settings.ping_interval, settings.ping_timeout
        self.conn.max_message_size = settings.max_message_in_bytes
        if not settings.compression:
            self.conn.extensions = []
            self.response.headers.pop("Sec-WebSocket-Extensions", None)
        rate, burst = FRAMES_PER_MESSAGE * settings.rate, FRAMES_PER_MESSAGE * settings.rate_burst
        self._frames = TokenBucket(rate, int(burst), time.monotonic())
        # A frame of ours, and what is before it, is no fault of its client's.
        self._most_unread = settings.max_queued_bytes + 2 * PIECE_BYTES
        end_when_nothing_is_acknowledged(self.transport, settings.ping_interval + settings.ping_timeout)

    def lend(self, outgoing: Outgoing) -> bool:
        """Have *outgoing* write to the transport, once it is accepted. Returns False if frames are compressed."""
        if self.conn.extensions or self.transport.is_closing():
            return False
        self._forget_handshake()
        self._outgoing = outgoing
        outgoing.begin(self._write)
        return True

    def cut(self, code: int, reason: str) -> None:
        """Close behind what the transport holds, and without what still waits: `take_back` comes next."""
        if not self.transport.is_closing():
            self.transport.write(close_frame(code, reason))
            self.transport.close()

    def abort_what_is_not_read(self) -> None:
        """
        End it soon, whoever has closed it: a transport waits for its last byte to be read, and uvicorn for the
        transport, without end.
        """
        if self._has_unread and self._aborting is None:
            self._aborting = self.loop.call_later(CLOSE_TIMEOUT, self._abort_if_unread)

    def mark_answered(self) -> None:
        """A handshake was answered by an HTTP response; uvicorn 0.54 logs an error for each one."""
        self.handshake_complete = True

    @property
    def has_failed(self) -> bool:
        """Whether the connection was closed here for what its client has sent: too much at once, or no valid frame."""
        sent = self.conn.close_sent
        return sent is not None and sent.code in FAULTS and not self.conn.close_rcvd_then_sent

    @property
    def application(self) -> object:
        """The application that uvicorn was given; None if something of others is around it, or cannot be known."""
        application: Any = getattr(self, "_application", None)
        while type(application).__module__.startswith("uvicorn."):
            application = getattr(application, "app", None)
        return application

    def outlive(self, serve: Serve, abandon: Callable[[], None]) -> bool:
        """
        Have *serve* run once the application has returned, in its task; if that fails, *abandon*. Returns False if that
        cannot be.
        """
        if not hasattr(self, "_application"):
            return False
        self._serve, self._abandon = serve, abandon
        return True

    # What uvicorn and the transport tell

    def handle_connect(self, event: Any) -> None:
        self._application, self.app = self.app, self._run
        super().handle_connect(event)
        self._extensions[EXTENSION] = {"protocol": self}

    async def send(self, message: Any) -> None:
        if self._outgoing is not None:
            self._outgoing.flush()  # what was offered before goes first
        await super().send(message)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._outgoing is not None:
            self._outgoing.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._outgoing is not None:
            self._outgoing.resume()

    def handle_text(self, event: Any) -> None:
        if self._is_within_rate():
            super().handle_text(event)

    def handle_bytes(self, event: Any) -> None:
        if self._is_within_rate():
            super().handle_bytes(event)

    def handle_cont(self, event: Any) -> None:
        if self._is_within_rate():
            super().handle_cont(event)

    def handle_ping(self) -> None:
        if self._is_within_rate(is_answered=True):
            super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        if self._is_within_rate():
            super().handle_pong(event)

    def handle_close(self, event: Any) -> None:
        self.take_back()
        super().handle_close(event)
        self.abort_what_is_not_read()

    def handle_parser_exception(self) -> None:
        self.take_back()
        super().handle_parser_exception()
        self.abort_what_is_not_read()

    def keepalive_timeout(self) -> None:
        self.take_back()
        super().keepalive_timeout()
        self._abort_if_unread()

    def shutdown(self) -> None:
        if self._outgoing is not None:
            self._outgoing.flush()
        self.take_back()
        super().shutdown()
        self.abort_what_is_not_read()

    def connection_lost(self, exc: Exception | None) -> None:
        self.take_back()
        super().connection_lost(exc)
        if self._aborting is not None:
            self._aborting.cancel()
        # What leads back here the collector of garbage need not find.
        self._extensions.clear()
        self.app = cast(Any, None)
        # A parser that waits for more holds what holds it, and so does the error that it has met.
        conn = cast(Any, self.conn)
        conn.parser = conn.parser_exc = None

    async def _run(self, *asgi: Any) -> None:
        try:
            await cast(Any, self._application)(*asgi)
        except BaseException:
            self._abandon()
            raise
        if (serve := self._serve) is not None:
            self._serve = None
            await serve()

    @property
    def _has_unread(self) -> bool:
        try:
            return not self.disconnected and self.transport.get_write_buffer_size() > 0
        except AttributeError:  # asyncio's for TLS, which was closed twice: the kernel ends it
            return False

    def _abort_if_unread(self) -> None:
        if self._has_unread:  # otherwise it has closed, and asyncio's fails when it is aborted then
            self.transport.abort()

    def _write(self, frames: list[bytes]) -> None:
        # Not `writelines`: asyncio's pauses nobody in some versions (https://github.com/python/cpython/issues/127655).
        self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    @property
    def _extensions(self) -> dict[str, Any]:
        scope: Any = getattr(self, "scope", {})  # there is none if the handshake was refused
        extensions: dict[str, Any] = scope.setdefault("extensions", {})
        return extensions

    def _forget_handshake(self) -> None:
        """Let go of what nobody needs once it is accepted: the scope has the headers as well."""
        self.request.headers.clear()  # the parser holds the request
        self.request = self.response = cast(Any, None)

    def take_back(self) -> None:
        """Have nobody write to the transport any more."""
        if self._outgoing is not None:
            self._outgoing.gone()
            self._outgoing = None

    def _is_within_rate(self, *, is_answered: bool = False) -> bool:
        """
        Whether a frame is taken. A client that floods with frames which are no messages, pings or empty fragments, or
        leaves their answers unread, is cut off.
        """
        if self._frames is None:
            return True
        if self.transport.is_closing():
            return False
        is_unread = is_answered and self.transport.get_write_buffer_size() > self._most_unread
        if self._frames.take(time.monotonic()) and not is_unread:
            return True
        logger.warning("flood of frames: connection aborted", **(self._outgoing.facts if self._outgoing else {}))
        self.transport.abort()
        return False
