"""The verbs, for code that awaits and for code that blocks: whom, what, and then the same calls."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, Generic

from typing_extensions import TypeVar

from qrsocket import audience
from qrsocket.audience import Audience, UserLike
from qrsocket.awaited import Awaited
from qrsocket.context import current, current_audience
from qrsocket.errors import CloseCode, NoRecipient
from qrsocket.fanout.publish import RECIPIENTS_PER_CALL, Keep, Routed, publish
from qrsocket.keys import Keys, Keyspace
from qrsocket.message import Close, Delivery, Message, encode
from qrsocket.presence import table
from qrsocket.roundtrip import Call
from qrsocket.sender.ask import ask, ask_blocking, checked
from qrsocket.sender.names import Named, name
from qrsocket.settings import Settings, get_settings

M = TypeVar("M", contravariant=True, default=Any)


class Socket(Generic[M]):
    """
    Sends to users, on all their devices, from async code. `Socket[MyMessage]()` lets a type checker check the message.

    Every verb raises `Unavailable` when Redis does not answer within `redis_timeout`: it may or may not be done. For a
    second after that, verbs raise it at once, "not tried", so that nobody waits in vain: nothing is done.
    """

    def to(self, users: UserLike | Iterable[UserLike]) -> "Recipients[M]":
        """
        Name whom to send to: one user or many (str, int, UUID, or an object with `.id`), 1 to 10 000.

        Raises:
            InvalidUserId: One of them cannot name a user.
            NoRecipient: There are none.
            TooManyRecipients: There are more than 10 000.
        """
        return Recipients(_audiences(users))

    def send(
        self, message: M, *, message_id: str | None = None, wait: float | None = None
    ) -> Coroutine[Any, Any, Delivery]:
        """
        Send *message* to the current user on all devices; with no user, to the current connection.

        Args:
            message: `str` goes as a text frame, bytes as a binary frame, anything else as a JSON document.
            message_id: A name for the message, so that it can be sent again when nobody knows what became of it. What
                is sent to the same recipients under the same id within 300 s is delivered once, and returns the same.
                Without it each message is a new one, but for a Celery task that is run again: see docs/celery.md.
            wait: Seconds to try for, instead of `redis_timeout`, whatever goes wrong and went wrong a moment ago.

        Raises:
            NoRecipient: There is neither a current user nor a current connection.
            NotSerializable: *message* cannot be written as JSON.
            MessageTooLarge: The encoded message is over `max_message_out_bytes`.
            ValueError: *message_id* is not text of 1 to 200 bytes without control characters, or *wait* is no time.
        """
        _require_event_loop("send")
        return _send("send", (current_audience(),), _encode(message), message_id, wait)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """
        Close the current connection; where there is none, in a job say, all connections of the current user.

        Args:
            code: 1000, or 3000 to 4999.
            reason: At most 123 bytes. The client sees it.
        """
        _require_event_loop("close")
        return _send("close", (current_audience(),), _close_here(code, reason))

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


class Recipients(Generic[M]):
    """Users that were named with `socket.to(...)`."""

    def __init__(self, audiences: tuple[Audience, ...]) -> None:
        self._audiences = audiences

    def send(
        self, message: M, *, message_id: str | None = None, wait: float | None = None
    ) -> Coroutine[Any, Any, Delivery]:
        """Send *message* to all of them, on all their devices. See `Socket.send`."""
        _require_event_loop("send")
        return _send("send", self._audiences, _encode(message), message_id, wait)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """Close all their connections. See `Socket.close`."""
        _require_event_loop("close")
        return _send("close", self._audiences, Close(code, reason).to_message())


class BlockingSocket(Generic[M]):
    """Sends to users from blocking code: Celery tasks, `def` endpoints, scripts. The verbs of `Socket`."""

    def to(self, users: UserLike | Iterable[UserLike]) -> "BlockingRecipients[M]":
        """Name whom to send to. See `Socket.to`."""
        return BlockingRecipients(_audiences(users))

    def send(self, message: M, *, message_id: str | None = None, wait: float | None = None) -> Delivery:
        """Send *message* to the current user on all devices; with no user, to the connection. See `Socket.send`."""
        return _send_blocking("send", (current_audience(),), _encode(message), message_id, wait)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> Delivery:
        """Close the current connection; where there is none, all connections of the current user."""
        return _send_blocking("close", (current_audience(),), _close_here(code, reason))

    def is_online(self, user: UserLike) -> bool:
        """Tell whether *user* has an open connection anywhere."""
        return bool(_online_blocking("is_online", [user]))

    def online(self, users: Iterable[UserLike] | None = None) -> set[str]:
        """Return the ids of those *users*, or of everyone, who are connected anywhere. See `Socket.online`."""
        return _online_blocking("online", users)


class BlockingRecipients(Generic[M]):
    """Users that were named with `socket.to(...)`."""

    def __init__(self, audiences: tuple[Audience, ...]) -> None:
        self._audiences = audiences

    def send(self, message: M, *, message_id: str | None = None, wait: float | None = None) -> Delivery:
        """Send *message* to all of them, on all their devices. See `Socket.send`."""
        return _send_blocking("send", self._audiences, _encode(message), message_id, wait)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> Delivery:
        """Close all their connections. See `Socket.close`."""
        return _send_blocking("close", self._audiences, Close(code, reason).to_message())


def _send(
    verb: str, audiences: Sequence[Audience], message: Message, message_id: str | None = None, wait: float | None = None
) -> Awaited[Delivery]:
    wait, named = checked(wait), name(message, audiences, message_id, current().task_run)
    return Awaited(verb, _publish(message, named, wait))


async def _publish(message: Message, named: Named, wait: float | None) -> Delivery:
    settings = get_settings()
    return _delivery(named.id, await ask(settings, _publish_calls(settings, message, named), wait))


def _send_blocking(
    verb: str, audiences: Sequence[Audience], message: Message, message_id: str | None = None, wait: float | None = None
) -> Delivery:
    _refuse_event_loop(verb)
    wait, named = checked(wait), name(message, audiences, message_id, current().task_run)
    settings = get_settings()
    return _delivery(named.id, ask_blocking(settings, _publish_calls(settings, message, named), wait))


async def _is_online(user: UserLike) -> bool:
    return bool(await _online([user]))


async def _online(users: Iterable[UserLike] | None) -> set[str]:
    settings = get_settings()
    return _ids(await ask(settings, _online_calls(settings, users)))


def _online_blocking(verb: str, users: Iterable[UserLike] | None) -> set[str]:
    _refuse_event_loop(verb)
    settings = get_settings()
    return _ids(ask_blocking(settings, _online_calls(settings, users)))


def _publish_calls(settings: Settings, message: Message, named: Named) -> Iterator[Call[Routed]]:
    keep = Keep(settings.recovery_messages, settings.recovery_seconds)
    for keys, batch, number in _batches(settings, named.audiences):
        id = f"{named.wire_id}.{number}" if number else named.wire_id
        yield publish(keys, message, id, batch, remember=named.remember, keep=keep)


def _online_calls(settings: Settings, users: Iterable[UserLike] | None) -> Iterator[Call[set[Audience]]]:
    if users is None:
        yield from (table.everyone(keys) for keys in Keyspace.of(settings).shards)
        return
    audiences = [audience.of_user(id) for id in audience.user_ids(users)]
    for keys, batch, _ in _batches(settings, audiences):
        yield table.online_of(keys, batch)


def _batches(settings: Settings, audiences: Iterable[Audience]) -> Iterator[tuple[Keys, list[Audience], int]]:
    number = 0
    for keys, group in Keyspace.of(settings).group(audiences).items():
        for start in range(0, len(group), RECIPIENTS_PER_CALL):
            yield keys, group[start : start + RECIPIENTS_PER_CALL], number
            number += 1


def _delivery(id: str, routed: list[Routed]) -> Delivery:
    nodes = frozenset[str]().union(*(part.nodes for part in routed))
    return Delivery(id, sum(part.connections for part in routed), len(nodes))


def _ids(answers: Iterable[set[Audience]]) -> set[str]:
    ids = (audience.user_of(one) for answer in answers for one in answer)
    return {id for id in ids if id is not None}


def _audiences(users: UserLike | Iterable[UserLike]) -> tuple[Audience, ...]:
    ids = audience.user_ids(users)
    if not ids:
        raise NoRecipient
    return tuple(audience.of_user(id) for id in ids)


def _encode(message: object) -> Message:
    settings = get_settings()
    return encode(message, limit_bytes=settings.max_message_out_bytes, max_depth=settings.max_json_depth)


def _close_here(code: int, reason: str) -> Message:
    return Close(code, reason, current().connection or "").to_message()


def _require_event_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"socket.{verb}() of `from qrsocket import socket` needs an event loop, and none is running here. "
            f"In a Celery task, a `def` endpoint or a script use `from qrsocket.sync import socket`"
        ) from None


def _refuse_event_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if not current().may_block:
        raise RuntimeError(
            f"socket.{verb}() of `from qrsocket.sync import socket` would block the event loop that runs here. "
            f"In `async def` code use `from qrsocket import socket` and `await socket.{verb}(...)`"
        )
