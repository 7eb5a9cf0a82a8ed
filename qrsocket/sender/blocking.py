"""The verbs, for code that blocks. See those of `Socket` for what they do."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Generic

from typing_extensions import TypeVar

from qrsocket.context import Here, current, current_stream
from qrsocket.errors import CloseCode
from qrsocket.message import Delivery
from qrsocket.sender import sending
from qrsocket.sender.ask import ask_blocking
from qrsocket.sender.noting import Noted
from qrsocket.sender.sending import REVOKED_SECONDS, Configured, How, Sending
from qrsocket.settings import Settings
from qrsocket.streams import EVERYONE, Stream, of_topic
from qrsocket.topics import topic_name
from qrsocket.users import UserLike

M = TypeVar("M", contravariant=True, default=Any)


class BlockingSocket(Configured, Generic[M]):
    """Sends to users from blocking code: Celery tasks, `def` endpoints, scripts. The verbs of `Socket`."""

    def to(self, users: UserLike | Iterable[UserLike]) -> "BlockingRecipients[M]":
        """Name whom to send to: each user costs Redis about 20 µs. See `Socket.to`."""
        return BlockingRecipients(self._given, sending.streams_of(users))

    def topic(self, name: str) -> "BlockingTopic[M]":
        """Name whom to send to: all that have joined a topic, on any node. See `Socket.topic`."""
        return BlockingTopic(self._given, topic_name(name))

    @property
    def everyone(self) -> "BlockingEveryone[M]":
        """Every open connection. See `Socket.everyone`."""
        return BlockingEveryone(self._given)

    @property
    def others(self) -> "BlockingOthers[M]":
        """The current user's connections but the current one. Where that is not known, all of them."""
        return BlockingOthers(self._given, None)

    def send(
        self,
        message: M,
        *,
        keep: bool = True,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Delivery:
        """Send *message* to the current user on all devices; with no user, to the connection. See `Socket.send`."""
        stream = current_stream()
        return _sent(
            "send", sending.message_for(self._settings, [stream], message, How(message_id, wait, keep, latest))
        )

    def reply(self, message: M) -> None:
        """Send *message* to the current connection alone; the answer to a request. See `Socket.reply`."""
        described, here = sending.reply_to(self._settings, message), current().here
        if here is None:
            _sent("reply", described)
        else:
            _there("reply", here, here.reply(described.message))

    def join(self, topic: str) -> None:
        """Have the current connection join *topic*. See `Socket.join`."""
        order, here = sending.join_order(topic), current().here
        if here is None:
            _sent("join", sending.order_here(self._settings, order))
        else:
            _there("join", here, here.join(topic))

    def leave(self, topic: str) -> None:
        """Have the current connection leave *topic*. See `Socket.join`."""
        order, here = sending.leave_order(topic), current().here
        if here is None:
            _sent("leave", sending.order_here(self._settings, order))
        else:
            _there("leave", here, here.leave(topic))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Delivery:
        """Close the current connection; where there is none, all of the current user's. See `Socket.close`."""
        return _sent("close", sending.close_here(self._settings, code, reason))

    def is_online(self, user: UserLike) -> bool:
        """Tell whether *user* has an open connection anywhere."""
        return bool(_online("is_online", self._settings, [user]))

    def online(self, users: Iterable[UserLike] | None = None) -> set[str]:
        """Return the ids of those *users*, or of everyone, who are connected anywhere. See `Socket.online`."""
        return _online("online", self._settings, users)


class BlockingDestination(Configured, Generic[M]):
    """Whom to send to, named by a verb of `BlockingSocket`."""

    def send(
        self,
        message: M,
        *,
        keep: bool = True,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Delivery:
        """Send *message* to all of them, on all their devices. See `Socket.send`."""
        return _sent("send", self._describe(message, How(message_id, wait, keep, latest)))

    def _describe(self, message: M, how: How) -> Sending:
        raise NotImplementedError


class BlockingRecipients(BlockingDestination[M]):
    """Users that were named with `socket.to(...)`."""

    def __init__(self, settings: Settings | None, streams: tuple[Stream, ...]) -> None:
        super().__init__(settings)
        self._streams = streams

    def join(self, topic: str) -> Delivery:
        """Have all their open connections join *topic*. See `Recipients.join`."""
        return _sent("join", sending.order_for(self._settings, self._streams, sending.join_order(topic)))

    def leave(self, topic: str) -> Delivery:
        """Have all their open connections leave *topic*."""
        return _sent("leave", sending.order_for(self._settings, self._streams, sending.leave_order(topic)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Delivery:
        """Close all their connections: with the usual code they are signed out everywhere. See `Socket.close`."""
        return _sent("close", sending.close_all(self._settings, self._streams, code, reason))

    def revoke(self, *, for_seconds: float = REVOKED_SECONDS, reason: str = "") -> Delivery:
        """Sign them out everywhere and keep them out, by all that was issued until now. See `Recipients.revoke`."""
        _refuse_event_loop("revoke")
        closing = sending.close_all(self._settings, self._streams, reason=reason)
        calls = sending.revocation_calls(self._settings, self._streams, for_seconds)
        ask_blocking(closing.settings, calls)
        return _sent("revoke", closing)

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for(self._settings, self._streams, message, how)


class BlockingTopic(BlockingDestination[M]):
    """A topic that was named with `socket.topic(...)`."""

    def __init__(self, settings: Settings | None, name: str) -> None:
        super().__init__(settings)
        self.name = name

    @property
    def others(self) -> "BlockingOthers[M]":
        """Those who have joined, but for the current connection."""
        return BlockingOthers(self._given, (of_topic(self.name),))

    def members(self) -> set[str]:
        """Return the ids of the users that have joined. See `Topic.members`."""
        _refuse_event_loop("members")
        settings = self._settings
        return ask_blocking(settings, [sending.members_call(settings, self.name)])[0]

    def count(self) -> int:
        """Return how many open connections have joined."""
        _refuse_event_loop("count")
        settings = self._settings
        return ask_blocking(settings, [sending.count_call(settings, self.name)])[0]

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for(self._settings, [of_topic(self.name)], message, how)


class BlockingEveryone(Configured, Generic[M]):
    """Every open connection: `socket.everyone`."""

    def send(
        self,
        message: M,
        *,
        keep: bool = False,
        latest: str | None = None,
        message_id: str | None = None,
        wait: float | None = None,
    ) -> Delivery:
        """Send *message* to every open connection. See `Everyone.send`."""
        return _sent(
            "send", sending.message_for(self._settings, [EVERYONE], message, How(message_id, wait, keep, latest))
        )


class BlockingOthers(BlockingDestination[M]):
    """All but the current connection: `socket.others`, `socket.topic(...).others`."""

    def __init__(self, settings: Settings | None, streams: tuple[Stream, ...] | None) -> None:
        super().__init__(settings)
        self._streams = streams

    def _describe(self, message: M, how: How) -> Sending:
        return sending.to_others(self._settings, message, how, self._streams)


def revoke(users: UserLike | Iterable[UserLike], *, for_seconds: float = REVOKED_SECONDS, reason: str = "") -> Delivery:
    """Sign *users* out everywhere and keep them out: `socket.to(users).revoke(...)`, which says more."""
    return BlockingSocket[Any]().to(users).revoke(for_seconds=for_seconds, reason=reason)


def _sent(verb: str, described: Sending) -> Delivery:
    _refuse_event_loop(verb)
    with Noted(described) as noted:
        return noted.delivery(ask_blocking(described.settings, noted.calls(), described.wait))


def _there(verb: str, here: Here, work: Coroutine[Any, Any, None]) -> None:
    """Have the handler's event loop do it."""
    try:
        _refuse_event_loop(verb)
    except RuntimeError:
        work.close()
        raise
    asyncio.run_coroutine_threadsafe(work, here.loop).result()


def _online(verb: str, settings: Settings, users: Iterable[UserLike] | None) -> set[str]:
    _refuse_event_loop(verb)
    return sending.ids_in(ask_blocking(settings, sending.online_calls(settings, users)))


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
