"""The verbs, for code that awaits."""

from collections.abc import Coroutine, Iterable
from typing import Any, Generic

from typing_extensions import TypeVar

from qrsocket.awaited import Awaited
from qrsocket.context import current, current_stream
from qrsocket.errors import CloseCode
from qrsocket.message import Delivery
from qrsocket.sender import sending
from qrsocket.sender.ask import ask
from qrsocket.sender.destinations import Everyone, Others, Recipients, Topic, done, require_event_loop, sent
from qrsocket.sender.sending import REVOKED_SECONDS, Configured, How
from qrsocket.settings import Settings
from qrsocket.topics import topic_name
from qrsocket.users import UserLike

M = TypeVar("M", contravariant=True, default=Any)


class Socket(Configured, Generic[M]):
    """
    Sends to users, on all their devices, from async code. `Socket[MyMessage]()` lets a type checker check the message.

    Every method raises `Unavailable` if Redis does not answer within `redis_timeout`: its work may or may not be done.
    For a second after that, methods raise it at once, as "not tried": then nothing was done.

    `Socket(settings)` uses its own settings. Otherwise, code of a router or a Celery application uses that one's
    settings, and any other code the environment's.
    """

    def to(self, users: UserLike | Iterable[UserLike]) -> Recipients[M]:
        """
        Choose the recipients: one user or many (str, int, UUID, or an object with `.id`), 1 to 10 000.

        Each user costs Redis about 20 µs, in which it serves nobody else. For a room use `topic`: its cost does not
        grow with the number of members.

        Raises:
            InvalidUserId: One of them cannot name a user.
            NoRecipient: There are none.
            TooManyRecipients: There are more than 10 000.
        """
        return Recipients(self._given, sending.streams_of(users))

    def topic(self, name: str) -> Topic[M]:
        """
        Name whom to send to: all that have joined a topic, on any node.

        Raises:
            InvalidTopic: *name* is not 1 to 200 visible ASCII characters that begin with a letter or a digit.
        """
        return Topic(self._given, topic_name(name))

    @property
    def everyone(self) -> Everyone[M]:
        """Every open connection. A send costs one envelope per node, and is not kept unless you pass `keep=True`."""
        return Everyone(self._given)

    @property
    def others(self) -> Others[M]:
        """The current user's connections except the current one. If that is not known, all of them."""
        return Others(self._given, None)

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
            keep: False: only for clients that are connected now and read fast enough. Clients that come back do not
                get it.
            latest: Like `keep=False`. Of the messages that wait for a slow client under this name, only the newest
                is kept. 1 to 100 characters.
            message_id: A name for the message, so that you can send it again if its fate is unknown. Messages to the
                same recipients under the same id within 300 s are delivered once; later calls return the same, with
                `repeated`. Without it each message is new, except in a Celery task that is run again: see
                docs/celery.md.
            wait: Seconds to try, instead of `redis_timeout`, whatever goes wrong, even just after a failure.

        Raises:
            NoRecipient: There is neither a current user nor a current connection.
            NotSerializable: *message* cannot be written as JSON.
            MessageTooLarge: The encoded message is over `max_message_out_bytes`.
            ValueError: *message_id* is not text of 1 to 200 bytes without control characters, *latest* is no name, or
                *wait* is no time.
        """
        require_event_loop("send")
        return sent(
            "send",
            sending.message_for(self._settings, [current_stream()], message, How(message_id, wait, keep, latest)),
        )

    def reply(self, message: M) -> Coroutine[Any, Any, None]:
        """
        Send *message* to the current connection alone; it is not kept. In the handler of a page's `socket.request(...)`
        that is the answer, which may also be returned.

        Raises:
            NoConnection: There is no current connection.
            RuntimeError: The request was answered before.
        """
        require_event_loop("reply")
        described = sending.reply_to(self._settings, message)
        here = current().here
        return Awaited("reply", done(described) if here is None else here.reply(described.message))

    def join(self, topic: str) -> Coroutine[Any, Any, None]:
        """
        Have the current connection join *topic*, for as long as it is open. `on_join` is not asked.

        In a handler, in `on_connect` and in `authenticate` it has joined then; elsewhere it does so within moments.

        Raises:
            InvalidTopic, NoConnection: There is no such topic, or no current connection.
        """
        require_event_loop("join")
        order, here = sending.join_order(topic), current().here
        if here is not None:
            return Awaited("join", here.join(topic))
        return Awaited("join", done(sending.order_here(self._settings, order)))

    def leave(self, topic: str) -> Coroutine[Any, Any, None]:
        """Have the current connection leave *topic*. See `join`."""
        require_event_loop("leave")
        order, here = sending.leave_order(topic), current().here
        if here is not None:
            return Awaited("leave", here.leave(topic))
        return Awaited("leave", done(sending.order_here(self._settings, order)))

    def close(self, code: int = CloseCode.REVOKED, reason: str = "") -> Coroutine[Any, Any, Delivery]:
        """
        Close the current connection; where there is none, all connections of the current user.

        Args:
            code: 1000, or 3000 to 4999. With 4101, the usual one, our client stays away; docs/protocol.md has all.
            reason: At most 123 bytes. The client sees it.
        """
        require_event_loop("close")
        return sent("close", sending.close_here(self._settings, code, reason))

    def is_online(self, user: UserLike) -> Coroutine[Any, Any, bool]:
        """
        Tell whether *user* has an open connection anywhere.

        A user who reloads a page has none for a moment, but `on_offline` runs only after `offline_grace`.
        """
        require_event_loop("is_online")
        return Awaited("is_online", _is_online(self._settings, user))

    def online(self, users: Iterable[UserLike] | None = None) -> Coroutine[Any, Any, set[str]]:
        """
        Return the ids of those *users*, at most 10 000, who have an open connection anywhere.

        Without *users*: of everyone. That reads the whole table, which is fine for thousands, not for millions.
        """
        require_event_loop("online")
        return Awaited("online", _online(self._settings, users))


def revoke(
    users: UserLike | Iterable[UserLike], *, for_seconds: float = REVOKED_SECONDS, reason: str = ""
) -> Coroutine[Any, Any, Delivery]:
    """Sign *users* out everywhere and keep them out: `socket.to(users).revoke(...)`, which says more."""
    return Socket[Any]().to(users).revoke(for_seconds=for_seconds, reason=reason)


async def _is_online(settings: Settings, user: UserLike) -> bool:
    return bool(await _online(settings, [user]))


async def _online(settings: Settings, users: Iterable[UserLike] | None) -> set[str]:
    return sending.ids_in(await ask(settings, sending.online_calls(settings, users)))
