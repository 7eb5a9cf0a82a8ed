"""
The life of one connection, from the handshake to the close. Read this first.

    shake hands (handshake) → subscribe in Redis (subscriptions) → accept
    → what is sent to its streams is written (relay → hub → connection)
    → what it sends is handled (dispatch), the first message by `authenticate` if the user is not known (identity)
    → close: its subscriptions are given up at once, handlers that still run may finish

A client that speaks `qrsocket.v1` (wire) is accepted first. It says who it is and where it was (hello), and then gets
its subscriptions, what it missed (catch_up.py), and what is sent.
"""

import asyncio
import time
from contextlib import suppress
from functools import partial
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

from qrsocket.errors import CloseCode, SocketError
from qrsocket.logger import Logger
from qrsocket.message import Kind, Message
from qrsocket.patient_timeout import PatientTimeout
from qrsocket.server.connection import Connection
from qrsocket.server.controls import proof_in
from qrsocket.server.dispatch import Dispatch
from qrsocket.server.finding import protocol_of
from qrsocket.server.handlers import Handlers
from qrsocket.server.handshake import Refusal, refuse
from qrsocket.server.hello import Hello, read_hello
from qrsocket.server.identity import Identity
from qrsocket.server.joining import Joining
from qrsocket.server.layers import serve_outside
from qrsocket.server.noting import note_closed, note_opened
from qrsocket.server.parsing import ClientGone
from qrsocket.server.runtime import Node
from qrsocket.server.slots import Slot
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.server.welcome import Welcome, welcome
from qrsocket.server.wire import PLAIN, wire_for
from qrsocket.users import User

logger = Logger(__name__)


async def serve(websocket: WebSocket, handlers: Handlers, node: Node) -> None:
    """Serve one connection until it is closed."""
    if node.is_draining:
        await refuse(websocket, Refusal(503, "This node stops", {"Retry-After": "1"}))
        return
    is_full, slot = node.is_full, node.slots.enter(websocket.client.host if websocket.client else "")
    if slot is None:
        await refuse(websocket, Refusal(429, "Too many connections", {"Retry-After": "30"}))
        return
    node.sessions += 1
    try:
        said = await welcome(websocket, handlers, node, slot, is_full=is_full)
    except BaseException as error:
        _leave(node, slot)
        if not isinstance(error, Exception):
            raise
        await refuse(websocket, error)
    else:
        serving = partial(_serve, websocket, handlers, node, said)
        await serve_outside(websocket, serving, partial(_leave, node, slot))


async def _serve(websocket: WebSocket, handlers: Handlers, node: Node, said: Welcome) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            session = Session(websocket, handlers, node, tasks, said)
            try:
                await session.begin(said.user, said.topics)
                if said.closing is not None:
                    session.refuse(*said.closing)
                await session.open()
                await session.talk()
            finally:
                await session.leave()
    finally:
        _leave(node, said.slot)


def _leave(node: Node, slot: Slot) -> None:
    node.sessions -= 1
    slot.leave()


