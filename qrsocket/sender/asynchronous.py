"""The verbs, for code that awaits."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Generic
from typing import TypeVar as AnyTypeVar

from typing_extensions import TypeVar

from qrsocket.awaited import Awaited
from qrsocket.context import current, current_stream
from qrsocket.errors import CloseCode
from qrsocket.message import Delivery
from qrsocket.roundtrip import Call
from qrsocket.sender import sending
from qrsocket.sender.ask import ask
from qrsocket.sender.sending import How, Sending
from qrsocket.settings import get_settings
from qrsocket.streams import EVERYONE, Stream, of_topic
from qrsocket.topics import topic_name
from qrsocket.users import UserLike

M = TypeVar("M", contravariant=True, default=Any)
T = AnyTypeVar("T")


class Socket(Generic[M]):
    """
    Sends to users, on all their devices, from async code. `Socket[MyMessage]()` lets a type checker check the message.

    Every verb raises `Unavailable` when Redis does not answer within `redis_timeout`: it may or may not be done. For a
    second after that, verbs raise it at once, "not tried", so that nobody waits in vain: nothing is done.
    """

    def to(self, users: UserLike | Iterable[UserLike]) -> "Recipients[M]":
        """
        Name whom to send to: one user or many (str, int, UUID, or an object with `.id`), 1 to 10 000.

        Each of them costs Redis about 20 µs, in which it serves nobody else: a room is a `topic`, whose cost does not
        grow with who has joined.

        Raises:
            InvalidUserId: One of them cannot name a user.
            NoRecipient: There are none.
            TooManyRecipients: There are more than 10 000.
        """
        return Recipients(sending.streams_of(users))

    def topic(self, name: str) -> "Topic[M]":
        """
        Name whom to send to: all that have joined a topic, on any node.

        Raises:
            InvalidTopic: *name* is not 1 to 200 visible ASCII characters that begin with a letter or a digit.
        """
        return Topic(topic_name(name))

    @property
    def everyone(self) -> "Everyone[M]":
        """Every open connection. Costs one frame a node, and is not kept for who is away unless asked."""
        return Everyone()

    @property
    def others(self) -> "Others[M]":
        """The current user's connections but the current one. Where that is not known, all of them."""
        return Others(None)

    def send(
        self,
        message: M,
        *,
        keep: bool = True,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Coroutine[Any, Any, Delivery]:
        """
        Send *message* to the current user on all devices; with no user, to the current connection.

        Args:
            message: `str` goes as a text frame, bytes as a binary frame, anything else as a JSON document.
            keep: False: only for who is connected now, and reads fast enough. It is not there to come back to.
            latest: As `keep=False`; and of what waits for a slow client under this name only the newest counts. 1 to
                100 characters.
            message_id: A name for the message, so that it can be sent again when nobody knows what became of it. What
                is sent to the same recipients under the same id within 300 s is delivered once, and returns the same,
                `repeated`. Without it each message is a new one, but for a Celery task that is run again: see
                docs/celery.md.
            wait: Seconds to try for, instead of `redis_timeout`, whatever goes wrong and went wrong a moment ago.

        Raises:
            NoRecipient: There is neither a current user nor a current connection.
            NotSerializable: *message* cannot be written as JSON.
            MessageTooLarge: The encoded message is over `max_message_out_bytes`.
            ValueError: *message_id* is not text of 1 to 200 bytes without control characters, *latest* is no name, or
                *wait* is no time.
        """
        _require_event_loop("send")
        return _sent("send", sending.message_for([current_stream()], message, How(message_id, wait, keep, latest)))

    def reply(self, message: M) -> Coroutine[Any, Any, None]:
        """
        Send *message* to the current connection alone; it is not kept. In the handler of a page's `socket.request(...)`
        that is the answer, which may also be returned.

        Raises:
            NoConnection: There is no current connection.
            RuntimeError: The request was answered before.
        """
        _require_event_loop("reply")
        described = sending.reply_to(message)
        here = current().here
        return Awaited("reply", _done(described) if here is None else here.reply(described.message))

    def join(self, topic: str) -> Coroutine[Any, Any, None]:
        """
        Have the current connection join *topic*, for as long as it is open. `on_join` is not asked.

        In a handler, in `on_connect` and in `authenticate` it has joined then; elsewhere it does so within moments.

        Raises:
            InvalidTopic, NoConnection: There is no such topic, or no current connection.
        """
        _require_event_loop("join")
        order, here = sending.join_order(topic), current().here
        if here is not None:
            return Awaited("join", here.join(topic))
        return Awaited("join", _done(sending.order_here(order)))

    def leave(self, topic: str) -> Coroutine[Any, Any, None]:
        """Have the current connection leave *topic*. See `join`."""
        _require_event_loop("leave")
        order, here = sending.leave_order(topic), current().here
        if here is not None:
            return Awaited("leave", here.leave(topic))
        return Awaited("leave", _done(sending.order_here(order)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """
        Close the current connection; where there is none, all connections of the current user.

        Args:
            code: 1000, or 3000 to 4999. With 4101, the usual one, our client stays away; docs/protocol.md has all.
            reason: At most 123 bytes. The client sees it.
        """
        _require_event_loop("close")
        return _sent("close", sending.close_here(code, reason))

    def is_online(self, user: UserLike) -> Coroutine[Any, Any, bool]:
        """
        Tell whether *user* has an open connection anywhere.

        Who reloads a page has none for a moment, though `on_offline` is told only after `offline_grace`.
        """
        _require_event_loop("is_online")
        return Awaited("is_online", _is_online(user))

    def online(self, users: Iterable[UserLike] | None = None) -> Coroutine[Any, Any, set[str]]:
        """
        Return the ids of those *users*, at most 10 000, who have an open connection anywhere.

        Without *users*: of everyone. That reads the whole table, which is fine for thousands, not for millions.
        """
        _require_event_loop("online")
        return Awaited("online", _online(users))


class Destination(Generic[M]):
    """Whom to send to, named by a verb of `Socket`."""

    def send(
        self,
        message: M,
        *,
        keep: bool = True,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Coroutine[Any, Any, Delivery]:
        """Send *message* to all of them, on all their devices. See `Socket.send`."""
        _require_event_loop("send")
        return _sent("send", self._describe(message, How(message_id, wait, keep, latest)))

    def _describe(self, message: M, how: How) -> Sending:
        raise NotImplementedError


class Recipients(Destination[M]):
    """Users that were named with `socket.to(...)`."""

    def __init__(self, streams: tuple[Stream, ...]) -> None:
        self._streams = streams

    def join(self, topic: str) -> Coroutine[Any, Any, Delivery]:
        """Have all their open connections join *topic*, for as long as each is open. `on_join` is not asked."""
        _require_event_loop("join")
        return _sent("join", sending.order_for(self._streams, sending.join_order(topic)))

    def leave(self, topic: str) -> Coroutine[Any, Any, Delivery]:
        """Have all their open connections leave *topic*."""
        _require_event_loop("leave")
        return _sent("leave", sending.order_for(self._streams, sending.leave_order(topic)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """Close all their connections: with the usual code they are signed out everywhere. See `Socket.close`."""
        _require_event_loop("close")
        return _sent("close", sending.close_all(self._streams, code, reason))

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for(self._streams, message, how)


class Topic(Destination[M]):
    """A topic that was named with `socket.topic(...)`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def others(self) -> "Others[M]":
        """Those who have joined, but for the current connection."""
        return Others((of_topic(self.name),))

    def members(self) -> Coroutine[Any, Any, set[str]]:
        """
        Return the ids of the users that have joined, where the topic's `on_join` has `members=True`; elsewhere none.

        Who has left stays for `offline_grace`, so that a reload is not seen.
        """
        _require_event_loop("members")
        return Awaited("members", _asked(sending.members_call(get_settings(), self.name)))

    def count(self) -> Coroutine[Any, Any, int]:
        """Return how many open connections have joined."""
        _require_event_loop("count")
        return Awaited("count", _asked(sending.count_call(get_settings(), self.name)))

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for([of_topic(self.name)], message, how)


class Everyone(Generic[M]):
    """Every open connection: `socket.everyone`."""

    def send(
        self,
        message: M,
        *,
        keep: bool = False,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Coroutine[Any, Any, Delivery]:
        """
        Send *message* to every open connection. See `Socket.send`.

        Args:
            keep: Also for those who are away now and come back in time.
        """
        _require_event_loop("send")
        return _sent("send", sending.message_for([EVERYONE], message, How(message_id, wait, keep, latest)))


class Others(Destination[M]):
    """All but the current connection: `socket.others`, `socket.topic(...).others`."""

    def __init__(self, streams: tuple[Stream, ...] | None) -> None:
        self._streams = streams

    def _describe(self, message: M, how: How) -> Sending:
        return sending.to_others(message, how, self._streams)


def _sent(verb: str, described: Sending) -> Awaited[Delivery]:
    return Awaited(verb, _send(described))


async def _send(described: Sending) -> Delivery:
    return described.delivery(await ask(described.settings, described.calls(), described.wait))


async def _done(described: Sending) -> None:
    await _send(described)


async def _asked(call: Call[T]) -> T:
    return (await ask(get_settings(), [call]))[0]


async def _is_online(user: UserLike) -> bool:
    return bool(await _online([user]))


async def _online(users: Iterable[UserLike] | None) -> set[str]:
    settings = get_settings()
    return sending.ids_in(await ask(settings, sending.online_calls(settings, users)))


def _require_event_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"socket.{verb}() of `from qrsocket import socket` needs an event loop, and none is running here. "
            f"In a Celery task, a `def` endpoint or a script use `from qrsocket.sync import socket`"
        ) from None
