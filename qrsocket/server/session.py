"""
The life of one connection, from the handshake to the close. Read this first.

    shake hands (handshake) → a place in Redis (runtime) → accept
    → what is sent to its user is written (relay → hub → connection)
    → what it sends is handled (inbound), the first message by `authenticate` if the user is not known
    → close: the place is given up at once, handlers that still run may finish
"""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket import audience
from qrsocket.audience import User
from qrsocket.context import Context, running_for
from qrsocket.errors import CloseCode, NotAuthenticated, SocketError, Unavailable
from qrsocket.presence.table import Attach
from qrsocket.server.authenticate import user_of
from qrsocket.server.connection import Connection
from qrsocket.server.handshake import query_unlogged, refuse, shake_hands
from qrsocket.server.inbound import MessageHandler, error_text
from qrsocket.server.limits import TokenBucket, tune_server
from qrsocket.server.parameters import Function
from qrsocket.server.runtime import Node

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Handlers:
    """What the application has registered on a router. `for_text` and `for_binary` by the kind of frame."""

    on_connect: Function | None = None
    authenticate: MessageHandler | None = None
    for_text: MessageHandler | None = None
    for_binary: MessageHandler | None = None
    on_online: list[Function] = field(default_factory=list)
    on_offline: list[Function] = field(default_factory=list)


async def serve(websocket: WebSocket, handlers: Handlers, node: Node) -> None:
    """Serve one connection until it is closed."""
    try:
        user = await shake_hands(websocket, handlers.on_connect, node.settings)
    except Exception as error:
        await refuse(websocket, error)
        return
    session = Session(websocket, handlers, node, user)
    async with asyncio.TaskGroup() as handling:
        try:
            await session.open()
            await session.talk(handling)
        finally:
            await session.leave()


