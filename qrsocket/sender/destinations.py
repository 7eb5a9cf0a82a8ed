"""Whom to send to, for code that awaits: users, a topic, everyone, others."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic
from typing import TypeVar as AnyTypeVar

from typing_extensions import TypeVar

from qrsocket.awaited import Awaited
from qrsocket.errors import CloseCode
from qrsocket.message import Delivery
from qrsocket.roundtrip import Call
from qrsocket.sender import sending
from qrsocket.sender.ask import ask
from qrsocket.sender.noting import Noted
from qrsocket.sender.sending import REVOKED_SECONDS, Configured, How, Sending
from qrsocket.settings import Settings
from qrsocket.streams import EVERYONE, Stream, of_topic

M = TypeVar("M", contravariant=True, default=Any)
T = AnyTypeVar("T")


class Destination(Configured, Generic[M]):
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
        require_event_loop("send")
        return sent("send", self._describe(message, How(message_id, wait, keep, latest)))

    def _describe(self, message: M, how: How) -> Sending:
        raise NotImplementedError


class Recipients(Destination[M]):
    """Users that were named with `socket.to(...)`."""

    def __init__(self, settings: Settings | None, streams: tuple[Stream, ...]) -> None:
        super().__init__(settings)
        self._streams = streams

    def join(self, topic: str) -> Coroutine[Any, Any, Delivery]:
        """Have all their open connections join *topic*, for as long as each is open. `on_join` is not asked."""
        require_event_loop("join")
        return sent("join", sending.order_for(self._settings, self._streams, sending.join_order(topic)))

    def leave(self, topic: str) -> Coroutine[Any, Any, Delivery]:
        """Have all their open connections leave *topic*."""
        require_event_loop("leave")
        return sent("leave", sending.order_for(self._settings, self._streams, sending.leave_order(topic)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """Close all their connections: with the usual code they are signed out everywhere. See `Socket.close`."""
        require_event_loop("close")
        return sent("close", sending.close_all(self._settings, self._streams, code, reason))

    def revoke(self, *, for_seconds: float = REVOKED_SECONDS, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """
        Sign them out everywhere and keep them out: close all their connections, with 4101, and refuse those that come
        back by a proof that was issued until now.

        A `User` says by its `issued_at` when that was; `qrsocket.jwt.user` knows it. Where it is not known, nobody
        comes in as one of these users until the time is over. Your own HTTP endpoints must look for themselves.

        Args:
            for_seconds: How long Redis remembers it: at least as long as your tokens live. Said again, the last one
                counts; with 1 all are let in again after a second.
            reason: At most 123 bytes. The client sees it.

        Raises:
            ValueError: *for_seconds* is not more than 0, or over ten years.
            Unavailable: Redis did not answer: it may be half done. Say it again.
        """
        require_event_loop("revoke")
        calls = sending.revocation_calls(self._settings, self._streams, for_seconds)
        return Awaited("revoke", _revoke(calls, sending.close_all(self._settings, self._streams, reason=reason)))

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for(self._settings, self._streams, message, how)


class Topic(Destination[M]):
    """A topic that was named with `socket.topic(...)`."""

    def __init__(self, settings: Settings | None, name: str) -> None:
        super().__init__(settings)
        self.name = name

    @property
    def others(self) -> "Others[M]":
        """Those who have joined, but for the current connection."""
        return Others(self._given, (of_topic(self.name),))

    def members(self) -> Coroutine[Any, Any, set[str]]:
        """
        Return the ids of the users that have joined, where the topic's `on_join` has `members=True`; elsewhere none.

        Who has left stays for `offline_grace`, so that a reload is not seen.
        """
        require_event_loop("members")
        return Awaited("members", asked(self._settings, sending.members_call(self._settings, self.name)))

    def count(self) -> Coroutine[Any, Any, int]:
        """Return how many open connections have joined."""
        require_event_loop("count")
        return Awaited("count", asked(self._settings, sending.count_call(self._settings, self.name)))

    def _describe(self, message: M, how: How) -> Sending:
        return sending.message_for(self._settings, [of_topic(self.name)], message, how)


class Everyone(Configured, Generic[M]):
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
        require_event_loop("send")
        return sent(
            "send", sending.message_for(self._settings, [EVERYONE], message, How(message_id, wait, keep, latest))
        )


class Others(Destination[M]):
    """All but the current connection: `socket.others`, `socket.topic(...).others`."""

    def __init__(self, settings: Settings | None, streams: tuple[Stream, ...] | None) -> None:
        super().__init__(settings)
        self._streams = streams

    def _describe(self, message: M, how: How) -> Sending:
        return sending.to_others(self._settings, message, how, self._streams)


def sent(verb: str, described: Sending) -> Awaited[Delivery]:
    return Awaited(verb, _send(described))


async def _send(described: Sending) -> Delivery:
    with Noted(described) as noted:
        return noted.delivery(await ask(described.settings, noted.calls(), described.wait))


async def _revoke(calls: list[Call[None]], closing: Sending) -> Delivery:
    # In this order: whoever is let in before it, hears the order to close.
    await ask(closing.settings, calls)
    return await _send(closing)


async def done(described: Sending) -> None:
    await _send(described)


async def asked(settings: Settings, call: Call[T]) -> T:
    return (await ask(settings, [call]))[0]


def require_event_loop(verb: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"socket.{verb}() of `from qrsocket import socket` needs an event loop, and none is running here. "
            f"In a Celery task, a `def` endpoint or a script use `from qrsocket.sync import socket`"
        ) from None
