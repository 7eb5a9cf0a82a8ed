"""
uvicorn's HTTP protocol, through which the heads of WebSockets come too, with limits on what a client may leave
unfinished: all that we know of its insides.

    uvicorn main:app --http qrsocket.server.http_protocol:HttpProtocol

It needs httptools, which `uvicorn[standard]` brings; without it uvicorn takes h11, and heads have that one's limits.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qrsocket import events
from qrsocket.internals import require
from qrsocket.logger import Logger
from qrsocket.patient_timeout import ONCE_MORE
from qrsocket.server.limits import end_when_nothing_is_acknowledged, max_open
from qrsocket.settings import get_settings

logger = Logger(__name__)

MOST_HEAD_BYTES = 64 * 1024
MOST_LINES = 100
MOST_PIPELINED = 20
# The parser is given so much at once, and looked at.
PIECE_BYTES = 16 * 1024


require(
    "uvicorn",
    HttpToolsProtocol,
    *("connections", "cycle", "loop", "parser", "pipeline", "transport"),
    *("connection_lost", "connection_made", "data_received", "handle_websocket_upgrade", "send_400_response"),
    *("on_body", "on_header", "on_headers_complete", "on_message_begin", "on_message_complete", "on_response_complete"),
)


class Refused(Exception):
    """Raised in the parser's callbacks to end it."""


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unfinished: asyncio.TimerHandle | None = None
        self._refusal: HTTPStatus | None = None
        self._is_head, self._has_begun, self._is_over = True, False, False
        # What the parser was given since the last end of a head, or piece of a body.
        self._taken_bytes = 0
        self._lines = self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > max_open():
            logger.warning("connection refused: too many are open", http_status=503)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            settings = get_settings()
            end_when_nothing_is_acknowledged(transport, settings.ping_interval + settings.ping_timeout)
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_finished()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self._is_over or self.transport.is_closing():
                return
            piece = data[start : start + PIECE_BYTES]
            self._taken_bytes += len(piece)
            super().data_received(piece)
            if self._taken_bytes > MOST_HEAD_BYTES:
                self._answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif self._is_head and (self._taken_bytes or self._has_begun):
                self._wait_for_head()

    def handle_websocket_upgrade(self) -> None:
        self._is_over = True
        self._be_finished()
        super().handle_websocket_upgrade()
        del self.parser  # which calls what holds it: such a circle would wait for the garbage collection

    # What the parser tells

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS)
        self._lines, self._head_bytes, self._has_begun = 0, 0, True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1  # trailers, behind a body, too
        self._head_bytes += len(name) + len(value) + 4
        if self._lines > MOST_LINES or self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_head, self._has_begun, self._taken_bytes = False, False, 0
        self._be_finished()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._taken_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_head, self._taken_bytes = True, 0
        self._be_finished()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self._is_head and self._unfinished is None:
            # The rest of a body that nobody wants any more.
            self._unfinished = self.loop.call_later(get_settings().head_timeout, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._answer(self._refusal)

    # Ends

    def _wait_for_head(self) -> None:
        if self._unfinished is None:
            self._unfinished = self.loop.call_later(get_settings().head_timeout, self._look_once_more)

    def _look_once_more(self) -> None:
        """Read first what came while the loop stood still: uvloop looks at its timers before its sockets."""
        self._unfinished = self.loop.call_later(ONCE_MORE, self._end_slow_head)

    def _be_finished(self) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None

    def _end_slow_head(self) -> None:
        if self._taken_bytes or self._has_begun:
            self._answer(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()  # browsers open connections that they may need, and would take it for an answer

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        raise Refused

    def _answer(self, status: HTTPStatus) -> None:
        """Answer in place of the application, and close."""
        if events.observers:
            events.notify(events.Refused(status, status.phrase))
        retry = "Retry-After: 5\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = f"HTTP/1.1 {status} {status.phrase}\r\n{retry}Connection: close\r\nContent-Length: 0\r\n\r\n"
        self._be_finished()
        self.transport.write(head.encode())
        self.transport.close()
