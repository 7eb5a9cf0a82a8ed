"""A message of a client while the application handles it: to the handler, the connection is here."""

import asyncio
from typing import Protocol

from pydantic_core import to_json

from qrsocket.errors import NoConnection, SocketError
from qrsocket.message import Kind, Message, encode
from qrsocket.server.connection import Connection
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.server.wire import Inbound
from qrsocket.settings import Settings
from qrsocket.topics import MAX_TOPICS
from qrsocket.users import User

ANSWERED_ALREADY = (
    "the request is answered already: a handler answers with what it returns, or with one `socket.reply(...)`, not "
    "with both. `socket.send(...)` tells the user more"
)


class Binder(Protocol):
    async def bind(self, user: User) -> None: ...


class Exchange:
    """
    Attributes:
        loop: Where it is handled: blocking verbs, in a thread, have it done there.
    """

    def __init__(
        self,
        connection: Connection,
        subscriptions: Subscriptions,
        identity: Binder,
        inbound: Inbound,
        settings: Settings,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._connection, self._subscriptions, self._identity = connection, subscriptions, identity
        self._settings = settings
        # Without an id, in the plain protocol say, nobody waits for an answer.
        self._request = inbound.request if inbound.wants_reply else None
        self._is_answered = False

    async def bind(self, user: User) -> None:
        await self._identity.bind(user)

    async def reply(self, message: Message) -> None:
        self._answer(message)

    async def join(self, topic: str) -> None:
        await self._subscriptions.join(topic, is_asked=False)

    async def leave(self, topic: str) -> None:
        await self._subscriptions.leave(topic, "removed")

    def returned(self, value: object) -> None:
        """
        Answer the request with what its handler has returned.

        Raises:
            NotSerializable, MessageTooLarge: That cannot be sent.
            RuntimeError: There was an answer already.
        """
        if self._request is None or (value is None and self._is_answered):
            return
        if value is None:
            self._answer(Message(Kind.JSON, to_json(None)))
        else:
            settings = self._settings
            limit, depth = settings.max_message_out_bytes, settings.max_json_depth
            self._answer(encode(value, limit_bytes=limit, max_depth=depth))

    def failed(self, text: str, request: str | None, *, is_temporary: bool) -> None:
        """Tell the client that its message could not be handled; once a request is answered, nobody waits for that."""
        if not self._is_answered:
            self._is_answered = self._request is not None
            self._connection.tell_error(text, request, is_temporary=is_temporary)

    def _answer(self, message: Message) -> None:
        if self._is_answered:
            raise RuntimeError(ANSWERED_ALREADY)
        self._is_answered = self._request is not None
        self._connection.offer(self._connection.wire.reply(message, self._request))


class Arrival:
    """
    A connection of which the application is asked who comes: there is nobody to reply to yet.

    Attributes:
        user: Who it is, if the application has said so by `await authenticated(user)`.
        topics: That it is to join from the start.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.user: User | None = None
        self.topics: list[str] = []

    async def bind(self, user: User) -> None:
        self.user = user

    async def reply(self, message: Message) -> None:
        raise NoConnection

    async def join(self, topic: str) -> None:
        if topic not in self.topics:
            if len(self.topics) >= MAX_TOPICS:
                raise SocketError(f"A connection joins at most {MAX_TOPICS} topics")
            self.topics.append(topic)

    async def leave(self, topic: str) -> None:
        if topic in self.topics:
            self.topics.remove(topic)