class Session:
    def __init__(
        self,
        websocket: WebSocket,
        handlers: Handlers,
        node: Node,
        tasks: asyncio.TaskGroup,
        said: Welcome,
    ) -> None:
        """
        Args:
            tasks: What handles messages runs in it, and may go on for a while after the close.
        """
        offered, self._slot = said.offered, said.slot
        self._wire = wire_for(offered, offered.chosen)
        self._subprotocol = offered.chosen or self._wire.subprotocol
        if offered and self._subprotocol is None:
            logger.warning("no subprotocol chosen: browsers close the connection. on_connect can take `subprotocols`")
        self._connection = connection = Connection(uuid4().hex, websocket, self._wire, None, node.settings, node.outbox)
        connection.on_order, connection.on_close = self._obey, self._end_reading
        self._reading, self._is_reading = asyncio.timeout(None), False
        self._opened_at: float | None = None
        self._has_left, self._protocol = False, protocol_of(websocket)
        self._websocket, self._node, self._settings, self._tasks = websocket, node, node.settings, tasks
        joining = Joining(connection, node, handlers.on_join, handlers.on_leave)
        self._subscriptions = Subscriptions(connection, node, joining)
        self._identity = Identity(connection, self._subscriptions, node.settings, tasks)
        self._dispatch = Dispatch(connection, self._subscriptions, self._identity, handlers, node, tasks)

    async def begin(self, user: User | None, topics: list[str]) -> None:
        """Take what the handshake has said."""
        self._identity.begin(user)
        for topic in topics:
            await self._subscriptions.join(topic, is_asked=False)

    def refuse(self, code: CloseCode, reason: str) -> None:
        """Close with *code* as soon as it is open: only an open WebSocket can tell its client a code."""
        self._connection.close(code, reason)

    async def open(self) -> None:
        """Subscribe, then accept: a plain client that sees its socket open can be sent to already."""
        if self._connection.closing is None and self._wire is PLAIN:
            await self._subscriptions.open()
        if self._protocol is not None:
            self._protocol.limit(self._settings)
        try:
            await self._websocket.accept(self._subprotocol)
        except (WebSocketDisconnect, RuntimeError, OSError):  # the client did not wait
            self._connection.close(CloseCode.NORMAL)
            return
        self._connection.open(self._protocol)
        if self._connection.closing is None:
            self._opened_at = time.monotonic()
            note_opened(self._connection)

    async def talk(self) -> None:
        """Read until one side closes."""
        if self._connection.closing is None:
            with suppress(TimeoutError):  # it is closing: what its client sends is nobody's any more
                async with self._reading:
                    self._is_reading = True
                    await self._read()
            self._is_reading = False
        self._dispatch.inbox.close()
        # Both at once: who is sent to from now on is not here.
        await asyncio.gather(self._subscriptions.close(), self._connection.finish())

    def _end_reading(self) -> None:
        if self._is_reading:
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def leave(self) -> None:
        """Leave nothing behind, whatever has ended the session."""
        self._identity.end()
        await self._subscriptions.close()
        note_closed(self._connection, self._opened_at, self._identity.refusal, by_client=self._has_left)

    def _obey(self, order: Message) -> None:
        """Join a topic, or leave it, since somebody somewhere wants it."""
        topic = order.payload.decode()
        carried_out = self._subscriptions.obey(topic, is_join=order.kind is Kind.JOIN)
        try:
            self._tasks.create_task(carried_out, name=f"order {self._connection.id}")
        except RuntimeError:  # it ends: who offers the order, to others as well, is not to hear of that
            carried_out.close()

    async def _read(self) -> None:
        try:
            if self._wire is not PLAIN:
                await self._greet()
            elif self._dispatch.asks_who_comes:
                await self._dispatch.authenticate(await self._first())
            self._slot.be_known()
            self._identity.be_ready()
            while self._connection.closing is None:
                await self._dispatch.wait_for_room()
                frame = await self._receive()
                if frame is not None and self._dispatch.is_within_limits(frame):
                    self._dispatch.take(frame)
        except ClientGone:
            pass
        except Exception as error:
            logger.exception("reading failed", **self._connection.facts)
            self._connection.close(CloseCode.INTERNAL_ERROR, type(error).__name__)
        finally:
            # Nobody reads any more. If it is closing already, this changes nothing.
            self._connection.close(CloseCode.INTERNAL_ERROR)

    async def _greet(self) -> None:
        """Take the first frame of a client that speaks `qrsocket.v1`: a hello, or a message without one."""
        frame = await self._first()
        try:
            hello = None if frame is None else await self._hello_in(frame)
            if self._dispatch.asks_who_comes:
                proof = (
                    None if frame is None else self._wire.read(frame).payload if hello is None else proof_in(hello.auth)
                )
                await self._dispatch.authenticate(proof)
                frame = None
        except SocketError as error:
            self._connection.tell_error(error.message, None)
            self._connection.close(CloseCode.POLICY, "not a hello")
            return
        if self._connection.closing is None:
            said = Hello() if hello is None else hello
            self._connection.former = said.connection
            await self._subscriptions.open(said.since, said.topics)
        if hello is None and frame is not None and self._connection.closing is None:
            self._dispatch.take(frame)

    async def _hello_in(self, frame: str | bytes) -> Hello | None:
        parse = partial(read_hello, frame, max_depth=self._settings.max_json_depth)
        owner = self._connection.user or self._connection.id
        return await self._node.parsing.run(owner, len(frame), parse, self._dispatch.inbox)

    async def _first(self) -> str | bytes | None:
        """Return the first frame; None if there is none in time, or none that may be taken."""
        frame = None
        with suppress(TimeoutError):
            async with PatientTimeout(self._settings.auth_deadline):
                frame = await self._receive()
        return frame if frame is not None and self._dispatch.is_within_limits(frame) else None

    async def _receive(self) -> str | bytes | None:
        """Return the next frame; None when the client has gone."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            has_failed = self._protocol is not None and self._protocol.has_failed
            self._has_left = self._connection.closing is None and not has_failed
            self._connection.close(event.get("code") or CloseCode.NORMAL, event.get("reason") or "")
            return None
        text: str | None = event.get("text")
        return text if text is not None else event["bytes"]
