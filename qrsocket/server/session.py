"""
The life of one connection, from the handshake to the close. Read this first.

    shake hands (handshake) → a place in Redis (place) → accept
    → what is sent to its user is written (relay → hub → connection)
    → what it sends is handled (inbound), the first message by `authenticate` if the user is not known
    → close: the place is given up at once, handlers that still run may finish

A client that speaks `qrsocket.v1` (wire) is accepted first. It says who it is and where it was, and then gets its
place, what it missed (mender), and what is sent.
"""

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from pydantic_core import to_json
from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket import audience
from qrsocket.audience import User
from qrsocket.context import Context, running_for
from qrsocket.errors import CloseCode, NotAuthenticated, SocketError
from qrsocket.server.authenticate import user_of
from qrsocket.server.connection import Connection
from qrsocket.server.handlers import Handlers
from qrsocket.server.handshake import Subprotocols, refuse, shake_hands
from qrsocket.server.inbound import MessageHandler, error_text, is_for_client, raise_if_ending
from qrsocket.server.inbox import Inbox, Lane, Verdict
from qrsocket.server.jobs import answer
from qrsocket.server.limits import tune_server
from qrsocket.server.parsing import ClientGone, paid
from qrsocket.server.place import Place
from qrsocket.server.runtime import Node
from qrsocket.server.wire import PLAIN, Hello, Inbound, read_hello, wire_for

logger = logging.getLogger(__name__)


async def serve(websocket: WebSocket, handlers: Handlers, node: Node) -> None:
    """Serve one connection until it is closed."""
    is_full = node.is_full
    node.sessions += 1
    try:
        await _serve(websocket, handlers, node, is_full=is_full)
    finally:
        node.sessions -= 1


async def _serve(websocket: WebSocket, handlers: Handlers, node: Node, *, is_full: bool) -> None:
    offered = Subprotocols(websocket.scope.get("subprotocols", []))
    try:
        user = None
        if not is_full:  # otherwise it does not matter who comes
            user = await shake_hands(websocket, handlers.on_connect, node.settings, subprotocols=offered)
    except Exception as error:
        await refuse(websocket, error)
        return
    async with asyncio.TaskGroup() as handling:
        session = Session(websocket, handlers, node, user, handling, offered)
        if is_full:
            session.refuse(CloseCode.OVERLOADED, "this node is full")
        try:
            await session.open()
            await session.talk()
        finally:
            await session.leave()


