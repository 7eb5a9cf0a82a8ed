"""Writing by ASGI's `send`, one frame after another, where the server lends no transport or compresses."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket.errors import CloseCode
from qrsocket.logger import Logger
from qrsocket.server.framing import event_of
from qrsocket.server.outgoing import Outgoing

logger = Logger(__name__)


class AsgiWriter:
    def __init__(self, websocket: WebSocket, outgoing: Outgoing) -> None:
        self._websocket, self._outgoing = websocket, outgoing
        self._sending: asyncio.Task[None] | None = None

    def write(self, frames: list[bytes]) -> None:
        """Have *frames* sent, and nothing else until they are."""
        self._outgoing.pause()
        self._sending = asyncio.create_task(self._send(frames), name="send")

    def cancel(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self, frames: list[bytes]) -> None:
        try:
            for frame in frames:
                self._outgoing.pause()  # it has its time for each
                await self._websocket.send(event_of(frame))
        except (WebSocketDisconnect, RuntimeError):  # the client has gone: reading tells the same
            self._outgoing.gone()
            self._outgoing.close(CloseCode.NORMAL)
        except Exception:  # without a writer the client would wait for ever
            logger.exception("writing failed", **self._outgoing.facts)
            self._outgoing.gone()
            self._outgoing.close(CloseCode.INTERNAL_ERROR)
        else:
            self._outgoing.resume()