class Session:
    def __init__(self, websocket: WebSocket, handlers: Handlers, node: Node, user: str | None) -> None:
        id = uuid4().hex
        belongs_to = audience.of_connection(id) if user is None else audience.of_user(user)
        self._connection = Connection(id, websocket, belongs_to, node.settings)
        self._websocket, self._handlers, self._node, self._settings = websocket, handlers, node, node.settings
        self._user = user
        self._request_ids = (f"{id}.{number}" for number in count(1))
        now = time.monotonic()
        self._rate = TokenBucket(node.settings.rate, node.settings.rate_burst, now)
        self._refusals = TokenBucket(node.settings.rate, node.settings.rate_burst, now)
        self._in_flight = asyncio.Semaphore(node.settings.max_handlers_in_flight)

    async def open(self) -> None:
        """Take a place in Redis, then accept: a client that sees its socket open can be sent to already."""
        if len(self._node.hub) >= self._node.max_connections:
            self._connection.close(CloseCode.OVERLOADED, "this node is full")
        else:
            await self._take_place()
        tune_server(self._websocket, self._settings)
        try:
            with query_unlogged(self._websocket):
                await self._websocket.accept()
        except (WebSocketDisconnect, RuntimeError):  # the client did not wait
            self._connection.close(CloseCode.NORMAL)
        logger.info("socket opened", extra={"connection": self._connection.id, "user": self._user})

    async def talk(self, handling: asyncio.TaskGroup) -> None:
        """Read and write until one side closes."""
        writer = asyncio.create_task(self._connection.write(), name=f"write {self._connection.id}")
        reader = asyncio.create_task(self._read(handling), name=f"read {self._connection.id}")
        try:
            await self._connection.wait_closed()
            self._leave_hub()
            await self._connection.finish(writer)
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def leave(self) -> None:
        """Give up the place in Redis."""
        self._leave_hub()
        with suppress(Unavailable):  # the node tells Redis when it is back
            await self._node.keeper.settle(self._connection.audience)
        code, reason = self._connection.closing or (CloseCode.INTERNAL_ERROR, "")
        logger.info(
            "socket closed",
            extra={"connection": self._connection.id, "user": self._user, "code": int(code), "reason": reason},
        )

    def _leave_hub(self) -> None:
        self._node.hub.remove(self._connection)

    async def _take_place(self) -> None:
        connection = self._connection
        self._node.hub.add(connection)
        try:
            placed = await self._node.keeper.settle(connection.audience, limit=self._settings.max_connections_per_user)
        except Unavailable:
            self._leave_hub()
            connection.close(CloseCode.OVERLOADED, "try again later")
            return
        if placed is Attach.LIMIT:
            self._leave_hub()
            connection.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")

    async def _bind(self, user: str) -> None:
        """Make *user* the user of this connection, from now on. Called by `await authenticated(user)`, too."""
        if self._user == user:
            return
        if self._user is not None:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "a second user on one connection")
            raise NotAuthenticated
        self._user = user
        before = self._connection.audience
        self._node.hub.move(self._connection, audience.of_user(user))
        await self._take_place()
        with suppress(Unavailable):
            await self._node.keeper.settle(before)

    async def _read(self, handling: asyncio.TaskGroup) -> None:
        try:
            if self._user is None and self._handlers.authenticate is not None:
                await self._authenticate(self._handlers.authenticate)
            while self._connection.closing is None:
                payload = await self._receive()
                if payload is not None and self._is_within_limits(payload):
                    await self._in_flight.acquire()
                    handling.create_task(self._handle(payload), name=f"handle {self._connection.id}")
        except Exception as error:
            logger.exception("reading failed", extra={"connection": self._connection.id})
            self._connection.close(CloseCode.INTERNAL_ERROR, type(error).__name__)

    async def _receive(self) -> str | bytes | None:
        """Return the next message; None when the client has gone."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            self._connection.close(event.get("code") or CloseCode.NORMAL, event.get("reason") or "")
            return None
        text: str | None = event.get("text")
        return text if text is not None else event["bytes"]

    def _is_within_limits(self, payload: str | bytes) -> bool:
        size_bytes = len(payload.encode() if isinstance(payload, str) else payload)
        now = time.monotonic()
        if size_bytes > self._settings.max_message_in_bytes:
            self._connection.close(CloseCode.TOO_BIG, f"over {self._settings.max_message_in_bytes} bytes")
        elif self._rate.take(now):
            return True
        elif self._refusals.take(now):
            self._answer_error(f"Too many messages: {self._settings.rate:g} a second are allowed")
        else:
            self._connection.close(CloseCode.ABUSE, "too many messages")
        return False

    async def _authenticate(self, handler: MessageHandler) -> None:
        """Let the first message say who this is; None is an anonymous session."""
        try:
            async with asyncio.timeout(self._settings.auth_deadline):
                payload = await self._receive()
        except TimeoutError:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "no first message in time")
            return
        if payload is None or not self._is_within_limits(payload):
            return
        request_id = next(self._request_ids)
        try:
            with running_for(self._context()):
                user = user_of(await self._call(handler, payload, request_id))
                if user is not None:
                    await self._bind(user)
        except Exception as error:
            self._answer_error(error_text(error, request_id, debug=self._settings.debug))
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "not authenticated")

    async def _handle(self, payload: str | bytes) -> None:
        request_id = next(self._request_ids)
        try:
            handler = self._handler_for(payload)
            with running_for(self._context()):
                await self._call(handler, payload, request_id)
        except Exception as error:
            self._answer_error(error_text(error, request_id, debug=self._settings.debug))
        finally:
            self._in_flight.release()

    async def _call(self, handler: MessageHandler, payload: str | bytes, request_id: str) -> Any:
        return await handler(
            payload,
            websocket=self._websocket,
            user=None if self._user is None else User(self._user),
            connection=self._connection.id,
            request_id=request_id,
            default_timeout=self._settings.handler_timeout,
        )

    def _handler_for(self, payload: str | bytes) -> MessageHandler:
        is_text = isinstance(payload, str)
        handler = self._handlers.for_text if is_text else self._handlers.for_binary
        if handler is None:
            raise SocketError(f"{'Text' if is_text else 'Binary'} messages are not handled here")
        return handler

    def _context(self) -> Context:
        return Context(user=self._user, connection=self._connection.id, bind=self._bind)

    def _answer_error(self, text: str) -> None:
        self._connection.offer_json({"error": text})
