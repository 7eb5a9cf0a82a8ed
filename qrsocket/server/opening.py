"""
A WebSocket before the application has accepted it: nothing is read, nobody waits without end, and no head stays
unanswered. Knows uvicorn's class.
"""

import asyncio
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from qrsocket.internals.uvicorn import WebSocketsSansIOProtocol
from qrsocket.logger import Logger
from qrsocket.server.limits import max_connections
from qrsocket.settings import get_settings

logger = Logger(__name__)

RETRY_AFTER = 5  # seconds

_open: WeakKeyDictionary[ServerState, int] = WeakKeyDictionary()


class Opening(WebSocketsSansIOProtocol):
    # Attributes of the class, since an object of uvicorn's own may become one of these.
    _server_state: ServerState | None = None
    _answering: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._server_state = server_state
        _open[server_state] = _open.get(server_state, 0) + 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_answered()
        if self._server_state is not None:
            _open[self._server_state] -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self._answer_broken_head()

    def handle_connect(self, event: Any) -> None:
        settings = get_settings()
        if self._server_state is not None and _open[self._server_state] > max_connections(settings):
            logger.warning("handshake refused: this node is full", http_status=503)
            self._turn_away("This node is full")
            return
        super().handle_connect(event)
        if not self.handshake_complete:
            # A client must not send anything yet. What it does stays in the kernel, which bounds it.
            # Source: RFC 6455, section 4.1
            self.transport.pause_reading()
            self._answering = self.loop.call_later(settings.handshake_timeout, self._give_up)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self._answering is not None and (self.handshake_complete or self.initial_response is not None):
            self._be_answered()
            if not self.read_paused:
                self.transport.resume_reading()

    def _be_answered(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None

    def _give_up(self) -> None:
        """Answer for the application, which has not."""
        self._answering = None
        logger.warning("handshake refused: a middleware, a dependency or the endpoint took too long", http_status=503)
        self._turn_away("Not answered in time")
        self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def _turn_away(self, reason: str) -> None:
        response = self.conn.reject(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        self.conn.send_response(response)
        self._end()

    def _answer_broken_head(self) -> None:
        """Answer a head that websockets does not take: uvicorn 0.54 leaves it at that, and the connection open."""
        if not self.conn.writes[:-1]:  # besides the end of the stream
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self._end()

    def _end(self) -> None:
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
