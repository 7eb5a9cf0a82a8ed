"""What a client sends, once it is known who that is: refused, or handled when its turn comes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from starlette.websockets import WebSocket

from qrsocket import events, spans
from qrsocket.context import running_for
from qrsocket.errors import CloseCode, SocketError
from qrsocket.events import Handled
from qrsocket.logger import Logger
from qrsocket.server.connection import Connection
from qrsocket.server.controls import answer, proof_in
from qrsocket.server.exchange import Exchange
from qrsocket.server.failing import error_text, is_for_client, raise_if_ending
from qrsocket.server.handlers import Handlers
from qrsocket.server.identity import Identity
from qrsocket.server.inbound import MessageHandler
from qrsocket.server.inbox import Inbox, Lane, Verdict
from qrsocket.server.noting import note_message_refused
from qrsocket.server.parsing import ClientGone, paid
from qrsocket.server.runtime import Node
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.server.wire import Inbound

logger = Logger(__name__)


class Dispatch:
    """
    Attributes:
        inbox: What the client has sent.
    """

    def __init__(
        self,
        connection: Connection,
        subscriptions: Subscriptions,
        identity: Identity,
        handlers: Handlers,
        node: Node,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """
        Args:
            tasks: What handles messages runs in it, and may go on for a while after the close.
        """
        self.inbox = Inbox(node.settings, time.monotonic())
        self._connection, self._subscriptions, self._identity = connection, subscriptions, identity
        self._handlers, self._node, self._settings, self._tasks = handlers, node, node.settings, tasks
        self._made_room: asyncio.Event | None = None
        self._requests = 0

    async def wait_for_room(self) -> None:
        """Leave unread what a client sends faster than it is handled: TCP slows it down, and nothing is refused."""
        while self.inbox.is_full and self._connection.closing is None:
            self._made_room = asyncio.Event()
            await self._made_room.wait()

    def is_within_limits(self, frame: str | bytes) -> bool:
        size_bytes = len(frame if isinstance(frame, bytes) else frame.encode())
        match self.inbox.judge(size_bytes, time.monotonic()):
            case Verdict.TAKEN:
                return True
            case Verdict.TOO_LARGE:
                self._connection.close(CloseCode.TOO_BIG, f"over {self._settings.max_message_in_bytes} bytes")
            case Verdict.TOO_FAST:
                note_message_refused(self._connection, "rate", "more than the rate allows")
                text = f"Too many messages: {self._settings.rate:g} a second are allowed"
                self._connection.tell_error(text, self._request_in(frame), is_temporary=True)
            case Verdict.ABUSE:
                self._connection.close(CloseCode.ABUSE, "too many messages")
        return False

    def take(self, frame: str | bytes) -> None:
        """Have a frame handled, now or when its turn comes."""
        try:
            inbound = self._connection.wire.read(frame)
        except SocketError as error:
            self._connection.tell_error(error.message, None)
            return
        if inbound.control == "ping":
            self._connection.tell("pong")  # at once: behind handlers that take long, it would be taken for dead
        elif self.inbox.is_crowded:
            note_message_refused(self._connection, "crowded", "too many wait for handlers")
            text = "Too many messages at once: wait for answers"
            self._connection.tell_error(text, inbound.request, is_temporary=True)
        else:
            lane = self.inbox.messages if inbound.control is None else self.inbox.asks
            if lane.enter(inbound):
                self._start(lane, inbound)

    @property
    def asks_who_comes(self) -> bool:
        """Whether the first message is to say who this is."""
        return self._handlers.authenticate is not None and self._connection.user is None

    async def authenticate(self, payload: str | bytes | None) -> None:
        """Let the first message say who this is; None: there was none."""
        handler = self._handlers.authenticate
        if handler is None:
            return
        if payload is None:
            self._connection.close(CloseCode.NOT_AUTHENTICATED, "no first message in time")
            return
        request_id = self._next_request_id()
        ask = self._asking(handler, Inbound(payload), request_id)
        await self._identity.authenticate(ask, request_id)

    def _next_request_id(self) -> str:
        self._requests += 1
        return f"{self._connection.id}.{self._requests}"

    def _facts(self, request_id: str) -> dict[str, object]:
        return {**self._connection.facts, "request_id": request_id}

    def _request_in(self, frame: str | bytes) -> str | None:
        try:
            return self._connection.wire.read(frame).request
        except SocketError:
            return None

    def _start(self, lane: Lane, inbound: Inbound) -> None:
        self._tasks.create_task(self._handle_in(lane, inbound), name=f"handle {self._connection.id}")

    async def _handle_in(self, lane: Lane, inbound: Inbound) -> None:
        await self._handle(inbound)
        if self._made_room is not None:
            self._made_room.set()
        following = lane.leave()
        if following is not None:
            self._start(lane, following)  # in a task of its own: context variables of this one are not for it

    async def _handle(self, inbound: Inbound) -> None:
        request_id = self._next_request_id()
        exchange = self._exchange(inbound)
        try:
            if inbound.control is not None:
                await paid(self.inbox)
                await self._control(inbound, request_id)
            else:
                handler = self._handler_for(inbound.payload)
                exchange.returned(await self._call(handler, inbound, request_id, exchange))
        except ClientGone:
            pass
        except BaseException as error:
            raise_if_ending(error)
            text = error_text(error, self._facts(request_id), debug=self._settings.debug)
            exchange.failed(text, inbound.request, is_temporary=not is_for_client(error))

    async def _control(self, inbound: Inbound, request_id: str) -> None:
        if inbound.control == "auth":
            handler = self._handlers.authenticate
            proof = Inbound(proof_in(inbound.fields.get("auth")))
            ask = None if handler is None else self._asking(handler, proof, request_id)
            await self._identity.renew(ask, inbound.request)
        else:
            await answer(inbound, self._connection, self._subscriptions, self._node, self.inbox.charge_bytes)

    def _asking(self, handler: MessageHandler, inbound: Inbound, request_id: str) -> Callable[[], Any]:
        return lambda: self._call(handler, inbound, request_id, self._exchange(inbound))

    async def _call(self, handler: MessageHandler, inbound: Inbound, request_id: str, exchange: Exchange) -> Any:
        connection = self._connection
        websocket: WebSocket = connection.websocket
        context = self._node.context(connection.user, connection.id, exchange)
        with running_for(context), _observed(handler, connection, request_id), _traced(handler, request_id):
            return await handler(
                inbound.payload,
                websocket=websocket,
                user=self._identity.user,
                connection=connection.id,
                request_id=request_id,
                settings=self._settings,
                parsing=self._node.parsing,
                inbox=self.inbox,
            )

    def _exchange(self, inbound: Inbound) -> Exchange:
        return Exchange(self._connection, self._subscriptions, self._identity, inbound, self._settings)

    def _handler_for(self, payload: str | bytes) -> MessageHandler:
        is_text = isinstance(payload, str)
        handler = self._handlers.for_text if is_text else self._handlers.for_binary
        if handler is None:
            raise SocketError(f"{'Text' if is_text else 'Binary'} messages are not handled here")
        return handler


def _traced(handler: MessageHandler, request_id: str) -> AbstractContextManager[object]:
    return nullcontext() if spans.tracer is None else spans.tracer.handling(handler.function.name, request_id)


@contextmanager
def _observed(handler: MessageHandler, connection: Connection, request_id: str) -> Iterator[None]:
    began_at, failure = time.monotonic(), None
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        name, seconds = handler.function.name, time.monotonic() - began_at
        if logger.is_detailed:
            facts = {**connection.facts, "request_id": request_id, "error": failure, "seconds": seconds}
            logger.debug("message handled", handler=name, **facts)
        if events.observers:
            events.notify(Handled(name, connection.id, connection.user, failure, seconds))