class Session:
    def __init__(
        self,
        websocket: WebSocket,
        handlers: Handlers,
        node: Node,
        user: str | None,
        handling: asyncio.TaskGroup,
        offered: Subprotocols,
    ) -> None:
        """
        Args:
            handling: What handles messages runs in it, and may go on for a while after the close.
        """
        id = uuid4().hex
        belongs_to = audience.of_connection(id) if user is None else audience.of_user(user)
        self._wire = wire_for(offered, offered.chosen)
        self._subprotocol = offered.chosen or self._wire.subprotocol
        if offered and self._subprotocol is None:
            logger.warning("no subprotocol chosen: a browser closes then. on_connect may ask for `subprotocols`")
        self._connection = Connection(id, websocket, self._wire, belongs_to, node.settings)
        self._websocket, self._handlers, self._node, self._settings = websocket, handlers, node, node.settings
        self._user, self._handling = user, handling
        self._place = Place(self._connection, node)
        self._inbox = Inbox(node.settings, time.monotonic())
        self._made_room = asyncio.Event()
        self._request_ids = (f"{id}.{number}" for number in count(1))

    def refuse(self, code: CloseCode, reason: str) -> None:
        """Close with *code* as soon as it is open: only an open WebSocket can tell its client a code."""
        self._connection.close(code, reason)

    async def open(self) -> None:
        """Take a place in Redis, then accept: a plain client that sees its socket open can be sent to already."""
        if self._connection.closing is None and self._wire is PLAIN:
            await self._place.take(self._user)
        self._connection.transport = tune_server(self._websocket, self._settings)
        try:
            await self._websocket.accept(self._subprotocol)
        except (WebSocketDisconnect, RuntimeError, OSError):  # the client did not wait
            self._connection.close(CloseCode.NORMAL)
        if self._connection.closing is None:
            logger.info("socket opened", extra={"connection": self._connection.id, "user": self._user})

    async def talk(self) -> None:
        """Read and write until one side closes."""
        writer = asyncio.create_task(self._connection.write(), name=f"write {self._connection.id}")
        reader = asyncio.create_task(self._read(), name=f"read {self._connection.id}")
        if self._connection.closing is not None:
            reader.cancel()  # what it sends is nobody's any more
        try:
            await self._wait_closed()
            self._inbox.close()
            # Both at once: who is sent to from now on is not here.
            await asyncio.gather(self._place.give_up(), self._connection.finish(writer))
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _wait_closed(self) -> None:
        """Wait until it is to be closed. With full buffers no ping arrives, and under some servers none is sent."""
        while self._connection.closing is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.ping_interval):
                    await self._connection.wait_closed()
            if self._connection.is_stuck(self._settings.ping_timeout):
                self._connection.close(CloseCode.SLOW_CONSUMER, "nothing is read")

    async def leave(self) -> None:
        """Leave nothing behind, whatever has ended the session."""
        await self._place.give_up()
        code, reason = self._connection.closing or (CloseCode.INTERNAL_ERROR, "")
        logger.info(
            "socket closed",
            extra={"connection": self._connection.id, "user": self._user, "code": int(code), "reason": reason},
        )

    async def _bind(self, user: str) -> None:
        """Make *user* the user of this connection, from now on. Called by `await authenticated(user)`, too."""
        if self._user == user:
            return
        if self._user is not None:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "a second user on one connection")
            raise NotAuthenticated
        self._user = user
        if self._connection.closing is not None:
            return  # it is leaving: what takes a place now would keep it for ever
        if not self._place.is_taken:
            self._connection.audience = audience.of_user(user)
            return
        moving = self._place.move(user)
        # On its own: the handler that asked for it may run out of time, and the connection must not be left half-way.
        await asyncio.shield(self._handling.create_task(moving, name=f"move {self._connection.id}"))

    async def _read(self) -> None:
        try:
            if self._wire is not PLAIN:
                await self._greet()
            elif self._user is None and self._handlers.authenticate is not None:
                await self._authenticate(self._handlers.authenticate, await self._first())
            while self._connection.closing is None:
                await self._wait_for_room()
                frame = await self._receive()
                if frame is not None and self._is_within_limits(frame):
                    self._take(frame)
        except ClientGone:
            pass
        except Exception as error:
            logger.exception("reading failed", extra={"connection": self._connection.id})
            self._connection.close(CloseCode.INTERNAL_ERROR, type(error).__name__)
        finally:
            # Nobody reads any more. If it is closing already, this changes nothing.
            self._connection.close(CloseCode.INTERNAL_ERROR)

    async def _greet(self) -> None:
        """Take the first frame of a client that speaks `qrsocket.v1`: a hello, or a message without one."""
        frame = await self._first()
        try:
            hello = None if frame is None else await self._hello_in(frame)
        except SocketError as error:
            self._answer_error(error.message, None)
            self._connection.close(CloseCode.POLICY, "not a hello")
            return
        if self._user is None and self._handlers.authenticate is not None:
            await self._authenticate(self._handlers.authenticate, frame if hello is None else _auth_of(hello))
            frame = None
        if self._connection.closing is None:
            # Only a user comes back: a connection without one is another each time.
            await self._place.take(self._user, hello.since if hello and self._user is not None else None)
        if hello is None and frame is not None and self._connection.closing is None:
            self._take(frame)

    async def _hello_in(self, frame: str | bytes) -> Hello | None:
        parse = partial(read_hello, frame, max_depth=self._settings.max_json_depth)
        return await self._node.parsing.run(self._user or self._connection.id, len(frame), parse, self._inbox)

    async def _first(self) -> str | bytes | None:
        """Return the first frame; None if there is none in time, or none that may be taken."""
        frame = None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.auth_deadline):
                frame = await self._receive()
        return frame if frame is not None and self._is_within_limits(frame) else None

    async def _wait_for_room(self) -> None:
        """Leave unread what a client sends faster than it is handled: TCP slows it down, and nothing is refused."""
        while self._inbox.is_full and self._connection.closing is None:
            self._made_room.clear()
            await self._made_room.wait()

    async def _receive(self) -> str | bytes | None:
        """Return the next frame; None when the client has gone."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            self._connection.close(event.get("code") or CloseCode.NORMAL, event.get("reason") or "")
            return None
        text: str | None = event.get("text")
        return text if text is not None else event["bytes"]

    def _is_within_limits(self, frame: str | bytes) -> bool:
        size_bytes = len(frame if isinstance(frame, bytes) else frame.encode())
        match self._inbox.judge(size_bytes, time.monotonic()):
            case Verdict.TAKEN:
                return True
            case Verdict.TOO_LARGE:
                self._connection.close(CloseCode.TOO_BIG, f"over {self._settings.max_message_in_bytes} bytes")
            case Verdict.TOO_FAST:
                self._answer_error(f"Too many messages: {self._settings.rate:g} a second are allowed", None)
            case Verdict.ABUSE:
                self._connection.close(CloseCode.ABUSE, "too many messages")
        return False

    async def _authenticate(self, handler: MessageHandler, frame: str | bytes | None) -> None:
        """Let the first message say who this is; None is an anonymous session."""
        if frame is None:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "no first message in time")
            return
        request_id = next(self._request_ids)
        try:
            with running_for(self._context()):
                user = user_of(await self._call(handler, self._wire.read(frame).payload, request_id))
                if user is not None:
                    await self._bind(user)
        except ClientGone:
            pass
        except BaseException as error:
            raise_if_ending(error)
            self._answer_error(error_text(error, request_id, debug=self._settings.debug), None)
            # Only who was refused is told not to come back: a database that is down must not sign everybody out.
            if is_for_client(error):
                self._connection.close(CloseCode.NOT_AUTHENTICATED, "not authenticated")
            else:
                self._connection.close(CloseCode.INTERNAL_ERROR, "try again later")

    def _take(self, frame: str | bytes) -> None:
        """Have a frame handled, now or when its turn comes."""
        try:
            inbound = self._wire.read(frame)
        except SocketError as error:
            self._answer_error(error.message, None)
            return
        if inbound.control == "ping":
            self._connection.tell("pong")  # at once: behind handlers that take long, it would be taken for dead
        elif self._inbox.is_crowded:
            self._answer_error("Too many messages at once: wait for answers", inbound.request)
        else:
            lane = self._inbox.messages if inbound.control is None else self._inbox.asks
            if lane.enter(inbound):
                self._start(lane, inbound)

    def _start(self, lane: Lane, inbound: Inbound) -> None:
        self._handling.create_task(self._handle_in(lane, inbound), name=f"handle {self._connection.id}")

    async def _handle_in(self, lane: Lane, inbound: Inbound) -> None:
        await self._handle(inbound)
        self._made_room.set()
        following = lane.leave()
        if following is not None:
            self._start(lane, following)  # in a task of its own: context variables of this one are not for it

    async def _handle(self, inbound: Inbound) -> None:
        request_id = next(self._request_ids)
        try:
            if inbound.control is not None:
                await paid(self._inbox)
                await answer(inbound, self._connection, self._node, self._inbox.charge_bytes)
                return
            handler = self._handler_for(inbound.payload)
            with running_for(self._context()):
                await self._call(handler, inbound.payload, request_id)
        except ClientGone:
            pass
        except BaseException as error:
            raise_if_ending(error)
            self._answer_error(error_text(error, request_id, debug=self._settings.debug), inbound.request)

    async def _call(self, handler: MessageHandler, payload: str | bytes, request_id: str) -> Any:
        return await handler(
            payload,
            websocket=self._websocket,
            user=None if self._user is None else User(self._user),
            connection=self._connection.id,
            request_id=request_id,
            settings=self._settings,
            parsing=self._node.parsing,
            inbox=self._inbox,
        )

    def _handler_for(self, payload: str | bytes) -> MessageHandler:
        is_text = isinstance(payload, str)
        handler = self._handlers.for_text if is_text else self._handlers.for_binary
        if handler is None:
            raise SocketError(f"{'Text' if is_text else 'Binary'} messages are not handled here")
        return handler

    def _context(self) -> Context:
        return Context(user=self._user, connection=self._connection.id, bind=self._bind)

    def _answer_error(self, text: str, request: str | None) -> None:
        # Half a surrogate pair, which no UTF-8 can hold, is shown as a question mark.
        self._connection.offer(self._wire.error(text.encode("utf-8", "replace").decode(), request))


def _auth_of(hello: Hello) -> str:
    """Return what a hello says of who it is as the message that `authenticate` takes."""
    return "\n" + to_json(hello.auth).decode()
